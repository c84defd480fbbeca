"""Captions that say two things of which only one can be true, by the table of exclusive tags."""

import numpy as np

from prep.captions.columns import Bools
from prep.known_tags import SEVERAL
from prep.lint.evidence import Evidence
from prep.lint.exclusive import EXCLUSIVE, Exclusive
from prep.lint.finding import Finding, images, named

NAME = "contradiction"
SHOWN = 3  # combinations that are named


def contradictions(evidence: Evidence) -> list[Finding]:
    """Return each row of the table that captions break, with its most frequent combinations."""
    several = evidence.shown.any_of(SEVERAL)
    alone = evidence.shown.any_of(["solo"])
    found = []
    for row in EXCLUSIVE:
        judged = ~several & ~evidence.shown.any_of(row.unless)
        if row.of_one:
            judged &= alone
        finding = _broken(evidence, row, judged)
        if finding is not None:
            found.append(finding)
    return found


def _broken(evidence: Evidence, row: Exclusive, judged: Bools) -> Finding | None:
    tags = [tag for side in row.sides for tag in side]
    side_of = np.repeat(np.arange(len(row.sides)), [len(side) for side in row.sides])
    has = np.stack([evidence.captioned.any_of([tag]) for tag in tags], axis=1)
    sides = np.add.reduceat(has, np.flatnonzero(np.diff(side_of, prepend=-1)), axis=1) > 0
    wrong = np.flatnonzero(judged & (sides.sum(axis=1) > 1))
    if not len(wrong):
        return None
    held = has[wrong].astype(np.int64)
    together = np.where(side_of[:, None] < side_of, held.T @ held, 0)
    pairs = [
        ((tags[place // len(tags)], tags[place % len(tags)]), int(together.flat[place]))
        for place in np.argsort(-together, axis=None, kind="stable")[:SHOWN].tolist()
        if together.flat[place]
    ]
    said = [f"{named(pair)} ({count:,})" for pair, count in pairs]
    first = pairs[0][0]
    return Finding(
        NAME,
        True,
        f"{row.why}, but captions of {images(len(wrong))} say: {'; '.join(said)}",
        wrong,
        tuple(dict.fromkeys(tag for pair, _ in pairs for tag in pair)),
        remedy="look at them and take away what is wrong:"
        f' prep edit "{" ".join(first)}" --remove {first[-1]}',
    )
