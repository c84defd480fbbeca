"""A table of posts as what queries look at: columns as numpy arrays, and an index of its tags."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from prep.query.metatags import TAG_COUNTS

CATEGORIES = TAG_COUNTS["tagcount"]
Mask = npt.NDArray[np.bool_]  # one a row
Numbers = npt.NDArray[np.int64]  # one a row


class Posts:
    """The rows of a table of posts (`schemas.tables.POSTS`), each column read when first asked for.

    A query of three tags over a table of 40,000 posts reads five columns once; further queries
    over the same object find each tag's rows in an index.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.count = table.num_rows
        self._columns: dict[str, Numbers] = {}

    def numbers(self, name: str) -> Numbers:
        """A column of whole numbers, int64; with empty cells float64, where NaN equals nothing."""
        if name not in self._columns:
            column = self.table.column(name).cast(pa.int64())
            self._columns[name] = column.to_numpy()
        return self._columns[name]

    def seconds(self, name: str) -> Numbers:
        """A column of moments as whole seconds since 1970, int64."""
        return self.numbers(name) // 1000

    def texts(self, name: str) -> pa.ChunkedArray:
        """A column of texts."""
        return self.table.column(name)

    def among(self, name: str, wanted: Sequence[object]) -> Mask:
        """Whether each row's cell is one of `wanted`; an empty cell is none."""
        column = self.table.column(name)
        return as_mask(pc.is_in(column, pa.array(wanted, column.type)))

    def filled(self, name: str) -> Mask:
        """Whether each row's cell is not empty."""
        return as_mask(pc.is_valid(self.table.column(name)))

    def tag_counts(self, categories: Sequence[str]) -> Numbers:
        """How many tags of these categories each post has, int64."""
        counts = np.zeros(self.count, np.int64)
        for name in categories:
            lengths = pc.list_value_length(self.table.column(name))
            counts += pc.fill_null(lengths, 0).to_numpy().astype(np.int64)
        return counts

    def with_tag(self, name: str) -> Mask:
        """Which posts have this tag."""
        place = pc.index(self._tags, pa.scalar(name, pa.string())).as_py()
        return self._with(np.array([place] if place >= 0 else [], np.int64))

    def with_tags_like(self, pattern: str) -> Mask:
        """Which posts have a tag of a form in which `*` stands for any letters."""
        return self._with(np.flatnonzero(like(self._tags, pattern)))

    def _with(self, places: np.ndarray) -> Mask:
        mask = np.zeros(self.count, bool)
        _, starts, rows = self._index
        for place in places:
            mask[rows[starts[place] : starts[place + 1]]] = True
        return mask

    @property
    def _tags(self) -> pa.Array:
        return self._index[0]

    @cached_property
    def _index(self) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """Each tag once; where its rows begin in the third; the rows, tag by tag."""
        values, rows = [], []
        for name in CATEGORIES:
            column = self.table.column(name).combine_chunks()
            values.append(column.flatten())
            rows.append(pc.list_parent_indices(column).to_numpy().astype(np.int32))
        encoded = pa.concat_arrays(values).dictionary_encode()
        codes = encoded.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
        return encoded.dictionary, starts, np.concatenate(rows)[order]


def like(texts: pa.Array | pa.ChunkedArray, pattern: str) -> Mask:
    """Which texts are of a form in which `*` alone stands for other letters, for any of them."""
    # only "*" is special in a query, only "%" and "_" in what arrow matches by
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return as_mask(pc.match_like(texts, escaped.replace("*", "%")))


def as_mask(values: pa.Array | pa.ChunkedArray) -> Mask:
    """Arrow's booleans as numpy's; empty is false."""
    filled = pc.fill_null(values, False)
    return np.asarray(filled.to_numpy(zero_copy_only=False), bool)
