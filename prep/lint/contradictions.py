"""Captions that say two things of which only one can be true, by the table of exclusive tags."""

from collections import Counter
from itertools import combinations

import numpy as np

from prep.lint.evidence import Evidence
from prep.lint.exclusive import EXCLUSIVE, SEVERAL, Exclusive
from prep.lint.finding import Finding, images, named

NAME = "contradiction"
SHOWN = 3  # combinations that are named


def contradictions(evidence: Evidence) -> list[Finding]:
    """Return each row of the table that captions break, with its most frequent combinations."""
    several = evidence.having(evidence.seen, SEVERAL)
    alone = evidence.having(evidence.seen, ["solo"])
    found = []
    for row in EXCLUSIVE:
        judged = ~several & ~evidence.having(evidence.seen, row.unless)
        if row.of_one:
            judged &= alone
        finding = _broken(evidence, row, judged)
        if finding is not None:
            found.append(finding)
    return found


def _broken(evidence: Evidence, row: Exclusive, judged: np.ndarray) -> Finding | None:
    sides = np.stack([evidence.having(evidence.tags, side) for side in row.sides], axis=1)
    wrong = np.flatnonzero(judged & (sides.sum(axis=1) > 1))
    if not len(wrong):
        return None
    pairs = _pairs(evidence, row, wrong)
    said = [f"{named(pair)} ({count:,})" for pair, count in pairs[:SHOWN]]
    tags = tuple(dict.fromkeys(tag for pair, _ in pairs[:SHOWN] for tag in pair))
    first = pairs[0][0]
    return Finding(
        NAME,
        True,
        f"{row.why}, but captions of {images(len(wrong))} say: {'; '.join(said)}",
        wrong,
        tags,
        remedy="look at them and take away what is wrong:"
        f' prep edit "{" ".join(first)}" --remove {first[-1]}',
    )


def _pairs(
    evidence: Evidence, row: Exclusive, wrong: np.ndarray
) -> list[tuple[tuple[str, str], int]]:
    """The tags of different sides that stand together, the most frequent first."""
    side_of = {tag: place for place, side in enumerate(row.sides) for tag in side}
    tags = evidence.tags
    tags = tags.where(np.isin(tags.image, wrong) & tags.named(side_of))
    held: dict[int, set[str]] = {}
    for image, code in zip(tags.image.tolist(), tags.tag.tolist(), strict=True):
        held.setdefault(image, set()).add(tags.names[code])
    order = list(side_of)
    counts = Counter(
        pair
        for names in held.values()
        for pair in combinations(sorted(names, key=order.index), 2)
        if side_of[pair[0]] != side_of[pair[1]]
    )
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
