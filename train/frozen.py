"""Frozen weights that take little room: kept as fp8, or in main memory, and cast layer by layer.

    W = bytes as float8 e4m3 * scale        scale [out, 1, ...]: a power of two for each output

A layer that is kept so makes its weight anew in each pass, the backward pass included: autograd
would hold every weight that was made until then, which is all that was to be saved. e4m3 reaches
from 2^-9 to 448 (arXiv:2209.05433); the scale puts an output's largest weight near its end, and
being a power of two it adds no rounding in any precision. Biases, norms, embeddings and the first
and last layers are small, and stay as they are.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.grad import conv2d_input

from train.adapters.layer import Base, through
from train.blocks import TEXT, unet_block

FP8 = torch.float8_e4m3fn
MOST = torch.finfo(FP8).max
LEAST_SCALE = 2.0**-24  # fp16 holds no smaller number


class _Kept:
    """How a layer computes whose weight is `kept`: fp8's bytes where it has a scale, else floats.

    The bytes are integers to torch, so that `module.to(dtype)` leaves them alone.
    """

    kept: torch.Tensor
    scale: torch.Tensor | None

    @property
    def weight(self) -> torch.Tensor:
        """The weight, where it is kept: fp32 from fp8, else as it is."""
        return self.cast(self.kept.device, torch.float32) if self.scale is not None else self.kept

    def cast(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Return the weight on a device, in a precision. From pinned memory nothing waits."""
        kept = self.kept.to(device, non_blocking=True)
        if self.scale is None:
            return kept.to(dtype)
        return kept.view(FP8).to(dtype).mul_(self.scale.to(device, dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = _Through.apply(x, self)  # type: ignore[no-untyped-call]
        return found


class _KeptLinear(_Kept, nn.Linear):  # type: ignore[override]  # its weight is only read
    pass


class _KeptConv2d(_Kept, nn.Conv2d):  # type: ignore[override]
    pass


class _Through(torch.autograd.Function):
    """What a frozen layer computes; between the passes nothing is held but the layer itself."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: Any) -> torch.Tensor:
        kind = x.device.type
        autocast = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if autocast else x.dtype
        ctx.layer, ctx.shape, ctx.dtype = layer, x.shape, x.dtype
        bias = None if layer.bias is None else layer.bias.to(dtype)
        return through(layer, layer.cast(x.device, dtype), x.to(dtype), bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        layer = ctx.layer
        weight = layer.cast(gradient.device, gradient.dtype)
        if isinstance(layer, nn.Conv2d):
            geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
            found = conv2d_input(ctx.shape, weight, gradient, *geometry)  # type: ignore[no-untyped-call]
        else:
            found = gradient @ weight
        return found.to(ctx.dtype), None


def weight_on(device: torch.device, layer: Base) -> torch.Tensor:
    """Return a layer's weight in fp32, on a device."""
    if isinstance(layer, _Kept):
        return layer.cast(device, torch.float32)
    return layer.weight.detach().to(device, torch.float32)


def big_layers(unet: Any, text_encoders: Sequence[Any]) -> Iterator[tuple[str, Base]]:
    """Return the layers that nearly all weights lie in, each with its block."""
    for path, module in unet.named_modules():
        block = unet_block(path)
        if isinstance(module, nn.Linear | nn.Conv2d) and block not in (None, "IN00"):
            yield str(block), module
    for encoder in text_encoders:
        for path, module in encoder.named_modules():
            if isinstance(module, nn.Linear) and "encoder.layers." in path:
                yield TEXT, module


@torch.no_grad()
def keep_as_fp8(layer: Base) -> None:
    """Keep a frozen layer's weight as fp8, in place: a model may know a layer by two names."""
    weight = layer.weight.detach().float()
    largest = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True) / MOST
    mantissa, _ = torch.frexp(largest)
    scale = torch.where(largest > 0, largest / mantissa, 1.0).clamp(min=LEAST_SCALE)
    _become_kept(layer)
    layer.register_buffer("kept", (weight / scale).to(FP8).view(torch.uint8), persistent=False)
    layer.register_buffer("scale", scale, persistent=False)


def keep_at_home(layer: Base, device: torch.device, dtype: torch.dtype) -> None:
    """Keep a frozen layer's weight in main memory whatever device it computes on, in place.

    device: where it will compute; for CUDA the memory is pinned. dtype: of a weight that is not
    fp8. As it is no parameter any more, moving the model to a device leaves it where it is.
    """
    held: Any
    scale: Any = None
    if isinstance(layer, _Kept):
        held, scale = layer.kept, layer.scale
        del layer.kept, layer.scale
    else:
        held = layer.weight.detach().to(dtype)
        _become_kept(layer)
    pinned = device.type == "cuda" and held.device.type == "cpu"
    layer.kept = held.pin_memory() if pinned else held
    layer.scale = scale


def is_at_home(module: nn.Module) -> bool:
    """Whether it is a layer whose weight is kept in main memory, as `kept` and perhaps `scale`."""
    return isinstance(module, _Kept) and "kept" not in module._buffers


def _become_kept(layer: Base) -> None:
    del layer.weight
    layer.__class__ = _KeptConv2d if isinstance(layer, nn.Conv2d) else _KeptLinear
