"""The datasets of arms whose prep.toml differs: who makes them is handed in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from schemas.recipes.prep import PrepRecipe


class Datasets(Protocol):
    """What is made of a dataset when keys of its prep.toml change; without changes, itself."""

    def recipe_of(self, changes: Mapping[str, Any]) -> PrepRecipe:
        """Return prep.toml with the changes over it. Raises RecipeError."""

    def folder_of(self, changes: Mapping[str, Any]) -> Path:
        """Return where that dataset lies, made or not."""

    def made(self, changes: Mapping[str, Any]) -> Path:
        """Make that dataset, or bring it up to date; return its folder. Raises a KirokuError."""
