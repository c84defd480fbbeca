"""The image of a post: the one that came with it, or the one that a person put in its place.

The tables of members and imports name images as they came, and so stay what the site and the
folders said. Who reads them asks here which bytes stand for each image now.
"""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc


def current(replaced: pa.Table) -> dict[str, str]:
    """Return, for each image that has another in its place, the md5 of that other."""
    rows = replaced.filter(replaced.column("current")).to_pylist()
    return {row["md5"]: row["by"] for row in rows}


def originals(replaced: pa.Table) -> dict[str, str]:
    """Return, for each image that stands or ever stood in another's place, the md5 of that other.

    What a person decided for either of them is meant for both.
    """
    return {row["by"]: row["md5"] for row in replaced.to_pylist()}


def resolved(rows: pa.Table, images: Mapping[str, str], column: str = "md5") -> pa.Table:
    """Return the rows with the image that stands for each one now (or once, by `originals`)."""
    if not images:
        return rows
    place = rows.schema.get_field_index(column)
    old = pa.array(list(images), pa.string())
    new = pa.array(list(images.values()), pa.string())
    other = new.take(pc.index_in(rows.column(column), value_set=old).combine_chunks())
    return rows.set_column(place, rows.schema.field(place), pc.coalesce(other, rows.column(column)))
