"""A table spread over the files of a folder, as caches lie there: which files count, their rows."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from schemas.tables import Table, read_parquet

PENDING = re.compile(r"pending-(\d{6})\.parquet")
PART = re.compile(r"part-(\d{3})-of-(\d{3})\.parquet")


def read_parts(folder: Path, table: Table) -> pa.Table:
    """Return all rows in the order of the key; none where the folder is missing."""
    return table.sorted(merged(table, *parts_of(folder)))


def parts_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the pending files and the parts, each sorted by number."""
    names = sorted(folder.glob("*.parquet"))
    parts = [path for path in names if PART.fullmatch(path.name)]
    if parts:  # a kill while their number changed: the old, complete family still counts
        families = {path.name[-11:]: [] for path in parts}  # type: ignore[var-annotated]
        for path in parts:
            families[path.name[-11:]].append(path)
        whole = [f for ending, f in families.items() if len(f) == int(ending[:3])]
        parts = min(whole, key=len) if whole else []
    return [path for path in names if PENDING.fullmatch(path.name)], parts


def merged(table: Table, pending: Sequence[Path], parts: Sequence[Path]) -> pa.Table:
    """Return all rows; of rows with one key the one written last."""
    files = [*parts, *pending]
    if not files:
        return table.empty()
    names = table.schema.names
    tables = [table.check(read_parquet(path, names), path) for path in files]
    rows = pa.concat_tables(tables).combine_chunks()
    if not pending:
        return rows
    rank = pa.array(np.arange(rows.num_rows))
    newest = (
        pa.table({"key": rows.column(table.key[0]), "rank": rank})
        .group_by("key")
        .aggregate([("rank", "max")])
    )
    return rows.take(newest.column("rank_max"))
