"""Which latents a folder holds, and where: `latents/<key>/index.parquet` over its shards. No torch.

The key of a latent is the image (md5), where it was placed (bucket, scaled size, crop), the filter
that scaled it and the variant that was made of it; the VAE is the folder. Shards are written first
and the index swapped after, so that a kill leaves the old index and one shard that nothing refers
to.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DataError
from schemas.files import ASIDE
from schemas.geometry import Placement
from schemas.progress import say
from schemas.tables import Table
from train import latent_shards
from train.latent_shards import SUFFIX, Floats, Mask, Shard

SHARD_ROWS = 64  # of a full shard; also what a kill can lose
PILE = 4  # shards that are not full, per bucket shape, before they are merged

INDEX_FILE = "index.parquet"
BUCKET = ("bucket_width", "bucket_height")
PLACE = (*BUCKET, "scaled_width", "scaled_height", "crop_left", "crop_top")
KEY = ("md5", *PLACE, "filter", "variant")

INDEX = Table(
    "latents",
    pa.schema(
        [
            pa.field("md5", pa.string(), nullable=False),
            *(pa.field(name, pa.int32(), nullable=False) for name in PLACE),
            pa.field("filter", pa.string(), nullable=False),
            pa.field("variant", pa.string(), nullable=False),
            pa.field("shard", pa.string()),  # file name; empty where there is a problem
            pa.field("row", pa.int32()),  # of the shard
            pa.field("problem", pa.string()),  # why the image gives no latent
        ]
    ),
    key=KEY,
    rules={
        "a latent or a problem": lambda table: pc.xor(
            pc.is_valid(table.column("shard")), pc.is_valid(table.column("problem"))
        )
    },
)


@dataclass(frozen=True)
class Encoded:
    """What became of the images of one shard: their keys [n] and their latents or problems."""

    keys: pa.Table  # columns KEY, one bucket shape
    latents: Sequence[Floats]  # [c, h, w] of each row without a problem, in their order
    masks: Sequence[Mask | None]  # of the same rows; None: all counts
    problems: Sequence[str | None]  # [n]


@dataclass(frozen=True)
class Held:
    """One shard as the index knows it."""

    name: str  # of the file
    bucket: tuple[int, int]
    rows: pa.Table  # of the index, in the shard's order
    keys: Sequence[str]  # of the rows, as `names` writes them


def key_table(
    md5s: pa.ChunkedArray, placement: Placement, filters: npt.NDArray[np.str_], variant: str
) -> pa.Table:
    """The keys of one variant of the placed images, columns KEY; 0 where one was dropped."""
    columns = {name: pa.array(getattr(placement, name)) for name in PLACE}
    filtered = pa.array(filters.tolist(), pa.string())
    same = pa.repeat(pa.scalar(variant), len(filters))
    return pa.table({"md5": md5s, **columns, "filter": filtered, "variant": same})


def names(keys: pa.Table) -> pa.ChunkedArray:
    """Each key as one string, to look up and to fingerprint."""
    parts = [keys.column(name).cast(pa.string()) for name in KEY]
    return pc.binary_join_element_wise(*parts, " ")


def read(folder: Path) -> pa.Table:
    """The index of `folder`, empty when there is none. Raises DataError when it is damaged."""
    path = folder / INDEX_FILE
    return INDEX.read(path) if path.exists() else INDEX.empty()


def open_shards(folder: Path, index: pa.Table) -> tuple[pa.Table, dict[str, Shard]]:
    """Map the shards of `index`, by name, and return with them the index without the others' rows.

    The others are missing, damaged or hold other images: said aloud, to be encoded again.
    """
    opened: dict[str, Shard] = {}
    lost = []
    for held in shards(index):
        try:
            opened[held.name] = Shard(folder / held.name, held.bucket, held.keys)
        except DataError as error:
            say(f"latents: {str(error).split(': ')[0]}; its images are to be encoded again")
            lost.append(held.name)
    return index.filter(_not_in(index.column("shard"), lost)) if lost else index, opened


def shards(index: pa.Table) -> Iterator[Held]:
    """Yield each shard of the index."""
    table = index.filter(pc.is_valid(index.column("shard")))
    table = table.sort_by([("shard", "ascending"), ("row", "ascending")]).combine_chunks()
    keys = names(table).to_pylist()
    name, width, height = (
        table.column(column).to_numpy(zero_copy_only=False) for column in ("shard", *BUCKET)
    )
    edges = np.flatnonzero(name[1:] != name[:-1]) + 1
    starts = [0, *edges.tolist()] if len(name) else []
    for start, stop in zip(starts, [*starts[1:], len(name)], strict=False):
        rows = table.slice(start, stop - start)
        yield Held(
            str(name[start]), (int(width[start]), int(height[start])), rows, keys[start:stop]
        )


def add(folder: Path, index: pa.Table, made: Encoded) -> pa.Table:
    """Write a shard and swap the index for one that knows it; return that index."""
    good = [number for number, problem in enumerate(made.problems) if problem is None]
    shard: list[str | None] = [None] * len(made.problems)
    row: list[int | None] = [None] * len(made.problems)
    if good:
        keys = names(made.keys.take(good)).to_pylist()
        latents = np.stack(made.latents)
        name = latent_shards.write(folder, _bucket(made.keys), keys, latents, made.masks)
        for number, position in enumerate(good):
            shard[position], row[position] = name, number
    rows = _located(made.keys, shard, row, made.problems)
    return swap(folder, pa.concat_tables([index, rows]))


def swap(folder: Path, index: pa.Table) -> pa.Table:
    """Make `index` the folder's index, whole or not at all; return it in the order of its key."""
    INDEX.write(folder / INDEX_FILE, index)
    return INDEX.sorted(index)


def merge(folder: Path, index: pa.Table) -> pa.Table:
    """Merge the shards that are not full where more than `PILE` of a bucket shape lie about.

    Which are merged, and into what, follows from the index alone.
    """
    piles: dict[tuple[int, int], list[Held]] = {}
    for held in shards(index):
        if len(held.rows) < SHARD_ROWS:
            piles.setdefault(held.bucket, []).append(held)
    for _, pile in sorted(piles.items()):
        if len(pile) > PILE:
            old = [held.name for held in pile]
            merged = _rewrite(folder, pile, pa.concat_tables(held.rows for held in pile))
            kept = index.filter(_not_in(index.column("shard"), old))
            index = swap(folder, pa.concat_tables([kept, merged]))
            remove_strays(folder, index, old)
    return index


def keep_only(folder: Path, wanted: pa.Table) -> int:
    """Forget every key that is not among `wanted` (columns KEY); return the bytes freed.

    Also removes shards that no index row refers to, and files that a kill left half-written.
    """
    before = _size(folder)
    index = read(folder)
    known = names(wanted).combine_chunks()
    is_wanted = pc.is_in(names(index), known)
    kept = [index.filter(pc.and_(is_wanted, pc.is_valid(index.column("problem"))))]
    for held in shards(open_shards(folder, index)[0]):
        still = held.rows.filter(pc.is_in(names(held.rows), known))
        whole = len(still) == len(held.rows)
        kept.append(still if whole else _rewrite(folder, [held], still))
    fresh = INDEX.sorted(pa.concat_tables(kept))
    if not fresh.equals(index):
        swap(folder, fresh)
    here = [path.name for path in folder.iterdir()] if folder.exists() else []
    remove_strays(folder, fresh, here)
    return max(0, before - _size(folder))  # less than 0 where the old shards could not go yet


def remove_all(folder: Path) -> int:
    """Remove every latent of `folder`, and the folder when nothing else is in it; bytes freed."""
    before = _size(folder)
    (folder / INDEX_FILE).unlink(missing_ok=True)
    remove_strays(folder, INDEX.empty(), [path.name for path in folder.iterdir()])
    with contextlib.suppress(OSError):
        folder.rmdir()
    return before - _size(folder)


def remove_strays(folder: Path, index: pa.Table, among: Iterable[str]) -> None:
    """Remove those of the files named that are shards without an index row, or half-written.

    One that somebody maps stays where it is (Windows), for the next time.
    """
    known = set(index.column("shard").to_pylist())
    for name in among:
        if name.endswith((SUFFIX, ASIDE)) and name not in known:
            with contextlib.suppress(PermissionError):
                (folder / name).unlink(missing_ok=True)


def _rewrite(folder: Path, sources: Sequence[Held], rows: pa.Table) -> pa.Table:
    """Copy `rows` (index rows of `sources`, one bucket) into new shards in the order of their key.

    Return the rows as they lie now.
    """
    opened = {held.name: Shard(folder / held.name, held.bucket, held.keys) for held in sources}
    as_they_lie = [held.keys for held in sources]
    rows = INDEX.sorted(rows)
    moved = [INDEX.empty()]
    for start in range(0, len(rows), SHARD_ROWS):
        part = rows.slice(start, SHARD_ROWS)
        keys = names(part).to_pylist()
        if keys in as_they_lie:
            moved.append(part)
            continue
        held = [opened[shard] for shard in part.column("shard").to_pylist()]
        places = list(zip(held, part.column("row").to_pylist(), strict=True))
        latents = np.stack([shard.read(row) for shard, row in places])
        masks = [shard.mask(row) for shard, row in places]
        name = latent_shards.write(folder, sources[0].bucket, keys, latents, masks)
        moved.append(_located(part.select(KEY), [name] * len(part), range(len(part))))
    return pa.concat_tables(moved)


def _located(
    keys: pa.Table,
    shard: Sequence[str | None],
    row: Sequence[int | None],
    problem: Sequence[str | None] | None = None,
) -> pa.Table:
    """Index rows of `keys` with where each lies, or its problem."""
    where = {"shard": shard, "row": row, "problem": problem or [None] * len(keys)}
    columns = [pa.array(values, INDEX.schema.field(name).type) for name, values in where.items()]
    return pa.table([*keys.columns, *columns], names=INDEX.schema.names).cast(INDEX.schema)


def _not_in(column: pa.ChunkedArray, values: Iterable[str]) -> pa.ChunkedArray:
    return pc.invert(pc.is_in(column, pa.array(list(values), pa.string())))


def _bucket(keys: pa.Table) -> tuple[int, int]:
    return keys.column("bucket_width")[0].as_py(), keys.column("bucket_height")[0].as_py()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.exists() else 0
