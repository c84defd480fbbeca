"""What every kind of adapter layer can do: the change beside one Linear or convolution."""

import hashlib
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

Base = nn.Linear | nn.Conv2d


class Layer(nn.Module):
    """The weights beside one module; they stay fp32 whatever the base computes in.

    Fp32, because Adam's second moment underflows in fp16, and in bf16 a weight above 0.05 no
    longer moves at usual rates. The base is handed in where it is needed: it belongs to its model.
    """

    alpha: float

    def start(self, base: Base, seed: int, name: str) -> None:
        """Draw the weights, keyed by seed and name, so that the base computes as before."""
        raise NotImplementedError

    def delta(self, base: torch.Tensor) -> torch.Tensor:
        """Return what is added to the weight `base`, fp32, in its shape."""
        raise NotImplementedError

    def change(self, base: Base, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Return what `delta` adds to the base's `output` for the input `x`."""
        raise NotImplementedError

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors of an adapter file by the ends of their names."""
        raise NotImplementedError

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over tensors of the same names and shapes."""
        raise NotImplementedError


def key_of(seed: int, name: str) -> int:
    """Return a seed of 63 bits for one module."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big") >> 1


def through(
    base: Base, weight: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return what the module would compute from x with another weight and bias."""
    if isinstance(base, nn.Conv2d):
        return functional.conv2d(x, weight, bias, base.stride, base.padding, base.dilation)
    return functional.linear(x, weight, bias)


def for_computing(x: torch.Tensor) -> torch.Tensor:
    """Return x in fp32, in which the weights are, unless autocast sees to it."""
    return x if torch.is_autocast_enabled(x.device.type) else x.float()
