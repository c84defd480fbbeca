"""How changes are said, in words that the terminal and the page share."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from prep.diff.coming import CAME
from prep.diff.counts import Group
from prep.diff.diff import Diff, Feature
from schemas.recipes.change import Change
from schemas.recipes.write import inline_key, inline_value
from schemas.tags import rendered

SIGNS = {"added": "+", "removed": "-", "moved": "↕"}  # of a kind of change; of others "→"
WHAT = {  # what brings an image or takes it, by the rule that CAPTION_DIFF names
    ("image came", "fetch"): "new in its set",
    ("image came", "dedup"): "now stands for another",
    ("image came", "edits"): "no longer excluded",
    ("image came", "drop"): "no longer below the score",
    ("image left", "fetch"): "no longer in its set",
    ("image left", "dedup"): "another stands for it",
    ("image left", "edits"): "excluded by an edit",
    ("image left", "drop"): "below the score",
}


def summary(found: Diff) -> str:
    """Return in a sentence or two how much would change."""
    if found.stored is None:
        return f"There are no captions yet: {images(found.images)} would get one."
    if not (found.changed or found.coming):
        return f"Nothing would change: {images(found.images)} would keep their captions."
    told = f"Of {found.stored:,} captions {found.changed:,} would change."
    return " ".join([told, *_coming(found)])


def _coming(found: Diff) -> Iterator[str]:
    for change, verb in ((CAME, "come"), ("image left", "leave")):
        reasons = Counter({by: n for (what, by), n in found.coming.items() if what == change})
        if reasons:
            total = sum(reasons.values())
            why = ", ".join(f"{n:,} {WHAT[change, by]}" for by, n in reasons.items())
            yield f"{images(total).capitalize()} would {verb}: {why}."


def recipe_lines(changes: Sequence[tuple[Change, Any]]) -> list[str]:
    """Return the changes of prep.toml, a line for each, with what was there before."""
    lines = []
    for one, was in changes:
        key = ".".join(map(inline_key, one.key))
        if one.how != "set":
            lines.append(one.line)
        elif one.value is None:
            lines.append(f"{key} is gone (was {inline_value(was)})")
        else:
            lines.append(one.line + ("" if was is None else f" (was {inline_value(was)})"))
    return lines


def change_of(group: Group) -> str:
    """Return what a change says, without its sign."""
    tag, now = rendered(group.tag, escape=False), group.now
    said_by = f" ({group.said_by})" if group.said_by else ""
    match group.change:
        case "added" | "removed":
            return tag + said_by
        case "renamed":
            return f"{tag} is called {rendered(now, escape=False)}"
        case "moved":
            return f"{tag} moves"
        case "spelt":
            return f"{tag} is written {now}"
    return f"{tag} is {now} now"


def note_of(feature: Feature) -> str:
    """Return what is new about a feature, or that it is none."""
    if feature.taken:
        return "" if feature.before else "new"
    return "no longer" if feature.before else "stays in captions"


def by_rule(found: Diff) -> Iterator[tuple[str, list[Group]]]:
    """Yield each rule with the kinds of change that it makes, the most frequent first."""
    for rule, groups in groupby(found.groups, key=lambda group: group.rule):
        yield rule, list(groups)


def images(count: int) -> str:
    """Return "1 image" or "1,200 images"."""
    return f"{count:,} image{'' if count == 1 else 's'}"
