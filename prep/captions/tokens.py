"""How long captions are in tokens, and captions of at most so many.

A caption is cut into chunks of 75 tokens, no tag in two, as training does it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from prep.captions.columns import Bools, Ints, Tags
from schemas.tables import PARTS

CHUNK = 75  # tokens, without the begin and end token
Cut = Callable[[Sequence[str]], list[tuple[str, ...]]]  # texts to their pieces


@dataclass(frozen=True)
class Tokenizer:
    """How the model to train cuts texts. key: a name for that, from what it does alone."""

    cut: Cut
    key: str


@dataclass(frozen=True)
class Columns:
    """The tokens of n captions, one element per tag, caption by caption."""

    ends: Ints  # [n] behind each caption's last tag
    inner: Ints  # [tags] tokens of a tag with the comma behind it
    last: Ints  # [tags] without the comma, as a caption's last tag has none

    @property
    def counts(self) -> Ints:
        """How many tags each caption has."""
        return np.diff(self.ends, prepend=0)


def lost(columns: Columns, limit: int) -> Ints:
    """Return the first tag that each caption loses at `limit` tokens; its tag count where none is.

    The chunks of all captions fill side by side, one tag at a time.
    """
    counts, most = columns.counts, limit // CHUNK
    starts = columns.ends - counts
    chunks, filled = np.ones(len(counts), np.int64), np.zeros(len(counts), np.int64)
    first = counts.copy()
    rows = np.arange(len(counts))
    for place in range(int(counts.max(initial=0))):
        rows = rows[(counts[rows] > place) & (first[rows] == counts[rows])]
        at = starts[rows] + place
        size = np.where(place == counts[rows] - 1, columns.last[at], columns.inner[at])
        opens = (filled[rows] + size > CHUNK) & (filled[rows] > 0)
        full = opens & (chunks[rows] == most)
        chunks[rows] += opens & ~full
        filled[rows] = np.where(opens, 0, filled[rows])
        # a tag that alone is longer than a chunk goes on in the next ones
        more = np.minimum(np.maximum(size - 1, 0) // CHUNK, most - chunks[rows])
        more = np.where(full, 0, more)
        chunks[rows] += more
        filled[rows] = np.where(more > 0, 0, filled[rows]) + size - more * CHUNK
        first[rows] = np.where(full | (filled[rows] > CHUNK), place, counts[rows])
    return first


def within(tags: Tags, texts: pa.Array, images: int, cut: Cut, limit: int) -> Bools:
    """Return which tags stay where captions may have `limit` tokens.

    Tags go from the end of what is shuffled, as few as suffice; the fixed head and tail stay, also
    where they alone are longer. tags: in the order of the caption, with their parts.
    """
    used, code = np.unique(tags.tag, return_inverse=True)
    words = texts.take(pa.array(used)).to_pylist()
    inner, last = (
        np.array([len(pieces) for pieces in cut([word + end for word in words])], np.int64)
        for end in (",", "")
    )
    is_flex = tags.part == PARTS.index("flex")
    flex = np.bincount(tags.image[is_flex], minlength=images)
    before = np.cumsum(is_flex) - is_flex  # of this image and those before it
    rank = before - (np.cumsum(flex) - flex)[tags.image]

    def kept(most: Ints) -> Bools:
        return np.asarray(~is_flex | (rank < most[tags.image]), bool)

    def fits(most: Ints) -> Bools:
        stays = kept(most)
        ends = np.cumsum(np.bincount(tags.image[stays], minlength=images))
        columns = Columns(ends, inner[code[stays]], last[code[stays]])
        return np.asarray(lost(columns, limit) == columns.counts, bool)

    # halved until `low` fits, or is none, and one more does not
    low, high = np.where(fits(flex), flex, 0), flex
    while (low + 1 < high).any():
        middle = np.where(low + 1 < high, (low + high) // 2, low)
        suits = fits(middle)
        low, high = np.where(suits, middle, low), np.where(suits, high, middle)
    return kept(low)
