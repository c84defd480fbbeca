"""The tags of all posts as columns of small numbers: a million posts are some hundred megabytes."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.columns import BOORU, Ints, Names, Tags, made, ranges
from schemas.tags import CATEGORIES

COLUMNS = ("id", *CATEGORIES)  # what is read of the table of posts


@dataclass(frozen=True)
class PostTags:
    """Who has which tags: post by post, in each category by category, in the site's order."""

    names: Names
    ids: Ints  # [posts] ascending
    row: Ints  # [posts] which row of `starts` is theirs
    starts: Ints  # [posts * categories + 1] where the tags of each category of each row begin
    codes: Ints  # [tags] places in names

    @classmethod
    def of(cls, tables: Iterable[pa.Table]) -> "PostTags":
        """Read tables of posts one after another; no post is in two of them."""
        names: dict[str, int] = {}
        ids: list[Ints] = []
        lengths: list[Ints] = [np.zeros((0, len(CATEGORIES)), np.int64)]
        codes: list[Ints] = []
        for table in tables:
            ids.append(table["id"].to_numpy())
            counts, tags = _coded(table, names)
            lengths.append(counts)
            codes.append(tags)
        every = np.concatenate([np.zeros(0, np.int64), *ids])
        row = np.argsort(every).astype(np.int32)
        return cls(
            Names(names),
            every[row],
            row,
            np.concatenate([[0], np.concatenate(lengths).ravel().cumsum()]),
            np.concatenate([np.zeros(0, np.int32), *codes]),
        )

    def tags(self, post_ids: Ints) -> Tags:
        """Return the tags of images by their posts; an id that is not here has none."""
        at = np.searchsorted(self.ids, post_ids)
        known = np.append(self.ids, -1)[at] == post_ids
        rows = self.row[at[known]].astype(np.int64)
        cells = (rows[:, None] * len(CATEGORIES) + np.arange(len(CATEGORIES))).ravel()
        counts = self.starts[cells + 1] - self.starts[cells]
        of_row = counts.reshape(-1, len(CATEGORIES)).sum(axis=1)
        which, place = ranges(self.starts[rows * len(CATEGORIES)], of_row)
        image = np.flatnonzero(known)[which]
        kinds = np.tile(np.arange(len(CATEGORIES), dtype=np.uint8), len(rows))
        return made(self.names, image, self.codes[place], np.repeat(kinds, counts), BOORU)


def _coded(posts: pa.Table, names: dict[str, int]) -> tuple[Ints, Ints]:
    """How many tags each post has of each category, and all of them; `names` grows."""
    lists = [posts[category].combine_chunks() for category in CATEGORIES]
    lengths = np.stack([one.value_lengths().to_numpy() for one in lists], axis=1)
    lengths = lengths.astype(np.int64)
    starts = (lengths.ravel().cumsum() - lengths.ravel()).reshape(lengths.shape)
    codes = np.empty(lengths.sum(), np.int32)
    for n, one in enumerate(lists):
        tags = pc.list_flatten(one).dictionary_encode()
        known = [names.setdefault(name, len(names)) for name in tags.dictionary.to_pylist()]
        own = lengths[:, n].cumsum() - lengths[:, n]  # where each post's begin in the column
        place = np.repeat(starts[:, n] - own, lengths[:, n]) + np.arange(len(tags))
        codes[place] = np.array(known, np.int32)[tags.indices.to_numpy()]
    return lengths, codes
