"""Single keys of a recipe file changed: every other word, comment and line end stays."""

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from schemas.errors import RecipeError
from schemas.files import write_bytes
from schemas.recipes.edit import MARK
from schemas.recipes.load import read_prep
from schemas.recipes.spans import Spans, spans
from schemas.recipes.write import inline_key, inline_value

Key = tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What is to be done to one key: another value, or one value more or less in its list."""

    key: Key
    value: Any
    how: Literal["set", "add", "remove"] = "set"

    @property
    def line(self) -> str:
        """The change as a person reads it."""
        key = ".".join(map(inline_key, self.key))
        sign = {"set": "=", "add": "+=", "remove": "-="}[self.how]
        return f"{key} {sign} {inline_value(self.value)}"


def change(path: Path, changes: Sequence[Change]) -> None:
    """Make the changes in the recipe file, all or none.

    The result is read back before it is written: it says what the file said, but for the changes,
    and is a recipe. A list that the file does not have begins as its default. Raises RecipeError.
    """
    data = path.read_bytes()
    text = data.removeprefix(MARK).decode()
    for one in changes:
        text = _changed(path, text, one)
    read_prep(path, text)
    write_bytes(path, (MARK if data.startswith(MARK) else b"") + text.encode())


def _changed(path: Path, text: str, one: Change) -> str:
    wanted = tomllib.loads(text)
    recipe = read_prep(path, text).model_dump(mode="json", by_alias=True)
    if not _apply(wanted, recipe, one):
        return text
    for candidate in _candidates(text, one, wanted):
        try:
            if tomllib.loads(candidate) == wanted:
                return candidate
        except tomllib.TOMLDecodeError:
            continue
    raise RecipeError(
        f"{path}: this cannot be added to what is written there; write it: {one.line}"
    )


def _apply(values: dict[str, Any], recipe: dict[str, Any], one: Change) -> bool:
    """Change the values as read; False where nothing changes. `recipe`: with all defaults."""
    table, usual, last = values, recipe, one.key[-1]
    for key in one.key[:-1]:
        table, usual = table.setdefault(key, {}), usual.get(key, {})
    old = table.get(last, usual.get(last))
    if one.how == "set":
        table[last] = one.value
        return bool(old != one.value)
    held = list(old or ())
    if (one.value in held) == (one.how == "add"):
        return False
    table[last] = [*held, one.value] if one.how == "add" else [v for v in held if v != one.value]
    return True


def _candidates(text: str, one: Change, wanted: dict[str, Any]) -> Iterator[str]:
    """The text with the change made, in every way that it may be written; the best first."""
    found = spans(text)
    value = wanted
    for key in one.key:
        value = value[key]
    if one.key in found.values:
        if one.how != "set":
            yield from _in_list(text, found, one)
        start, end = found.values[one.key]
        yield text[:start] + inline_value(value) + text[end:]
        return
    for depth in range(len(one.key) - 1, -1, -1):
        above, rest = one.key[:depth], one.key[depth:]
        line = f"{'.'.join(map(inline_key, rest))} = {inline_value(value)}"
        if above in found.values:
            start, end = found.values[above]
            if text[start] == "{":
                inside = text[start + 1 : end - 1].strip()
                joined = f"{inside}, {line}" if inside else line
                yield f"{text[:start]}{{ {joined} }}{text[end:]}"
        if above in found.tables:
            if len(rest) == 1:
                yield _inserted(text, found.tables[above], [line])
            header = f"[{'.'.join(map(inline_key, one.key[:-1]))}]"
            last = f"{inline_key(one.key[-1])} = {inline_value(value)}"
            after = max(at for table, at in found.tables.items() if table[:depth] == above)
            yield _inserted(text, after, ["", header, last])
            yield _inserted(text, found.tables[above], [line])


def _in_list(text: str, found: Spans, one: Change) -> Iterator[str]:
    """One value put behind a list's last, or taken out with the comma behind or before it."""
    items = sorted(
        span for path, span in found.values.items()
        if path[:-1] == one.key and isinstance(path[-1], int)
    )  # fmt: skip
    start, end = found.values[one.key]
    if one.how == "add":
        at = items[-1][1] if items else start + 1
        yield text[:at] + ", " * bool(items) + inline_value(one.value) + text[at:]
        return
    for place, (first, behind) in enumerate(items):
        if tomllib.loads(f"v = {text[first:behind]}")["v"] == one.value:
            if place + 1 < len(items):
                yield text[:first] + text[items[place + 1][0] :]
            elif place:
                yield text[: items[place - 1][1]] + text[behind:]
            else:
                yield text[: start + 1] + text[behind:end].lstrip(", \t") + text[end:]


def _inserted(text: str, at: int, lines: Iterable[str]) -> str:
    line_end = "\r\n" if "\r\n" in text else "\n"
    head = text[:at]
    if head and not head.endswith("\n"):
        head += line_end
    return head + "".join(line + line_end for line in lines) + text[at:]
