"""Tags that another tag begins with or has inside: `aiming` and `aiming at viewer`.

A model reads tags as tokens, so what a picture shows of the one is learnt by the other as well. In
English compounds the last word says what a thing is: a `white shirt` is a `shirt`, and sharing that
word is wanted. A `shirt lift` is none, and bleeds.
"""

from collections.abc import Iterator

import numpy as np

from prep.captions.columns import KINDS
from prep.lint.evidence import Evidence
from prep.lint.finding import Finding, Places, images
from prep.lint.words import telling
from schemas.recipes.change import Change
from schemas.tags import rendered

NAME = "tags share words"
LEAST, SHARE = 3, 0.02  # images, and part of them, that each tag of a pair must stand on apart
MOST = 12  # pairs at a time, the most frequent first
CHOSEN = ("general",)  # categories whose names are words that a prompt would be made of


def bleeding(evidence: Evidence) -> list[Finding]:
    """Return the pairs that stand apart often enough to be told from one another."""
    least = max(LEAST, SHARE * evidence.learning)
    kinds = [KINDS.index(kind) for kind in CHOSEN]
    general = set(np.unique(evidence.learnt.tag[np.isin(evidence.learnt.category, kinds)]).tolist())
    codes = [c for c in np.flatnonzero(evidence.counts >= least).tolist() if c in general]
    names = [evidence.tags.names[code] for code in codes]
    pieces = evidence.words.cut([rendered(name, escape=False) for name in names])
    cut = [telling(some) for some in pieces]
    taken = set(evidence.tags.names)
    found = []
    for short, long in _pairs(cut):
        with_it, apart = _apart(evidence, names[short], names[long])
        if len(apart) >= least:
            found.append((names[short], names[long], with_it, apart))
    found.sort(key=lambda pair: -min(len(pair[2]), len(pair[3])))
    findings = []
    for shorter, longer, with_it, apart in found[:MOST]:
        token = _token(longer, taken)
        taken.add(token)
        findings.append(_finding(shorter, longer, token, with_it, apart))
    return findings


def _finding(
    short: str, long: str, token: str, with_it: Places, apart: Places
) -> Finding:  # fmt: skip
    spelt, longer = (rendered(name, escape=False) for name in (short, long))
    return Finding(
        NAME,
        True,
        f'"{longer}" has "{spelt}" in it and is something else:'
        f" {images(len(with_it))} with the one, {len(apart):,} with the other alone",
        np.union1d(with_it, apart),
        (short, long),
        changes=(Change(("caption", "rename", longer), token),),
        remedy=f'prompts then ask for "{token}"',
    )


def _pairs(cut: list[tuple[str, ...]]) -> Iterator[tuple[int, int]]:
    """Places of a shorter and a longer text, the shorter's pieces within the longer's, not last."""
    place = {pieces: n for n, pieces in reversed(list(enumerate(cut))) if pieces}
    for long, pieces in enumerate(cut):
        for start in range(len(pieces)):
            for end in range(start + 1, len(pieces)):
                short = place.get(pieces[start:end])
                if short is not None and short != long:
                    yield short, long


def _apart(evidence: Evidence, short: str, long: str) -> tuple[Places, Places]:
    """The images to learn from with the longer tag, and those with the shorter alone."""
    is_reg = evidence.images.is_reg
    with_it, others = (
        places[~is_reg[places]] for places in map(evidence.captioned.images, (long, short))
    )
    return with_it, np.setdiff1d(others, with_it)


def _token(name: str, taken: set[str]) -> str:
    """A short name that no tag has: `aiming_at_viewer` becomes `aav`."""
    words = ["".join(c for c in word if c.isalnum()) for word in name.split("_")]
    words = [word for word in words if word]
    token = "".join(word[0] for word in words)
    tail = words[-1][1:]
    while len(token) < 3 or token in taken:
        token, tail = (token + tail[0], tail[1:]) if tail else (token + "x", "")
    return token
