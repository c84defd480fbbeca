"""How far an adapter is cut: to a rank, by singular values, or to a size.

8                   this rank
sv_ratio=10         values down to a tenth of the largest
sv_cumulative=0.9   as many as sum up to this share of all
sv_fro=0.95         as many as make this share of the change's Frobenius norm
512KB, 12MB         what brings the most within this size
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from schemas.errors import UsageError
from train.merging.low_rank import Measured

Measure = Literal["rank", "sv_ratio", "sv_cumulative", "sv_fro", "size"]
UNITS = {"KB": 1_000, "MB": 1_000_000}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(KB|MB)", re.IGNORECASE)
_SHARE = re.compile(r"(sv_ratio|sv_cumulative|sv_fro)=(\d*\.?\d+)")


@dataclass(frozen=True)
class Target:
    """What to cut to. text: as it was typed; value: in bytes for a size."""

    text: str
    measure: Measure
    value: float


def parse_target(text: str) -> Target:
    """Return what "8", "sv_fro=0.95" or "12MB" means. Raises UsageError."""
    if text.isdecimal() and int(text) > 0:
        return Target(text, "rank", int(text))
    if found := _SIZE.fullmatch(text):
        return Target(text, "size", float(found[1]) * UNITS[found[2].upper()])
    if found := _SHARE.fullmatch(text):
        value = float(found[2])
        measure: Measure = found[1]  # type: ignore[assignment]
        if measure == "sv_ratio" and value < 1:
            raise UsageError(f"{text}: the largest value over the least that is kept, 1 or more")
        if measure != "sv_ratio" and not 0 < value <= 1:
            raise UsageError(f"{text}: a share is above 0 and at most 1")
        return Target(text, measure, value)
    raise UsageError(
        f'"{text}" is nothing to resize to: give a rank (8), sv_ratio=10, sv_cumulative=0.9,'
        " sv_fro=0.95 or a size (512KB, 12MB)"
    )


def rank_by_values(target: Target, values: torch.Tensor) -> int:
    """Return the rank that a target other than a size gives a module, 1 at least.

    values: singular values in falling order.
    """
    if target.measure == "rank":
        return min(int(target.value), len(values))
    if not float(values[0]):
        return 1
    if target.measure == "sv_ratio":
        return max(1, int((values >= values[0] / target.value).sum()))
    parts = values if target.measure == "sv_cumulative" else values.square()
    share = target.value if target.measure == "sv_cumulative" else target.value**2
    reached = parts.cumsum(0) / parts.sum()
    return min(len(values), 1 + int((reached < share * (1 - 1e-12)).sum()))


def ranks_by_size(target: Target, modules: Mapping[str, Measured], itemsize: int) -> dict[str, int]:
    """Return the rank of each module so that their factors take `target.value` bytes at most.

    One for each, and then whichever value brings the most energy for its bytes. Raises UsageError
    where one for each is too much.
    """
    costs = {name: itemsize * of.numbers for name, of in modules.items()}
    left = target.value - sum(costs.values())
    if left < 0:
        raise UsageError(
            f"{target.text} is too little for {len(costs)} modules: with rank 1 each it takes"
            f" {-left / 1000:,.0f} KB more"
        )
    steps: list[tuple[float, str]] = []
    for name, of in modules.items():
        gains: Sequence[float] = (of.energy[1:] / costs[name]).tolist()
        steps += [(gain, name) for gain in gains]
    ranks = dict.fromkeys(modules, 1)
    for _, name in sorted(steps, key=lambda step: -step[0]):  # stable: a module's own stay in order
        if costs[name] <= left:
            ranks[name] += 1
            left -= costs[name]
    return ranks
