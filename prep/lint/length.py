"""Captions that are longer than training, or another program, reads: which tags are lost.

A caption is cut into chunks of 75 tokens, no tag in two, as training does it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prep.captions.columns import Ints
from prep.lint.evidence import Evidence
from prep.lint.finding import Finding, images, named

NAME = "too long"
CHUNK = 75  # tokens, without the begin and end token
LIMITS = (75, 150, 225)


@dataclass(frozen=True)
class Columns:
    """The tokens of n captions, one element per tag, caption by caption."""

    ends: Ints  # [n] behind each caption's last tag
    inner: Ints  # [tags] tokens of a tag with the comma behind it
    last: Ints  # [tags] without the comma, as a caption's last tag has none


def length(evidence: Evidence) -> list[Finding]:
    """Return the captions beyond what is read, with the tags that are lost."""
    columns = _columns(evidence)
    beyond = {limit: lost(columns, limit) for limit in LIMITS}
    first = beyond[evidence.limit]
    over = np.flatnonzero(first < _counts(columns))
    told = [
        f"{np.count_nonzero(places < _counts(columns)):,} beyond {limit}"
        for limit, places in beyond.items()
    ]
    unsure = "" if evidence.words.exact else ", counted in words, of which tokens are at least one"
    if len(over):
        tags = _lost_tags(evidence, columns, first)
        what = (
            f"{images(len(over))} lose{'s' if len(over) == 1 else ''} tags beyond"
            f" {evidence.limit} tokens"
            f" ({', '.join(told)}{unsure}): {named(tags)}"
        )
        remedy = "leave tags out by caption.drop, those that say least"
        if evidence.limit < LIMITS[-1]:
            remedy = f"read more in training: caption.tokens = {LIMITS[-1]} in train.toml"
        return [Finding(NAME, True, what, over, tuple(tags), remedy=remedy)]
    over = np.flatnonzero(beyond[CHUNK] < _counts(columns))
    if not len(over):
        return []
    tags = _lost_tags(evidence, columns, beyond[CHUNK])
    what = (
        f"captions are read whole ({', '.join(told)}{unsure}), but programs that read"
        f" {CHUNK} tokens would lose {named(tags)}"
    )
    return [Finding(NAME, False, what, over, tuple(tags))]


def lost(columns: Columns, limit: int) -> Ints:
    """Return the first tag that each caption loses at `limit` tokens; its tag count where none is.

    The chunks of all captions fill side by side, one tag at a time.
    """
    counts, most = _counts(columns), limit // CHUNK
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


def _columns(evidence: Evidence) -> Columns:
    texts = evidence.texts
    inner, last = (_sizes(evidence, [text + mark for text in texts]) for mark in (",", ""))
    image = evidence.written.image
    ends = np.cumsum(np.bincount(image, minlength=len(evidence.images)))
    return Columns(ends.astype(np.int64), inner[evidence.text], last[evidence.text])


def _sizes(evidence: Evidence, texts: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([len(pieces) for pieces in evidence.words.cut(texts)], np.int64)


def _counts(columns: Columns) -> Ints:
    return np.diff(columns.ends, prepend=0)


def _lost_tags(evidence: Evidence, columns: Columns, first: Ints) -> list[str]:
    """The tags behind each caption's first that is lost, the most frequent first."""
    tags = evidence.written
    place = np.arange(len(tags)) - (columns.ends - _counts(columns))[tags.image]
    counts = np.bincount(tags.tag[place >= first[tags.image]], minlength=len(tags.names))
    codes = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return [tags.names[code] for code in codes.tolist()]
