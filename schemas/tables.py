"""The tables of a dataset folder: typed columns, one key, named rules, checked on every write."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import DataError
from schemas.files import writing

Rule = Callable[[pa.Table], pa.ChunkedArray]  # true where a row is sound

RATINGS = ("g", "s", "q", "e")
SPLITS = ("train", "validation")
FOUND_FEATURES = "tables/found_features.json"  # what the trigger was found to stand for
PARTS = ("head", "flex", "tail")  # fixed beginning, shuffled middle, fixed end of a caption

WRITTEN: Any = {"compression": "zstd", "version": "2.6", "use_dictionary": True}

TAG = pa.struct([("tag", pa.string()), ("category", pa.string()), ("part", pa.string())])


@dataclass(frozen=True)
class Table:
    """A table's name, columns, key and rules. Rows are kept in the order of the key."""

    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    rules: Mapping[str, Rule] = field(default_factory=dict)

    def check(self, table: pa.Table, where: Path | str = "") -> pa.Table:
        """Return `table` with this schema's column order.

        Raises DataError naming the first column that is missing or of another type, or the first
        rule that is broken and by how many rows.
        """
        place = f"{where}: " if where else ""
        for column in self.schema:
            if column.nullable and column.name not in table.column_names:
                # a column that came with a later version is empty in the rows of an earlier one
                table = table.append_column(column, pa.nulls(table.num_rows, column.type))
            if column.name not in table.column_names:
                raise DataError(
                    f'{place}table {self.name} has no column "{column.name}":'
                    " make it again with this version of kiroku"
                )
            found = table.schema.field(column.name).type
            if not found.equals(column.type):
                raise DataError(
                    f'{place}table {self.name}: column "{column.name}" is {found},'
                    f" not {column.type}: make it again with this version of kiroku"
                )
        table = table.select(self.schema.names)
        for column in self.schema:
            if not column.nullable and table.column(column.name).null_count:
                raise DataError(f'{place}table {self.name}: column "{column.name}" has empty cells')
        table = table.cast(self.schema)
        for name, rule in {"one row per key": self._unique, **self.rules}.items():
            broken = pc.sum(pc.invert(pc.fill_null(rule(table), False))).as_py() or 0
            if broken:
                raise DataError(f"{place}table {self.name}: {broken} rows break the rule “{name}”")
        return table

    def only(self, *names: str) -> "Table":
        """Return the same table with these columns alone, and those of the key."""
        wanted = {*self.key, *names}
        columns = [column for column in self.schema if column.name in wanted]
        return Table(self.name, pa.schema(columns), self.key)

    def sorted(self, table: pa.Table) -> pa.Table:
        """Return the rows in the order of the key, in one chunk: the same rows, the same bytes."""
        if not self._in_order(table):
            table = table.sort_by([(name, "ascending") for name in self.key])
        return table.combine_chunks()

    def empty(self) -> pa.Table:
        """Return the table without rows."""
        return self.schema.empty_table()

    def write(self, path: Path, table: pa.Table) -> None:
        """Check, sort and write `table` to `path`, whole or not at all."""
        write_parquet(path, self.sorted(self.check(table, path)))

    def write_blocks(self, path: Path, blocks: Iterable[pa.Table]) -> int:
        """Write blocks of rows as they come, whole or not at all; return how many rows.

        The blocks are in the order of the key and share none; memory holds one of them.
        """
        rows = 0
        with (
            writing(path) as aside,
            pq.ParquetWriter(aside, self.schema, **WRITTEN) as file,
            ThreadPoolExecutor(1) as beside,
        ):
            written = beside.submit(lambda: None)
            for block in blocks:  # one is made while the one before is written
                checked = self.sorted(self.check(block, path))
                written.result()
                written = beside.submit(file.write_table, checked)
                rows += block.num_rows
            written.result()
        return rows

    def read(self, path: Path) -> pa.Table:
        """Return the rows of `path`. Raises DataError when it is no such table."""
        return self.check(read_parquet(path), path)

    def _in_order(self, table: pa.Table) -> bool:
        """Whether each row's key is greater than the one before, as that of a stored table is."""
        if table.num_rows < 2:
            return True
        greater: Any = pa.scalar(False)
        for name in reversed(self.key):
            before, after = table.column(name)[:-1], table.column(name)[1:]
            greater = pc.or_(pc.greater(after, before), pc.and_(pc.equal(after, before), greater))
        return pc.all(greater, skip_nulls=False).as_py() is True

    def _unique(self, table: pa.Table) -> pa.ChunkedArray:
        if self._in_order(table):
            return pa.chunked_array([pa.array(np.ones(table.num_rows, bool))])
        keys = table.select(self.key)
        distinct = keys.group_by(list(self.key)).aggregate([]).num_rows
        return pa.chunked_array([pa.array(np.arange(keys.num_rows) < distinct)])


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write the same bytes for the same rows: fixed settings, no statistics of the moment."""
    with writing(path) as aside:
        pq.write_table(table, aside, **WRITTEN)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a whole parquet file in memory, holding no handle on it (Windows replaces it later).

    `columns`: those to read, as far as they are there (None: all).
    Raises DataError when it is missing or no parquet.
    """
    try:
        if columns is not None:
            there = pq.read_schema(path, memory_map=False).names
            columns = [name for name in columns if name in there]
        return pq.read_table(path, columns=columns, memory_map=False, partitioning=None)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the stage that makes it") from None
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's: pyarrow's own complaints have no errno
        raise DataError(f"{path} is no parquet file: remove it and run its stage again") from None


def among(column: str, values: tuple[str, ...]) -> Rule:
    """A rule: the column holds one of `values`."""
    return lambda table: pc.is_in(table.column(column), pa.array(values))


def at_least(column: str, least: float) -> Rule:
    """A rule: the column is `least` or more, or empty."""
    return lambda table: pc.fill_null(pc.greater_equal(table.column(column), least), True)


def _column(name: str, type_: pa.DataType, *, optional: bool = False) -> pa.Field:
    return pa.field(name, type_, nullable=optional)


STRINGS = pa.list_(pa.string())

VARIANT = pa.struct(
    [
        ("kind", pa.string()),  # as the site names it: 180x180, 720x720, sample ...
        ("url", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("ext", pa.string()),
    ]
)

POSTS = Table(
    "posts",
    pa.schema(
        [
            _column("id", pa.int64()),
            _column("md5", pa.string(), optional=True),  # empty when hidden from this account
            _column("pixel_hash", pa.string(), optional=True),
            _column("file_ext", pa.string()),
            _column("file_size", pa.int64()),
            _column("width", pa.int32()),
            _column("height", pa.int32()),
            _column("rating", pa.string(), optional=True),
            _column("score", pa.int32()),
            _column("fav_count", pa.int32()),
            _column("created_at", pa.timestamp("ms", tz="UTC")),
            _column("updated_at", pa.timestamp("ms", tz="UTC")),
            _column("parent_id", pa.int64(), optional=True),
            _column("is_deleted", pa.bool_()),
            _column("is_banned", pa.bool_()),
            _column("source", pa.string()),
            _column("file_url", pa.string(), optional=True),
            _column("general", STRINGS),
            _column("character", STRINGS),
            _column("copyright", STRINGS),
            _column("artist", STRINGS),
            _column("meta", STRINGS),
            _column("duration", pa.float64(), optional=True),  # seconds, of what moves
            _column("variants", pa.list_(VARIANT), optional=True),  # empty unless asked for
        ]
    ),
    key=("id",),
    rules={"file size is not negative": at_least("file_size", 0)},
)

IMAGES = Table(
    "images",
    pa.schema(
        [
            _column("md5", pa.string()),
            _column("path", pa.string()),  # from the dataset folder, with "/"
            _column("bytes", pa.int64()),
            _column("width", pa.int32()),  # upright, as a viewer shows it
            _column("height", pa.int32()),
            _column("problem", pa.string(), optional=True),  # why it cannot be used, if it cannot
        ]
    ),
    key=("md5",),
    rules={"bytes are not negative": at_least("bytes", 0)},
)

VARIANTS = Table(
    "variants",
    pa.schema(
        [
            # the md5 of a post's original, "/", and which of its versions: 720x720, first-frame ...
            _column("source", pa.string()),
            _column("md5", pa.string()),  # of the image that it is here
        ]
    ),
    key=("source",),
)

VANISHED = Table(
    "vanished",
    pa.schema([_column("post_id", pa.int64()), _column("md5", pa.string(), optional=True)]),
    key=("post_id",),
)

MEMBERS = Table(
    "members",
    pa.schema(
        [
            _column("set", pa.string()),
            _column("md5", pa.string()),
            _column("post_id", pa.int64()),
        ]
    ),
    key=("set", "md5", "post_id"),
)

TWINS = Table(
    "twins",  # posts of the same pixels as another, whose own files were not fetched
    pa.schema(
        [
            _column("set", pa.string()),
            _column("md5", pa.string()),  # of the image that stands for the post
            _column("post_id", pa.int64()),
        ]
    ),
    key=("set", "post_id"),
)

SHOWN = Table(
    "shown",  # what each set's query brought when it was last listed, and what vanished since
    pa.schema(
        [
            _column("set", pa.string()),
            _column("query", pa.string()),
            _column("post_id", pa.int64()),
        ]
    ),
    key=("set", "post_id"),
)

SITE_TAGS = Table(
    "site_tags",  # what a site knows of tags in use: the snapshot that captions go by
    pa.schema(
        [
            _column("site", pa.string()),
            _column("name", pa.string()),  # canonical
            _column("category", pa.string(), optional=True),  # where nothing else tells it
            _column("alias_of", pa.string(), optional=True),  # the name that took its place
            _column("implies", STRINGS),  # directly
            _column("asked", pa.date32()),  # when the site was asked
        ]
    ),
    key=("site", "name"),
)

HASHES = Table(
    "hashes",
    pa.schema(
        [
            _column("md5", pa.string()),
            _column("phash", pa.uint64(), optional=True),  # empty where the image did not decode
            _column("small", pa.binary(), optional=True),  # 64 x 64 pixels, as JPEG
            _column("problem", pa.string(), optional=True),
        ]
    ),
    key=("md5",),
)

GROUPS = Table(
    "groups",
    pa.schema(
        [
            _column("set", pa.string()),
            _column("md5", pa.string()),
            _column("keeper", pa.string()),  # the md5 of the image that stands for the group
            _column("by", pa.string()),  # what showed them equal: itself, pixel_hash, phash
            _column("distance", pa.int32()),  # bits of pHash from the keeper
            _column("family", pa.int64(), optional=True),  # the post that variants go back to
        ]
    ),
    key=("set", "md5"),
    rules={"known reason": among("by", ("itself", "pixel_hash", "phash"))},
)

PROBABILITIES = Table(
    "probabilities",
    pa.schema(
        [
            _column("md5", pa.string()),
            _column("labels", pa.list_(pa.uint16())),  # rows of the tagger's selected_tags.csv
            _column("values", pa.list_(pa.float32())),  # their probabilities, those >= 0.01
            _column("problem", pa.string(), optional=True),
        ]
    ),
    key=("md5",),
)

THRESHOLDS = Table(
    "thresholds",
    pa.schema(
        [
            _column("tag", pa.string()),  # canonical
            _column("category", pa.string()),
            _column("posts", pa.int32()),  # images that the booru has tagged with it
            _column("usual", pa.float32()),  # its category's threshold
            _column("threshold", pa.float32()),  # as fitted
            _column("f1_usual", pa.float32()),
            _column("f1", pa.float32()),  # of the fitted one, on images it was not fitted to
        ]
    ),
    key=("tag",),
    rules={
        "threshold is a probability": at_least("threshold", 0.01),
        "posts are positive": at_least("posts", 1),
    },
)

PERCENTILES = Table(
    "percentiles",  # how many posts have which score, in groups of one rating and period of upload
    pa.schema(
        [
            _column("rating", pa.string()),  # "": of posts without one
            _column("since", pa.date32()),  # the period's first day; it ends where the next begins
            _column("score", pa.int32()),
            _column("posts", pa.int32()),
            _column("fitted", pa.string()),  # fingerprint of what they were counted by
        ]
    ),
    key=("rating", "since", "score"),
    rules={"posts are positive": at_least("posts", 1)},
)

CAPTION_TAG = pa.struct(
    [
        ("tag", pa.string()),  # canonical
        ("text", pa.string()),  # as captions have it
        ("category", pa.string()),
        ("source", pa.string()),  # booru, tagger, both, rule or person
        ("part", pa.string()),
        ("rules", STRINGS),  # the rules that touched it, in order
    ]
)

CAPTIONS = Table(
    "captions",
    pa.schema(
        [
            _column("set", pa.string()),
            _column("md5", pa.string()),
            _column("caption", pa.string()),
            _column("tags", pa.list_(CAPTION_TAG)),
        ]
    ),
    key=("set", "md5"),
)

CAPTION_DIFF = Table(
    "caption_diff",  # what captions would become, a row for each change of each image
    pa.schema(
        [
            _column("set", pa.string()),
            _column("md5", pa.string()),
            _column("rule", pa.string()),  # that does it; of images the stage
            _column("change", pa.string()),  # added, removed, renamed, moved ...; image came, left
            _column("tag", pa.string()),  # canonical; of renamed the old name; "" of images
            _column("now", pa.string()),  # the new name, part, text, category; of images: for whom
            _column("said_by", pa.string()),  # of the rule source: booru, tagger or both
            _column("why", pa.string()),  # line of prep.toml
        ]
    ),
    key=("set", "md5", "change", "tag"),
)

MANIFEST = Table(
    "manifest",
    pa.schema(
        [
            _column("md5", pa.string()),
            _column("path", pa.string()),  # from the manifest's folder, with "/"
            _column("width", pa.int32()),  # upright, as a viewer shows it
            _column("height", pa.int32()),
            _column("set", pa.string()),
            _column("split", pa.string()),
            _column("group", pa.string()),  # duplicates and variants share one
            _column("is_reg", pa.bool_()),
            _column("repeats", pa.int32()),
            _column("weight", pa.float32()),  # of the loss
            _column("rating", pa.string(), optional=True),
            _column("score", pa.int32(), optional=True),
            _column("caption", pa.string()),  # the tags joined in order, for other programs
            _column("tags", pa.list_(TAG)),  # text as it goes to the text encoder
        ]
    ),
    key=("set", "md5"),
    rules={
        "known split": among("split", SPLITS),
        "width is positive": at_least("width", 1),
        "height is positive": at_least("height", 1),
        "repeats is positive": at_least("repeats", 1),
        "weight is not negative": at_least("weight", 0.0),
    },
)

GIVEN_OUT = Table(
    "given_out",  # captions as they were exported, or shown in an editor: what edits are told by
    pa.schema(
        [
            _column("file", pa.string()),  # of the image, from the folder of this table, with "/"
            *(MANIFEST.schema.field(name) for name in ("set", "md5", "caption", "tags")),
        ]
    ),
    key=("set", "md5"),
)

DROPS = Table(
    "drops",
    pa.schema(
        [
            _column("stage", pa.string()),
            _column("set", pa.string()),
            _column("item", pa.string()),  # "post 123" or an md5
            _column("reason", pa.string()),
            _column("detail", pa.string()),
        ]
    ),
    key=("stage", "set", "item", "reason"),
)

IMPORTED = Table(
    "imported",
    pa.schema(
        [
            _column("set", pa.string()),
            _column("md5", pa.string()),
            _column("file", pa.string()),  # the name it had in the folder it came from
            _column("tags", STRINGS),  # canonical, from what lay beside it
            _column("categories", STRINGS),  # of each tag; "" where nothing told it
            _column("sentence", pa.string()),  # what is no tag of the captions beside it
            _column("post_id", pa.int64()),  # of the post whose facts lay beside it; 0: none did
            _column("gone", pa.bool_()),  # no longer in its folder: no member of the set
        ]
    ),
    key=("set", "md5"),
)

REPLACED = Table(
    "replaced",
    pa.schema(
        [
            _column("md5", pa.string()),  # the image as it came
            _column("by", pa.string()),  # the image that a person put in its place
            _column("current", pa.bool_()),  # false: it stood there before, and was taken back
        ]
    ),
    key=("md5", "by"),
)

EXCLUDED = Table(
    "excluded",
    pa.schema([_column("md5", pa.string()), _column("reason", pa.string())]),
    key=("md5",),
)

CHOSEN = Table(
    "chosen",
    pa.schema([_column("set", pa.string()), _column("md5", pa.string())]),
    key=("set", "md5"),
)

FINDINGS = Table(
    "lint",
    pa.schema(
        [
            _column("finding", pa.int32()),  # its number, as `prep lint` counts them
            _column("name", pa.string()),
            _column("set", pa.string()),
            _column("md5", pa.string()),
        ]
    ),
    key=("finding", "set", "md5"),
)
