"""What taggers see in many pictures and no caption names: it is learnt all the same.

A dog that stands in a picture and in no caption becomes part of whatever the caption does name.
"""

import fnmatch

import numpy as np

from prep.captions.columns import KINDS, TAGGER
from prep.lint.evidence import Evidence
from prep.lint.finding import Finding, images, named
from schemas.recipes.change import Change
from schemas.tags import canonical

NAME = "untagged"
LEAST, SHARE = 2, 0.02  # images, and part of them, in which a tag is frequent


def untagged(evidence: Evidence) -> list[Finding]:
    """Return the tags that the sources' choice hides, and those that a rule drops everywhere."""
    seen = evidence.seen
    if evidence.implied is not None:
        seen = evidence.implied(seen, evidence.images, 0)
    learnt = seen.where(~evidence.images.is_reg[seen.image])
    kinds = [KINDS.index(kind) for kind in ("general", "character")]
    learnt = learnt.where(np.isin(learnt.category, kinds) & ((learnt.source & TAGGER) > 0))
    counts = np.bincount(learnt.tag, minlength=len(learnt.names))
    least = max(LEAST, SHARE * evidence.learning)
    captioned = {evidence.tags.names[code] for code in np.flatnonzero(evidence.counts).tolist()}
    frequent = [
        learnt.names[code]
        for code in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts >= least)].tolist()
        if learnt.names[code] not in captioned
    ]
    found = []
    if tags := [tag for tag in frequent if _dropped(evidence, tag)]:
        # whoever writes a rule means it; but it does not do what one may think
        what = "rules drop what is in the pictures, and what is there is learnt without its name"
        remedy = "keep a tag of what the adapter should not learn"
        found.append(_finding(evidence, tags, False, what, (), remedy))
    hidden = [tag for tag in frequent if not _accounted(evidence, tag)]
    source = evidence.recipe.caption.source
    if hidden and source != "union" and source != "taggers":
        what = f'taggers see what caption.source = "{source}" keeps out of captions'
        changes = (Change(("caption", "source"), "union"),)
        found.append(_finding(evidence, hidden, True, what, changes, ""))
    return found


def _finding(
    evidence: Evidence,
    tags: list[str],
    grave: bool,
    what: str,
    changes: tuple[Change, ...],
    remedy: str,
) -> Finding:
    has = evidence.shown.any_of(tags) & ~evidence.images.is_reg
    where = np.flatnonzero(has)
    told = f"{what}: {named(tags)}, in {images(len(where))}"
    return Finding(NAME, grave, told, where, tuple(tags), changes, remedy)


def _accounted(evidence: Evidence, tag: str) -> bool:
    """Whether a rule says why captions lack the tag."""
    renamed = {canonical(name) for name in evidence.recipe.caption.rename}
    return tag in evidence.collapsed or tag in renamed or _dropped(evidence, tag)


def _dropped(evidence: Evidence, tag: str) -> bool:
    recipe = evidence.recipe.caption
    if "drop" not in recipe.rules:
        return False
    if tag in map(canonical, recipe.drop.tags):
        return True
    return any(fnmatch.fnmatchcase(tag, canonical(pattern)) for pattern in recipe.drop.patterns)
