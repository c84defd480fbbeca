"""The shipped recipes: the settings that `prep init --like` begins with, one TOML file each."""

import tomllib
from importlib.resources import files
from typing import Any, Literal

Shipped = Literal["character-sd15", "character-sdxl", "style", "background", "situation", "object"]


def shipped(name: Shipped) -> dict[str, Any]:
    """Return the keys of a shipped recipe, as train.toml has them."""
    file = files(__name__) / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
