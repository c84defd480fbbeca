"""Weights as they are used, beside weights as they are trained: averages over the last steps."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


class Average:
    """An exponential moving average of weights, in fp32; a decay of 0 is none.

    The decay climbs from 0.1 to `decay`, as min(decay, (1 + step) / (10 + step)), so that the first
    weights, which know nothing, do not linger (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, weights: Sequence[nn.Parameter], decay: float) -> None:
        self._weights, self._decay = list(weights), decay
        self._mean = [weight.detach().clone() for weight in weights] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step `step`, counted from 0."""
        if self._mean:
            decay = min(self._decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self._mean, [w.detach() for w in self._weights], 1 - decay)

    def tensors(self) -> list[torch.Tensor]:
        """Return the averages for a saved state; empty where none are kept."""
        return [mean.cpu().clone() for mean in self._mean]

    def load(self, tensors: Sequence[torch.Tensor]) -> None:
        """Go on from a saved state."""
        for mean, saved in zip(self._mean, tensors, strict=True):
            mean.copy_(saved)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the weights are their averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, mean in zip(self._weights if self._mean else [], self._mean, strict=True):
            held = weight.detach().clone()
            weight.copy_(mean)
            mean.copy_(held)


@contextmanager
def for_use(optimizer: torch.optim.Optimizer, average: Average) -> Iterator[None]:
    """Within the block the weights are those to sample with, to validate and to save.

    Schedule-free optimizers train at one point and are used at another; theirs is moved first, and
    put back to the bit, which their own way back is not.
    """
    groups = optimizer.param_groups
    moved = [w for group in groups if group.get("train_mode") for w in group["params"]]
    held = [weight.detach().clone() for weight in moved]
    if moved:
        optimizer.eval()  # type: ignore[attr-defined]
    try:
        with average.in_place():
            yield
    finally:
        if moved:
            optimizer.train()  # type: ignore[attr-defined]
            for weight, before in zip(moved, held, strict=True):
                weight.data.copy_(before)
