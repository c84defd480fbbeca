"""Full fine-tuning as an adapter: the whole change of each weight, of any rank.

    delta = diff [out, in] or [out, in, k, k]        learnt entry by entry

The base stays frozen and the change starts at zero, so that everything that holds for an adapter
holds for it: strength, merging, a run that goes on. It takes as much memory as the weights in fp32,
with their gradients and the optimizer's state; weight decay pulls towards the base, not towards
zero. Files are those that LyCORIS calls full (`diff`).
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from train.adapters.layer import Base, Layer, for_computing, through


class Full(Layer):
    """The change beside one Linear or convolution."""

    def __init__(self, base: Base, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.diff = nn.Parameter(torch.zeros(base.weight.shape))

    def start(self, base: Base, seed: int, name: str) -> None:
        """Set the change to zero; there is nothing to draw."""
        nn.init.zeros_(self.diff.data)

    def delta(self, base: torch.Tensor) -> torch.Tensor:
        """Return the change of the base's weight, which does not depend on it."""
        return self.diff

    def change(self, base: Base, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Return what `delta` adds to the base's output."""
        x = functional.dropout(for_computing(x), self.dropout, self.training)
        return through(base, self.diff, x)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the change, as adapter files have it."""
        return {"diff": self.diff.detach()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over the change."""
        self.diff.data.copy_(tensors["diff"])
