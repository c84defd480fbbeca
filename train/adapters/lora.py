"""LoRA: low-rank changes beside frozen weights (Hu et al. 2021, arXiv:2106.09685).

        x [.., in] ----------------- W0 [out, in], frozen ---------------(+)---- y [.., out]
             |                                                            |
             '-- down [rank, in] --- up [out, rank] --- * alpha / rank ---'

    delta = up @ down * alpha / rank        what is added to W0: the one definition of the kind

A Linear's factors are matrices. Those of a convolution carry its kernel: `down` [rank, in, k, k]
strides and pads as the base does, `up` [out, rank, 1, 1] mixes what comes out. With 3x3 kernels the
kind is LoCon (C3Lier). `up` starts at zero, so that training starts from the model as it is.
"""

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from train.adapters.layer import Base, Layer, for_computing, key_of, through


def delta(down: torch.Tensor, up: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return the change of the weight, in the weight's own shape ([out, in] or [out, in, k, k]).

    down: [rank, in, ...], up: [out, rank, ...]. Computed in fp32. Additive: W0 does not matter.
    """
    rank = down.shape[0]
    product = (up.float().flatten(1) * (alpha / rank)) @ down.float().flatten(1)
    return product.reshape(up.shape[0], *down.shape[1:])


class LoRA(Layer):
    """The factors beside one Linear or convolution."""

    def __init__(self, base: Base, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        out_features, *shape = base.weight.shape
        self.alpha, self.dropout = alpha, dropout
        self.down = nn.Parameter(torch.zeros(rank, *shape))
        self.up = nn.Parameter(torch.zeros(out_features, rank, *(1 for _ in shape[1:])))

    def start(self, base: Base, seed: int, name: str) -> None:
        """Draw `down` (Kaiming uniform, a = sqrt 5), keyed by seed and name; `up` is zero."""
        generator = torch.Generator().manual_seed(key_of(seed, name))
        nn.init.kaiming_uniform_(self.down.data, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.up.data)

    def delta(self, base: torch.Tensor) -> torch.Tensor:
        """Return the change of the base's weight, which does not depend on it."""
        return delta(self.down, self.up, self.alpha)

    def change(self, base: Base, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Return what `delta` adds to the base's output, by way of the narrow middle."""
        x = functional.dropout(for_computing(x), self.dropout, self.training)
        narrow = through(base, self.down, x)
        operation = functional.conv2d if self.up.dim() == 4 else functional.linear
        return operation(narrow, self.up) * (self.alpha / self.down.shape[0])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return both factors and alpha, as adapter files have them."""
        return {
            "lora_down.weight": self.down.detach(),
            "lora_up.weight": self.up.detach(),
            "alpha": torch.tensor(float(self.alpha)),
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over both factors and alpha."""
        self.down.data.copy_(tensors["lora_down.weight"])
        self.up.data.copy_(tensors["lora_up.weight"])
        self.alpha = float(tensors["alpha"])
