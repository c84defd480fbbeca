"""The recipe as it grows: each key with the option it came from, what is open, what to say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.recipes.blank import BLANK
from train.convert.settings import Setting, literal


@dataclass
class Draft:
    """Settings are taken out one by one; what is left at the end was not understood."""

    left: dict[str, Setting]
    values: dict[str, Any] = field(default_factory=dict)  # dotted key -> value
    origins: dict[str, str] = field(default_factory=dict)  # dotted key -> as it was written
    notes: list[str] = field(default_factory=list)
    unneeded: list[tuple[str, str]] = field(default_factory=list)  # written, why
    instead: list[tuple[str, str]] = field(default_factory=list)  # written, what to do

    def take(self, name: str) -> Any:
        """Return the value of an option and count it as read; None where it was not set."""
        setting = self.left.pop(name, None)
        return None if setting is None else setting.value

    def flag(self, name: str) -> bool:
        """Whether an option is set; `name = false` in a file is not."""
        value = self.take(name)
        return value is not None and value is not False and str(value).lower() != "false"

    def number(self, name: str) -> float | None:
        """Return an option's number; one that cannot be read stays among what is left."""
        setting = self.left.get(name)
        if setting is None:
            return None
        value = literal(str(setting.value))
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        del self.left[name]
        return value

    def written(self, name: str) -> str:
        """How an option that is still there was written."""
        setting = self.left.get(name)
        return "" if setting is None else setting.written

    def put(self, key: str, value: Any, origin: str = "") -> None:
        """Set a key of the recipe."""
        self.values[key] = value
        if origin:
            self.origins[key] = origin

    def blank(self, key: str, what: str, origin: str = "") -> None:
        """Leave a key open: only a person knows it, and training refuses until it is filled in."""
        self.put(key, BLANK + what, origin)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as tables within tables, in the order given."""
    tables: dict[str, Any] = {}
    for key, value in values.items():
        table = tables
        *above, last = key.split(".")
        for part in above:
            table = table.setdefault(part, {})
        table[last] = value
    return tables
