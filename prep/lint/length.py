"""Captions that are longer than training, or another program, reads: which tags are lost.

A caption is cut into chunks of 75 tokens, no tag in two, as training does it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from prep.captions.columns import Ints
from prep.captions.tokens import CHUNK, Columns, lost
from prep.lint.evidence import Evidence
from prep.lint.finding import Finding, images, named

NAME = "too long"
LIMITS = (75, 150, 225)


def length(evidence: Evidence) -> list[Finding]:
    """Return the captions beyond what is read, with the tags that are lost."""
    columns = _columns(evidence)
    beyond = {limit: lost(columns, limit) for limit in LIMITS}
    first = beyond[evidence.limit]
    over = np.flatnonzero(first < columns.counts)
    told = [
        f"{np.count_nonzero(places < columns.counts):,} beyond {limit}"
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
    over = np.flatnonzero(beyond[CHUNK] < columns.counts)
    if not len(over):
        return []
    tags = _lost_tags(evidence, columns, beyond[CHUNK])
    what = (
        f"captions are read whole ({', '.join(told)}{unsure}), but programs that read"
        f" {CHUNK} tokens would lose {named(tags)}"
    )
    return [Finding(NAME, False, what, over, tuple(tags))]


def _columns(evidence: Evidence) -> Columns:
    texts = evidence.texts
    inner, last = (_sizes(evidence, [text + mark for text in texts]) for mark in (",", ""))
    image = evidence.written.image
    ends = np.cumsum(np.bincount(image, minlength=len(evidence.images)))
    return Columns(ends.astype(np.int64), inner[evidence.text], last[evidence.text])


def _sizes(evidence: Evidence, texts: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([len(pieces) for pieces in evidence.words.cut(texts)], np.int64)


def _lost_tags(evidence: Evidence, columns: Columns, first: Ints) -> list[str]:
    """The tags behind each caption's first that is lost, the most frequent first."""
    tags = evidence.written
    place = np.arange(len(tags)) - (columns.ends - columns.counts)[tags.image]
    counts = np.bincount(tags.tag[place >= first[tags.image]], minlength=len(tags.names))
    codes = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return [tags.names[code] for code in codes.tolist()]
