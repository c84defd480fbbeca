"""Tags that stand on nearly all images to learn from, and tags that stand on hardly any."""

import numpy as np

from prep.captions.columns import KINDS, Ints
from prep.lint.evidence import Evidence
from prep.lint.finding import Finding, named
from schemas.recipes.change import Change
from schemas.tags import canonical, rendered

CONSTANT, RARE = "on nearly all", "rare"
NEARLY = 0.95  # of the images to learn from
FEW = 2  # images from which nothing is learnt
ENOUGH = 20  # images to learn from, below which every tag is rare and constant ones say little


def frequency(evidence: Evidence) -> list[Finding]:
    """Return both kinds; tags that rules add are not judged."""
    if evidence.learning < ENOUGH:
        return []
    kinds = [KINDS.index(kind) for kind in ("general", "character", "copyright")]
    learnt = evidence.learnt
    codes = np.unique(learnt.tag[np.isin(learnt.category, kinds)])
    counts = evidence.counts[codes]
    nearly = codes[counts / evidence.learning >= NEARLY]
    rare = codes[counts <= FEW]
    return [*_constant(evidence, nearly), *_rare(evidence, rare)]


def _constant(evidence: Evidence, codes: Ints) -> list[Finding]:
    """Tags that cannot be told from the trigger, but for those that say what anybody shows."""
    recipe = evidence.recipe.caption
    spared = set(map(canonical, recipe.collapse.spare))
    codes = codes[np.argsort(-evidence.counts[codes], kind="stable")]
    tags = [evidence.tags.names[c] for c in codes.tolist() if evidence.tags.names[c] not in spared]
    if not tags:
        return []
    has = evidence.captioned.any_of(tags) & ~evidence.images.is_reg
    what = f"{named(tags)}: nearly all images have it, so it cannot be told from what is learnt"
    remedy = "or leave it where a prompt should be able to go without it"
    changes: tuple[Change, ...] = ()
    if recipe.trigger.strip():
        # found features are a fit, to which nothing is added by hand
        found = recipe.collapse.tags == "found" or "collapse" not in recipe.rules
        key = ("caption", "drop", "tags") if found else ("caption", "collapse", "tags")
        changes = tuple(Change(key, rendered(tag, escape=False), "add") for tag in tags)
    return [Finding(CONSTANT, False, what, np.flatnonzero(has), tuple(tags), changes, remedy)]


def _rare(evidence: Evidence, codes: Ints) -> list[Finding]:
    tags = [evidence.tags.names[code] for code in codes.tolist()]
    if not tags:
        return []
    has = evidence.captioned.any_of(tags) & ~evidence.images.is_reg
    stand = "tag stands" if len(tags) == 1 else "tags stand"
    what = f"{len(tags):,} {stand} on {FEW} images or fewer: {named(tags)}"
    remedy = (
        "too few to be asked for later, but true ones do no harm;"
        " where taggers made them up, raise tag.general"
    )
    return [Finding(RARE, False, what, np.flatnonzero(has), tuple(tags), remedy=remedy)]
