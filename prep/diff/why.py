"""Which line of prep.toml stands behind a change."""

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from prep.diff.changes import SAID_BY, Kind
from schemas.recipes.change import Change, Key
from schemas.recipes.prep import CaptionsSection
from schemas.recipes.write import inline_key
from schemas.tags import SENTENCE, canonical

OF_TAGGERS = ("taggers", "combine", "weight", "top", "calibrated")  # keys of [tag]


@dataclass(frozen=True)
class Why:
    """The recipe as it was and as it is, and what was changed in it."""

    before: CaptionsSection
    now: CaptionsSection
    changed: Mapping[Key, str]  # lines that a person has changed, by their key

    @classmethod
    def of(cls, before: CaptionsSection, now: CaptionsSection, changes: Iterable[Change]) -> "Why":
        """Return the same from the changes of the recipe."""
        lines: dict[Key, str] = {}
        for one in changes:
            lines.setdefault(
                one.key, one.line if one.value is not None else f"{_line(*one.key)} -="
            )
        return cls(before, now, lines)

    def line(self, rule: str, change: int, tag: str, category: str, said_by: int) -> str:
        """Return the key, or the line, that says so; "" where none does."""
        match rule:
            case "source":
                return self._of_sources(tag, category, SAID_BY[said_by])
            case "drop":
                recipe = self.now if change == Kind.REMOVED else self.before
                return self._of_drop(recipe, tag, category)
            case "collapse":
                return self._changed_under("caption", "collapse") or _line(
                    "caption", "collapse", "tags"
                )
            case "rename":
                return self._of_rename(tag)
            case "quality":
                return _line("caption", "quality", tag.replace("_", " "))
            case "trigger":
                return _line("caption", "trigger")
            case "order":
                return _line("caption", "render", "order")
            case "render" if change == Kind.PART:
                return "caption.render.keep, caption.render.tail"
            case "render" if change == Kind.SPELT:
                return "caption.render.escape"
            case "render" if category == SENTENCE:
                return "caption.render.sentence"
            case "render" if tag in self._fixed:
                return "caption.render.prefix, caption.render.suffix"
            case "render":
                return "caption.render.max_tokens"
            case "aliases" | "implied":
                return f"the site's {'aliases' if rule == 'aliases' else 'implications'}"
            case "edits":
                return ""
        return _line("caption", rule)

    @cached_property
    def _fixed(self) -> frozenset[str]:
        """The words at both ends of captions, then and now."""
        options = (self.before.render, self.now.render)
        return frozenset(canonical(text) for one in options for text in (*one.prefix, *one.suffix))

    def _changed_under(self, *key: str) -> str:
        lines = (line for one, line in self.changed.items() if one[: len(key)] == key)
        return ", ".join(lines)

    def _of_sources(self, tag: str, category: str, said_by: str) -> str:
        """What was changed of the keys that choose among what booru and taggers say."""
        keys: list[Key] = [("caption", "source"), ("caption", "few")]
        if said_by != "booru":
            keys += [("tag", name) for name in OF_TAGGERS]
            own = [key for key in self.changed if key[:2] == ("tag", "threshold")]
            mine = [key for key in own if canonical(key[-1]) == tag]
            keys += mine or [("tag", category)]
        if said_by != "tagger":
            keys.append(("dedup", "merge_tags"))
        return ", ".join(self.changed[key] for key in keys if key in self.changed)

    def _of_drop(self, recipe: CaptionsSection, tag: str, category: str) -> str:
        renames = {**self.before.rename, **self.now.rename}
        names = [tag, *(canonical(old) for old, new in renames.items() if canonical(new) == tag)]
        if any(name in map(canonical, recipe.drop.tags) for name in names):
            return _line("caption", "drop", "tags")
        for pattern in recipe.drop.patterns:
            if any(fnmatch.fnmatchcase(name, canonical(pattern)) for name in names):
                return f'{_line("caption", "drop", "patterns")} "{pattern}"'
        return f'{_line("caption", "drop", "categories")} "{category}"'

    def _of_rename(self, tag: str) -> str:
        for old, new in {**self.before.rename, **self.now.rename}.items():
            if tag in (canonical(old), canonical(new)):
                return _line("caption", "rename", old)
        return _line("caption", "rename")


def _line(*key: str) -> str:
    return ".".join(map(inline_key, key))
