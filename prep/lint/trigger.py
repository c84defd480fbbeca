"""The trigger: captions without it, and tags that share words with it."""

import numpy as np

from prep.captions.columns import KINDS
from prep.lint.evidence import Evidence
from prep.lint.finding import Finding, images, named
from prep.lint.words import telling
from schemas.recipes.change import Change
from schemas.tags import plain, rendered

NO_TRIGGER, NOT_THERE, SHARED = "no trigger", "trigger missing", "trigger shares words"
LEAST, SHARE = 2, 0.01  # images, and part of them, in which a tag is frequent enough to bleed


def trigger(evidence: Evidence) -> list[Finding]:
    """Return what is amiss with the trigger."""
    if not evidence.recipe.caption.trigger.strip():
        what = "the recipe has no trigger, so that nothing calls what is learnt"
        remedy = 'give one: caption.trigger = "..."; a style can do without'
        return [Finding(NO_TRIGGER, False, what, np.empty(0, np.int64), remedy=remedy)]
    return [*_missing(evidence), *_shared(evidence)]


def _missing(evidence: Evidence) -> list[Finding]:
    """Captions to learn from that do not have the trigger."""
    there = evidence.tags.category == KINDS.index("trigger")
    has = evidence.images.is_reg.copy()
    has[evidence.tags.image[there]] = True
    lacking = np.flatnonzero(~has)
    if not len(lacking):
        return []
    text, rules = evidence.recipe.caption.trigger, evidence.recipe.caption.rules
    what = f'{images(len(lacking))} to learn from have a caption without the trigger "{text}"'
    if "trigger" in rules:
        remedy = "edits or captions of before took it away: `prep caption` puts it back"
        return [Finding(NOT_THERE, True, what, lacking, remedy=remedy)]
    # before what it stands in for, and behind whatever takes tags away
    place = rules.index("collapse") if "collapse" in rules else 1
    wanted = [*rules[:place], "trigger", *rules[place:]]
    change = Change(("caption", "rules"), wanted)
    return [Finding(NOT_THERE, True, f"{what}: caption.rules lack it", lacking, changes=(change,))]


def _shared(evidence: Evidence) -> list[Finding]:
    """Tags of the captions whose tokens are among the trigger's."""
    least = max(LEAST, SHARE * evidence.learning)
    kind = KINDS.index("trigger")
    own = set(evidence.learnt.tag[evidence.learnt.category == kind].tolist())
    codes = [c for c in np.flatnonzero(evidence.counts >= least).tolist() if c not in own]
    codes.sort(key=lambda code: -int(evidence.counts[code]))
    text = plain(evidence.recipe.caption.trigger)
    names = [evidence.tags.names[code] for code in codes]
    cut = evidence.words.cut([text, *(rendered(name, escape=False) for name in names)])
    mine = set(telling(cut[0]))
    shared = [
        (name, words) for name, pieces in zip(names, cut[1:], strict=True)
        if (words := mine.intersection(telling(pieces)))
    ]  # fmt: skip
    if not shared:
        return []
    tags = tuple(name for name, _ in shared)
    common = set().union(*(words for _, words in shared))
    pieces = " ".join(piece for piece in telling(cut[0]) if piece in common)
    has = evidence.captioned.any_of(tags) & ~evidence.images.is_reg
    free = _free(evidence, text, cut[1:])
    better = f', such as caption.trigger = "{free}"' if free else ""
    return [
        Finding(
            SHARED,
            True,
            f'the trigger "{text}" has "{pieces}" in common with {named(tags)}:'
            " what one means bleeds into the other",
            np.flatnonzero(has),
            tags,
            remedy=f"choose a trigger that shares no word{better}; it is left to you, as prompts"
            " name it too (sample.prompts in train.toml)",
        )
    ]


def _free(evidence: Evidence, text: str, others: list[tuple[str, ...]]) -> str:
    """The first word of the trigger that shares nothing; "" where all do."""
    taken = {piece for pieces in others for piece in telling(pieces)}
    for word in text.replace("(", " ").replace(")", " ").replace("_", " ").split():
        (pieces,) = evidence.words.cut([word])
        if telling(pieces) and not taken.intersection(telling(pieces)):
            return word
    return ""
