"""Images that would come into captions, or leave them, and what does it."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.caption_sources import Sources, is_low
from prep.captions.columns import Bools, Ints
from prep.dataset import Dataset
from schemas.recipes.prep import CaptionsSection
from schemas.tables import CAPTION_DIFF, GROUPS

CAME, LEFT = "image came", "image left"


def coming(
    dataset: Dataset,
    sources: Sources,
    remains: Bools,
    keys: pa.Table,
    place: Ints,
    before: CaptionsSection,
    undone: Collection[int],
) -> pa.Table:
    """Return a row of CAPTION_DIFF for each image that has a caption on one side alone.

    remains: [images] whether no edit excludes it; keys: set and md5 of the captions that stand;
    place: their images, -1 where it is none of now; before: the recipe that those were made by;
    undone: images whose exclusion is undone.
    """
    images = sources.images
    had = np.zeros(len(images), bool)
    had[place[place >= 0]] = True
    gone = (place < 0) | ~np.append(remains, False)[place]
    leaving = keys.filter(pa.array(gone)).combine_chunks()
    keeper = _keepers(dataset, leaving)
    left_by = _first(
        (place[gone] >= 0, "edits"),
        (sources.low.places(leaving["set"], leaving["md5"]) >= 0, "drop"),
        (np.asarray(pc.is_valid(keeper)), "dedup"),
    )
    comes = remains & ~had
    new = images.where(comes)
    came_by = _first(
        (np.isin(np.flatnonzero(comes), list(undone)), "edits"),
        (is_low(new, before), "drop"),
        (np.isin(new.md5s, keeper.drop_null().to_pylist()), "dedup"),
    )
    columns = {
        "set": [*leaving["set"].to_pylist(), *new.sets],
        "md5": [*leaving["md5"].to_pylist(), *new.md5s],
        "rule": [*left_by, *came_by],
        "change": [LEFT] * len(leaving) + [CAME] * len(new),
        "now": [*pc.fill_null(keeper, "").to_pylist(), *[""] * len(new)],
    }
    rows = len(columns["set"])
    empty = {name: [""] * rows for name in CAPTION_DIFF.schema.names}
    return pa.table({**empty, **columns}, schema=CAPTION_DIFF.schema)


def _first(*reasons: tuple[Bools, str]) -> list[str]:
    """The first reason that holds of each image; where none does, its set has changed."""
    masks, words = [mask for mask, _ in reasons], [word for _, word in reasons]
    return [str(word) for word in np.select(masks, words, "fetch").tolist()]


def _keepers(dataset: Dataset, leaving: pa.Table) -> pa.Array:
    """The image that stands for each of these now, null where none does."""
    groups = dataset.table(GROUPS)
    groups = groups.filter(pc.not_equal(groups["md5"], groups["keeper"]))
    own, wanted = (
        pc.binary_join_element_wise(rows["md5"], rows["set"], "/") for rows in (groups, leaving)
    )
    return (
        groups["keeper"].combine_chunks().take(pc.index_in(_whole(wanted), value_set=_whole(own)))
    )


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
