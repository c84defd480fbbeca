"""A set added to prep.toml as its owner wrote it: every line, comment and line end stays."""

import re
import tomllib
from pathlib import Path
from typing import Any

from schemas.errors import RecipeError
from schemas.files import write_bytes
from schemas.recipes.prep import SetSection
from schemas.recipes.write import inline, inline_value

HEADER = re.compile(r"\s*\[")
SETS = re.compile(r"\s*\[\s*sets\s*\]\s*(?:#.*)?")
MARK = b"\xef\xbb\xbf"


def add_sets(path: Path, sets: dict[str, SetSection]) -> None:
    """Write the sets into the recipe file. Raises RecipeError where it takes no further set.

    The result is read back before it is written: it says what the file said, and the sets.
    """
    data = path.read_bytes()
    text = data.removeprefix(MARK).decode()
    for name, section in sets.items():
        text = _with_set(path, text, name, section)
    write_bytes(path, (MARK if data.startswith(MARK) else b"") + text.encode())


def _with_set(path: Path, text: str, name: str, section: SetSection) -> str:
    wanted = tomllib.loads(text)
    values = section.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    wanted.setdefault("sets", {})[name] = values
    for candidate in (_in_table(text, name, section), _as_table(text, name, section)):
        if candidate is not None and _reads(candidate) == wanted:
            return candidate
    raise RecipeError(
        f"{path}: the set cannot be added to what is written there; add this line to its sets:"
        f" {name} = {inline(section)}"
    )


def _in_table(text: str, name: str, section: SetSection) -> str | None:
    """The set as a line of the table [sets], after its last one."""
    lines = text.splitlines(keepends=True)
    start = next((n for n, line in enumerate(lines) if SETS.fullmatch(line.rstrip("\r\n"))), None)
    if start is None:
        return None
    later = (n for n, line in enumerate(lines) if n > start and HEADER.match(line))
    # what a list over several lines holds looks like a header: reading back tells
    end = next(later, len(lines))
    while end > start + 1 and lines[end - 1].strip()[:1] in ("", "#"):
        end -= 1
    return _joined(lines[:end], [f"{name} = {inline(section)}"], lines[end:], _line_end(text))


def _as_table(text: str, name: str, section: SetSection) -> str:
    """The set as a table of its own, at the end of the file."""
    values = section.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    added = ["", f"[sets.{name}]"]
    added += [f"{key} = {inline_value(value)}" for key, value in values.items()]
    return _joined(text.splitlines(keepends=True), added, [], _line_end(text))


def _joined(before: list[str], added: list[str], after: list[str], line_end: str) -> str:
    head = "".join(before)
    if head and not head.endswith(("\n", "\r")):
        head += line_end
    return head + "".join(line + line_end for line in added) + "".join(after)


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _reads(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
