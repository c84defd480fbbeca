"""What captions were made by when they were last made: the recipe's words, and the edits.

Kept beside the captions by `prep caption`, so that a change can be told from what it was before.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.files import write_json
from schemas.recipes.change import Change
from schemas.recipes.prep import CaptionsSection, PrepRecipe, TagSection

IN_NO_ORDER = ("drop", "collapse")  # sections whose lists are told by what has come and gone
NOT_SHAPING = frozenset({"device"})  # keys of [tag] that change no probability


@dataclass(frozen=True)
class MadeBy:
    """The sections that shaped captions, and the ids of the edits that counted."""

    tag: TagSection
    caption: CaptionsSection
    merge_tags: bool
    edits: frozenset[int]

    @classmethod
    def of(cls, recipe: PrepRecipe, edits: Sequence[int]) -> "MadeBy":
        """Return what captions are made by now."""
        return cls(recipe.tag, recipe.caption, recipe.dedup.merge_tags, frozenset(edits))

    def write(self, root: Path) -> None:
        """Keep it, for `read`."""
        sections = {"tag": _plain(self.tag), "caption": _plain(self.caption)}
        write_json(
            _path(root), {**sections, "merge_tags": self.merge_tags, "edits": sorted(self.edits)}
        )

    @classmethod
    def read(cls, root: Path) -> "MadeBy | None":
        """Return what the captions that stand were made by; None where that is not known."""
        try:
            held = json.loads(_path(root).read_text(encoding="utf-8"))
            return cls(
                TagSection.model_validate(held["tag"]),
                CaptionsSection.model_validate(held["caption"]),
                bool(held["merge_tags"]),
                frozenset(held["edits"]),
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # of another version, or none


def differences(before: MadeBy, now: MadeBy) -> list[tuple[Change, Any]]:
    """Return each key of the recipe that has changed, and what it was; list by list what came."""
    pairs = {
        "tag": (_plain(before.tag), _plain(now.tag)),
        "caption": (_plain(before.caption), _plain(now.caption)),
        "dedup": ({"merge_tags": before.merge_tags}, {"merge_tags": now.merge_tags}),
    }
    return [one for name, pair in pairs.items() for one in _changed((name,), *pair)]


def _changed(key: tuple[str, ...], old: Any, new: Any) -> list[tuple[Change, Any]]:
    if old == new:
        return []
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = dict.fromkeys([*old, *new])
        return [one for n in names for one in _changed((*key, n), old.get(n), new.get(n))]
    lists = isinstance(old, list) and isinstance(new, list)
    if lists and set(old) != set(new) and key[1] in IN_NO_ORDER:
        came = [(Change(key, one, "add"), None) for one in new if one not in old]
        return came + [(Change(key, one, "remove"), None) for one in old if one not in new]
    return [(Change(key, new), old)]


def _plain(section: TagSection | CaptionsSection) -> dict[str, Any]:
    return section.model_dump(mode="json", by_alias=True, exclude=set(NOT_SHAPING))


def _path(root: Path) -> Path:
    return root / "tables" / "captions.made_by.json"
