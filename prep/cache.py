"""Per-image and per-post results that only grow: parquet parts keyed by md5 or id.

    <folder>/pending-000007.parquet    batches as they were finished; a kill loses none of them
    <folder>/part-03-of-04.parquet     the folded rows, sorted, spread over parts by their key

`fold` moves what is pending into the parts. How many parts there are and which row lies in which
follows from the rows alone, so the same rows are the same bytes, however the work was interrupted,
and ten new rows among forty thousand rewrite few parts. The number of files stays bounded.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.files import sha256_of
from schemas.parts import PENDING, merged, parts_of, read_parts
from schemas.progress import task
from schemas.tables import Table, read_parquet, write_parquet

ROWS_PER_PART = 16384
MOST_PARTS = 256
MOST_PENDING = 64  # then they are folded, even in the middle of a stage


@dataclass(frozen=True)
class Cache:
    """The rows of one table under one folder, one row per key; a later row replaces an earlier."""

    folder: Path
    table: Table

    def read(self) -> pa.Table:
        """Return all rows, in the order of the key."""
        return read_parts(self.folder, self.table)

    def columns(self, *names: str) -> pa.Table:
        """Return these columns of all rows, in the order of the key; the others are not read."""
        return read_parts(self.folder, self.table.only(*names))

    def parts(self, *names: str) -> Iterator[pa.Table]:
        """Yield these columns of all rows, part by part, in no order; memory holds one of them."""
        narrow = self.table.only(*names)
        pending, parts = parts_of(self.folder)
        if pending:  # a later row may stand for one of an earlier part
            yield merged(narrow, pending, parts)
            return
        for path in parts:
            yield narrow.check(read_parquet(path, narrow.schema.names), path)

    def take(self, keys: pa.Array, *names: str) -> pa.Table:
        """Return these columns of the rows of some keys, in the order of the key.

        Part by part, so that large columns of rows that nobody asks for fill no memory.
        """
        self.fold()
        key, narrow = self.table.key[0], self.table.only(*names)
        found = [narrow.empty()]
        for path in parts_of(self.folder)[1]:
            rows = narrow.check(read_parquet(path, narrow.schema.names), path)
            found.append(rows.filter(pc.is_in(rows.column(key), keys)))
        return narrow.sorted(pa.concat_tables(found))

    def keys(self) -> set[str] | set[int]:
        """Return the keys of all rows."""
        key = self.table.key[0]
        return set(self.columns(key).column(key).to_pylist())

    def append(self, rows: pa.Table) -> None:
        """Keep `rows` from now on, whatever happens next."""
        if rows.num_rows == 0:
            return
        pending, _ = parts_of(self.folder)
        number = int(PENDING.fullmatch(pending[-1].name)[1]) + 1 if pending else 0  # type: ignore[index]
        checked = self.table.check(rows, self.folder)
        write_parquet(self.folder / f"pending-{number:06d}.parquet", checked)
        if len(pending) + 1 >= MOST_PENDING:
            self.fold()

    def fold(self) -> None:
        """Move pending rows into the parts; only parts whose rows change are written."""
        pending, parts = parts_of(self.folder)
        if pending:
            self._write(merged(self.table, pending, parts), parts)
            _remove(pending)

    def keep(self, wanted: Iterable[str] | Iterable[int]) -> int:
        """Drop the rows of keys that are not `wanted`; return how many went."""
        rows = self.read()
        keys = rows.column(self.table.key[0])
        kept = rows.filter(pc.is_in(keys, pa.array(list(wanted), keys.type)))
        if kept.num_rows < rows.num_rows:
            pending, parts = parts_of(self.folder)
            self._write(kept, parts)
            _remove(pending)
        return int(rows.num_rows - kept.num_rows)

    def digest(self) -> str:
        """A name for the rows, from their bytes; pending rows are folded first."""
        self.fold()
        return sha256_of(*parts_of(self.folder)[1])[:16]

    def _write(self, rows: pa.Table, old: Sequence[Path]) -> None:
        # strays of a write that was killed must not complete the family written now
        _remove(path for path in self.folder.glob("part-*.parquet") if path not in old)
        rows = self.table.sorted(rows)
        count = _parts_for(rows.num_rows)
        places = _places(rows.column(self.table.key[0]), count)
        new = [self.folder / f"part-{n:03d}-of-{count:03d}.parquet" for n in range(count)]
        for number, path in enumerate(new):
            part = rows.filter(pa.array(places == number)).combine_chunks()
            if path not in old or not read_parquet(path).equals(part):
                write_parquet(path, part)
        _remove(path for path in old if path not in new)


def fill(
    cache: Cache,
    wanted: Sequence[str],
    work: Callable[[Sequence[str]], Iterator[pa.Table]],
    label: str,
) -> int:
    """Do the work for the wanted keys that are not there yet; return how many that were.

    `work` takes the missing keys in order and yields their rows in batches; each batch is kept as
    it comes, so that a kill costs one batch.
    """
    present = cache.keys()
    missing = [key for key in wanted if key not in present]
    if missing:
        with task(label, len(missing), "images") as advance:
            for rows in work(missing):
                cache.append(rows)
                advance(rows.num_rows)
    cache.fold()
    return len(missing)


def _parts_for(rows: int) -> int:
    count = min(rows, 1)
    while count < MOST_PARTS and rows > count * ROWS_PER_PART:
        count *= 2
    return count


def _places(keys: pa.ChunkedArray, count: int) -> np.ndarray:
    """The part of each key: by the first two digits of an md5, by a mixed id."""
    if pa.types.is_string(keys.type):
        prefixes = pc.utf8_slice_codeunits(keys, 0, 2).to_pylist()
        high = np.array([int(prefix, 16) for prefix in prefixes], dtype=np.int64)
    else:
        # Knuth's multiplicative hashing: neighbouring ids spread evenly
        mixed = keys.to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        high = (mixed >> np.uint64(56)).astype(np.int64)
    return high * count // 256


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
