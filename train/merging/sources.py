"""A file to be merged, as it is typed: FILE, FILE:strength or FILE:strength:blocks."""

import math
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ModelError, UsageError


@dataclass(frozen=True)
class Source:
    """An adapter or a checkpoint, with what it counts. blocks: see block_weights."""

    path: Path
    strength: float = 1.0
    blocks: str = ""


def parse_source(text: str) -> Source:
    """Return what "azusa.safetensors:0.8:OUT03-06" names.

    The path may hold colons: it ends where a file or folder is there. Raises ModelError when there
    is none, UsageError for a strength that is no number.
    """
    for colons in (0, 1, 2):
        path, *rest = text.rsplit(":", colons)
        if path and len(rest) == colons and Path(path).expanduser().exists():
            strength, blocks, *_ = [*rest, "", ""]
            place = Path(path).expanduser()
            named = place if place.name else place.resolve()  # "." has no name to show
            return Source(named, _strength(strength, text), blocks)
    raise ModelError(
        f"{text} is missing: give a file or folder, and behind it :strength and :blocks, such as"
        " azusa.safetensors:0.8:OUT03-06"
    )


def _strength(text: str, whole: str) -> float:
    try:
        found = float(text or 1)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise UsageError(
            f'{whole}: "{text}" is no strength: give a number behind the first colon, and blocks'
            " behind the second"
        )
    return found
