"""DoRA: direction and length of each output's weights, learnt apart (arXiv:2402.09353).

    V = W0 + up @ down * alpha / rank
    delta = magnitude * V / |V| - W0        |V|: the length of each output's weights, [out, 1, ...]

`magnitude` starts as |W0|, so that training starts from the model as it is. As the paper proposes
in section 4.3 (and peft does), no gradient flows through |V|: it is measured anew at every pass,
and held for constant in the backward pass.
"""

from collections.abc import Mapping

import torch
from torch import nn

from train.adapters import lora
from train.adapters.layer import Base
from train.frozen import weight_on

LEAST = 1e-12  # a weight of nothing but zeros has a direction to divide by, too


def lengths(weight: torch.Tensor, along: int = 0) -> torch.Tensor:
    """Return the Euclidean length of each output's weights, [out, 1] or [out, 1, 1, 1].

    along: 1 for those of each input, [1, in] or [1, in, 1, 1].
    """
    others = [dimension for dimension in range(weight.dim()) if dimension != along]
    found: torch.Tensor = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
    return found


def scaled(base: torch.Tensor, change: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """Return the change of the weight `base` where `change` turns it and `magnitude` scales it.

    magnitude: [out, 1, ...] or, as some trainers have it, one length per input, [1, in, ...].
    """
    turned = base.float() + change
    along = 1 if magnitude.shape[0] == 1 and turned.shape[0] > 1 else 0
    norm = lengths(turned, along).detach().clamp_min(LEAST)
    return turned * (magnitude / norm) - base.float()


def delta(
    base: torch.Tensor, down: torch.Tensor, up: torch.Tensor, alpha: float, magnitude: torch.Tensor
) -> torch.Tensor:
    """Return the change of the weight `base`, in its shape, fp32.

    down: [rank, in, ...], up: [out, rank, ...], magnitude: [out, 1, ...].
    """
    return scaled(base, lora.delta(down, up, alpha), magnitude)


class DoRA(lora.LoRA):
    """LoRA's factors and a length per output."""

    def __init__(self, base: Base, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__(base, rank, alpha, dropout)
        ones = (1 for _ in base.weight.shape[1:])
        self.magnitude = nn.Parameter(torch.zeros(base.weight.shape[0], *ones))

    def start(self, base: Base, seed: int, name: str) -> None:
        """Draw the factors as LoRA does; the lengths are those of the base's weights."""
        super().start(base, seed, name)
        self.magnitude.data.copy_(lengths(weight_on(base.weight.device, base)))

    def delta(self, base: torch.Tensor) -> torch.Tensor:
        """Return the change of the base's weight."""
        return delta(base, self.down, self.up, self.alpha, self.magnitude)

    def change(self, base: Base, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Return what `delta` adds to the base's output, without making the whole weight's product.

        With V's output known to be the base's and the factors': (f - 1) W0 x + f (V - W0) x, where
        f = magnitude / |V|. Dropout meets the factors' path alone.
        """
        with torch.no_grad():
            turned = weight_on(output.device, base) + lora.delta(self.down, self.up, self.alpha)
            norm = lengths(turned).clamp_min(LEAST)
        shape = (-1, 1, 1) if isinstance(base, nn.Conv2d) else (-1,)
        factor = (self.magnitude / norm).reshape(shape)
        bias = 0 if base.bias is None else base.bias.reshape(shape)
        return (factor - 1) * (output - bias) + factor * super().change(base, x, output)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the factors, alpha and `dora_scale`, as adapter files have them."""
        return {**super().tensors(), "dora_scale": self.magnitude.detach()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over the factors, alpha and the lengths."""
        super().load(tensors)
        self.magnitude.data.copy_(tensors["dora_scale"])
