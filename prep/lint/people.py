"""People who are in a picture and whose tags a rule takes away.

What says who is there binds faces, clothes and poses to somebody: without it they are learnt as
part of the background, and another adapter's character no longer fits in.
"""

import fnmatch

import numpy as np

from prep.known_tags import COUNTS, PEOPLE
from prep.lint.evidence import Evidence
from prep.lint.finding import Finding, images
from schemas.recipes.change import Change
from schemas.tags import canonical, rendered

NAME = "people removed"


def people(evidence: Evidence) -> list[Finding]:
    """Return each tag of people that the rules drop or collapse."""
    found = []
    for tag in (*PEOPLE, *COUNTS):
        seen = evidence.shown.any_of([tag])
        where = np.flatnonzero(seen & ~evidence.captioned.any_of([tag]))
        changes, why = _why(evidence, tag)
        if why and len(where):
            text = rendered(tag, escape=False)
            what = f'{why} takes "{text}" from {images(len(where))} that show it'
            remedy = "" if changes else f"narrow it, so that it leaves {text} alone"
            found.append(Finding(NAME, True, what, where, (tag,), changes, remedy))
    return found


def _why(evidence: Evidence, tag: str) -> tuple[tuple[Change, ...], str]:
    """The key of the recipe that takes a tag away, and what mends it."""
    recipe = evidence.recipe.caption
    if "drop" in recipe.rules:
        for written in recipe.drop.tags:
            if canonical(written) == tag:
                key = ("caption", "drop", "tags")
                return (Change(key, written, "remove"),), "caption.drop.tags"
        for pattern in recipe.drop.patterns:
            if fnmatch.fnmatchcase(tag, canonical(pattern)):
                return (), f'the pattern "{pattern}" of caption.drop.patterns'
    if "collapse" in recipe.rules and tag in evidence.collapsed:
        if recipe.collapse.tags == "found":
            key = ("caption", "collapse", "spare")
            return (Change(key, rendered(tag, escape=False), "add"),), "caption.collapse"
        for written in recipe.collapse.tags:
            if canonical(written) == tag:
                key = ("caption", "collapse", "tags")
                return (Change(key, written, "remove"),), "caption.collapse.tags"
    return (), ""
