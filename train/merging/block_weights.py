"""Strengths by block: a vector as user interfaces write it, names of blocks, or a preset.

A vector holds a value for the text encoders (BASE there, TE here) and then one for each block that
a LoRA of the architecture has (17 for SD1.5, 12 for SDXL), or for every block (26 and 20).
"""

import math
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from schemas.errors import UsageError
from train.blocks import TEXT, Architecture
from train.kinds import SPOKEN


def vectors(architecture: Architecture) -> dict[int, tuple[str, ...]]:
    """Return the blocks that the values of a vector stand for, by its length."""
    of_lora = (TEXT, *architecture.attention)
    return {len(of_lora): of_lora, len(architecture.blocks): architecture.blocks}


def block_weights(text: str, architecture: Architecture) -> dict[str, float]:
    """Return a factor for every block; what a vector or list does not name gets 0.

    text: "1,0,0,0.5,..." (a vector), "OUT03-06,IN04-07=0.5" (names of blocks, 1 where no factor is
    given), "NCNF" (a preset of presets.toml), or "" for 1 everywhere. Raises UsageError.
    """
    found = dict.fromkeys(architecture.blocks, 0.0)
    if not text.strip():
        return dict.fromkeys(architecture.blocks, 1.0)
    if preset := presets(architecture).get(text.strip().upper()):
        return block_weights(preset, architecture)
    parts = [part.strip() for part in text.split(",")]
    if all(_is_number(part) for part in parts):
        return found | _vector(parts, architecture)
    for part in parts:
        names, _, factor = part.partition("=")
        if factor and not _is_number(factor):
            raise UsageError(f'block weights "{text}": {factor} is no number')
        try:
            blocks = named_blocks(names, architecture, f'block weights "{text}"')
        except UsageError as error:
            known = ", ".join(presets(architecture))
            raise UsageError(f"{error}; presets are {known}" if known else str(error)) from None
        found |= dict.fromkeys(blocks, float(factor or 1))
    return found


def named_blocks(names: str, architecture: Architecture, where: str) -> list[str]:
    """Return the blocks that "OUT03-06" or "all" names, in order. Raises UsageError.

    where: what they stand in, for messages.
    """
    found = architecture.parse(names, conv=True, where=where)
    return [block for block in architecture.blocks if block in found]


@cache
def presets(architecture: Architecture) -> Mapping[str, str]:
    """Return the presets of an architecture: names of blocks by the preset's name."""
    data = (files(__package__) / "presets.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(data).get(architecture.kind, {}))


def _vector(parts: list[str], architecture: Architecture) -> dict[str, float]:
    known = vectors(architecture)
    if len(parts) not in known:
        raise UsageError(
            f"block weights of {len(parts)} values: {SPOKEN[architecture.kind]} has vectors of"
            f" {' or '.join(map(str, known))}, the text encoders' first"
        )
    return dict(zip(known[len(parts)], map(float, parts), strict=True))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
