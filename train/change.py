"""How much a step moves the weights of each block: |w' - w| / |w'| over the adapter's factors.

Measured on some steps alone, and read from the device once: between them it costs nothing.
"""

from collections.abc import Mapping, Sequence

import torch
from torch.nn.utils import get_total_norm

from train.adapters.adapter import Adapter
from train.blocks import block_of_name

EVERY = 10  # steps
LEAST = 1e-12


def is_measured(step: int) -> bool:
    """Whether optimizer step `step`, counted from 0, is measured."""
    return (step + 1) % EVERY == 0


def weights_of(adapter: Adapter) -> list[torch.Tensor]:
    """Return a copy of all that is trained, on its device."""
    return [weight.detach().clone() for weight in adapter.parameters()]


@torch.no_grad()
def change_by_block(adapter: Adapter, before: Sequence[torch.Tensor]) -> dict[str, float]:
    """Return how far the weights of each block have moved from `before`, as a part of their norm.

    By the names of train.blocks, in the order in which the model computes.
    """
    pieces: dict[str, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
    held = iter(before)
    for name, layer in adapter.layers.items():
        block = block_of_name(name)
        assert block is not None, name
        moved, now = pieces.setdefault(block, ([], []))
        for weight in layer.parameters():
            moved.append(weight - next(held))
            now.append(weight)
    blocks = sorted(pieces, key=adapter.architecture.blocks.index)
    rates = [
        get_total_norm(pieces[block][0]) / get_total_norm(pieces[block][1]).clamp_min(LEAST)
        for block in blocks
    ]
    return dict(zip(blocks, torch.stack(rates).tolist(), strict=True))


def shown(change: Mapping[str, float]) -> str:
    """Return the changes in short: the block that moves most, and the one that moves least."""
    ends = dict.fromkeys((max(change, key=change.__getitem__), min(change, key=change.__getitem__)))
    return "change " + ", ".join(f"{block} {change[block]:.1e}" for block in ends)
