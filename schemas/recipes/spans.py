"""Where the values and tables of a TOML file stand in its text, so that one can be changed alone.

tomllib says what a file means but not where. This reads the same grammar for places only; text that
tomllib has read before is assumed, so that nothing here has to be refused.
"""

import re
import tomllib
from dataclasses import dataclass, field

Path = tuple[str | int, ...]  # keys, and places in lists

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}", re.DOTALL)
_PLAIN = re.compile(r"[^\s,\]}#]+(?: \d\d:[^\s,\]}#]+)?")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")  # with comments
_SPACE = re.compile(r"[ \t]*")
_LINE = re.compile(r"[^\n]*\n?")


@dataclass
class Spans:
    """Offsets into the text."""

    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    tables: dict[Path, int] = field(default_factory=dict)  # behind a table's last line


def spans(text: str) -> Spans:
    """Return where each value stands, those in lists and inline tables as well."""
    reader = _Reader(text)
    reader.document()
    return reader.found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.found = Spans()

    def document(self) -> None:
        table: Path = ()
        self.found.tables[table] = 0
        lists: dict[Path, int] = {}
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text.startswith("[[", self.at):
                self.at += 2
                table = self._key()
                lists[table] = number = lists.get(table, -1) + 1
                table = (*table, number)
            elif self.text[self.at] == "[":
                self.at += 1
                table = self._key()
            else:
                self._pair(table)
            self._skip(_LINE)
            self.found.tables[table] = self.at
            self._skip(_BLANK)

    def _pair(self, table: Path) -> None:
        path = (*table, *self._key())
        self.at = self.text.index("=", self.at) + 1
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> Path:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            part = next(p for p in map(self._match, (_BASIC, _LITERAL, _BARE)) if p is not None)
            parts.append(tomllib.loads(f"key = {part}")["key"] if part[0] in "\"'" else part)
            self._skip(_SPACE)
            if self.text[self.at : self.at + 1] != ".":
                return tuple(parts)
            self.at += 1

    def _value(self, path: Path) -> None:
        start = self.at
        match self.text[self.at]:
            case "[":
                self._inside("]", path)
            case "{":
                self._inside("}", path)
            case _:
                for kind in (_LONG, _BASIC, _LITERAL, _PLAIN):
                    if self._match(kind) is not None:
                        break
        self.found.values[path] = start, self.at

    def _inside(self, end: str, path: Path) -> None:
        """A list's values, or an inline table's pairs."""
        self.at += 1
        place = 0
        while True:
            self._skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
            elif self.text[self.at] == end:
                self.at += 1
                return
            elif end == "]":
                self._value((*path, place))
                place += 1
            else:
                self._pair(path)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found[0]
