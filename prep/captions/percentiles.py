"""Where a post's score stands among those of its rating and its time of upload.

Votes grow with a site's visitors and differ between ratings, so that one score says little by
itself. Posts are counted by score in groups of one rating and so many quarters of a year as hold
`ENOUGH` of them; a post's percentile is how many of 100 posts of its group score less.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.columns import NO_DAY, Bools, Floats, Images, Ints
from schemas.tables import PERCENTILES, RATINGS

ENOUGH = 100  # posts of a group; a rating with fewer is one group
QUARTER = 3  # months
LEAST = -(2**31)  # score that the table can hold
_NAMES = (*RATINGS, "")  # the last: of posts without a rating


@dataclass(frozen=True)
class Ranking:
    """The groups that were fitted, and which posts are ranked by them."""

    groups: "Groups"
    settled: int  # the last day of upload, since 1970, whose posts are ranked

    def of(self, images: Images) -> Floats:
        """Return the percentile of each image: [images], from 0 to 100.

        NaN where it has no score, is too young, or no post of its rating was there to be counted.
        """
        wanted = np.flatnonzero(has_score(images) & (images.uploaded <= self.settled))
        group = self.groups.of(images.ratings[wanted], images.uploaded[wanted])
        wanted, group = wanted[group >= 0], group[group >= 0]
        found = np.full(len(images), np.nan)
        found[wanted] = self.groups.percentiles(group, images.scores[wanted].astype(np.int64))
        return found


def has_score(images: Images) -> Bools:
    """Return which images have a post with a score and a day of upload."""
    return np.asarray(~np.isnan(images.scores) & (images.uploaded != NO_DAY), bool)


def settled_by(images: Images, days: int) -> int:
    """Return the last day of upload of posts that are older by so many days than the newest.

    The newest post tells when posts were fetched: captions do not depend on a clock.
    """
    return int(images.uploaded.max(initial=NO_DAY)) - days


def fit(images: Images, settled: int, fitted: str) -> pa.Table:
    """Return how many posts, each once, have which score in which group: PERCENTILES.

    `settled`: the last day of upload that counts; `fitted`: what the table says it was fitted by.
    """
    there = np.flatnonzero(has_score(images) & (images.uploaded <= settled))
    there = there[np.unique(images.post_ids[there], return_index=True)[1]]
    rating, score = _code(images.ratings[there]), images.scores[there].astype(np.int64)
    quarter = _quarter(images.uploaded[there])
    starts = np.zeros(len(there), np.int64)
    for one in np.unique(rating):
        of_it = rating == one
        first = np.array(list(_starts(quarter[of_it])))
        starts[of_it] = first[np.searchsorted(first, quarter[of_it], side="right") - 1]
    key = (rating << 48) + (starts << 32) + (score - LEAST)  # one number is sorted much quicker
    key, counts = np.unique(key, return_counts=True)
    rating, starts, score = key >> 48, (key >> 32) & 0xFFFF, (key & 0xFFFFFFFF) + LEAST
    table = pa.table(
        {
            "rating": pa.array(_NAMES).take(pa.array(rating)),
            "since": pa.array((starts * QUARTER).astype("M8[M]").astype("M8[D]")),
            "score": pa.array(score.astype(np.int32)),
            "posts": pa.array(counts.astype(np.int32)),
            "fitted": pa.repeat(pa.scalar(fitted), len(counts)),
        }
    )
    return PERCENTILES.sorted(table.cast(PERCENTILES.schema))


def _starts(quarters: Ints) -> Iterator[int]:
    """The first quarter of each period; what is left of less than ENOUGH posts joins the last."""
    found, counts = np.unique(quarters, return_counts=True)
    start, held, left = int(found[0]), 0, int(counts.sum())
    for quarter, count in zip(found.tolist(), counts.tolist(), strict=True):
        if held >= ENOUGH and left >= ENOUGH:
            yield start
            start, held = quarter, 0
        held += count
        left -= count
    yield start


@dataclass(frozen=True)
class Groups:
    """The table as columns: groups, and the rows that each of them has."""

    rating: Ints  # [groups] in order, by rating and then by first day
    since: Ints  # [groups] days
    ends: Ints  # [groups] behind each group's rows
    score: Ints  # [rows]
    before: Ints  # [rows + 1] posts of all rows before

    @classmethod
    def read(cls, table: pa.Table) -> "Groups":
        """Return the groups of PERCENTILES."""
        names = pa.array(_NAMES)
        rating = pc.index_in(table["rating"], value_set=names).to_numpy()
        since = table["since"].cast(pa.int32()).to_numpy()
        order = np.lexsort((table["score"].to_numpy(), since, rating))
        rating, since = rating[order].astype(np.int64), since[order].astype(np.int64)
        new = np.diff(rating, prepend=-1).astype(bool) | np.diff(since, prepend=-1).astype(bool)
        starts = np.flatnonzero(new)
        posts = np.cumsum(table["posts"].to_numpy()[order], dtype=np.int64)
        return cls(
            rating[starts], since[starts], np.append(starts[1:], len(order)),
            table["score"].to_numpy()[order].astype(np.int64), np.append(0, posts),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.rating)

    @property
    def posts(self) -> Ints:
        """How many posts each group has."""
        return np.diff(self.before[self.ends], prepend=0)

    def of(self, ratings: Ints, days: Ints) -> Ints:
        """Return each post's group, -1 where its rating has none; the first has all before it."""
        wide = 1 << 32
        first = np.append(True, np.diff(self.rating).astype(bool))[: len(self.rating)]
        begins = self.rating * wide + np.where(first, -1, self.since)
        rating = _code(ratings)
        at = np.searchsorted(begins, rating * wide + days, side="right") - 1
        own = np.append(self.rating, -1)[at] == rating
        return np.where(own, at, -1)

    def percentiles(self, group: Ints, scores: Ints) -> Floats:
        """Return how many of 100 posts of the group score less."""
        wide = 1 << 32
        sizes = np.diff(self.ends, prepend=0)
        keys = np.repeat(np.arange(len(sizes)), sizes) * wide + self.score
        at = np.searchsorted(keys, group * wide + scores)
        starts = self.before[self.ends - sizes][group]
        return (self.before[at] - starts) * 100 / (self.before[self.ends][group] - starts)


def _code(ratings: Ints) -> Ints:
    """Places in _NAMES."""
    return np.where(ratings < 0, len(RATINGS), ratings).astype(np.int64)


def _quarter(days: Ints) -> Ints:
    """Quarters of a year since 1970."""
    months = days.astype("M8[D]").astype("M8[M]").astype(np.int64)
    return np.asarray(months // QUARTER, np.int64)
