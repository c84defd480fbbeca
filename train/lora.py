"""LoRA: low-rank changes beside frozen weights (Hu et al. 2021, arXiv:2106.09685).

        x [.., in] ----------------- W0 [out, in], frozen ---------------(+)---- y [.., out]
             |                                                            |
             '-- down [rank, in] --- up [out, rank] --- * alpha / rank ---'

    delta = up @ down * alpha / rank        what is added to W0: the one definition of the kind

A Linear's factors are matrices; those of a 1x1 Conv (SD1.5's proj_in and proj_out) carry two
trailing dimensions of 1. `up` starts at zero, so that training starts from the model as it is.
The factors stay fp32 whatever the base computes in: Adam's second moment underflows in fp16, and
in bf16 a weight above 0.05 no longer moves at usual rates.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from schemas.errors import ModelError
from train import blocks
from train.blocks import Architecture
from train.targets import find_targets


def delta(down: torch.Tensor, up: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return the change of the weight, in the weight's own shape ([out, in] or [out, in, 1, 1]).

    down: [rank, in, ...], up: [out, rank, ...]. Computed in fp32. Additive: W0 does not matter.
    """
    rank = down.shape[0]
    product = up.float().flatten(1) @ down.float().flatten(1)
    return product.reshape(up.shape[0], *down.shape[1:]) * (alpha / rank)


class LoRA(nn.Module):
    """The factors beside one Linear or 1x1 Conv."""

    def __init__(self, base: nn.Linear | nn.Conv2d, rank: int, alpha: float) -> None:
        super().__init__()
        out_features, in_features, *kernel = base.weight.shape
        self.alpha = alpha
        self.down = nn.Parameter(torch.zeros(rank, in_features, *kernel))
        self.up = nn.Parameter(torch.zeros(out_features, rank, *kernel))

    def start(self, seed: int, name: str) -> None:
        """Draw `down` (Kaiming uniform, a = sqrt 5), keyed by seed and name; `up` is zero."""
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        nn.init.kaiming_uniform_(self.down.data, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.up.data)

    def delta(self) -> torch.Tensor:
        """Return the change of the base's weight."""
        return delta(self.down, self.up, self.alpha)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what `delta` adds to the base's output, by way of the narrow middle."""
        operation = functional.conv2d if self.down.dim() == 4 else functional.linear
        if not torch.is_autocast_enabled(x.device.type):
            x = x.to(self.down.dtype)
        return operation(operation(x, self.down), self.up) * (self.alpha / self.down.shape[0])


class Adapter(nn.Module):
    """The LoRA of a U-Net and its text encoders, by the modules' names in adapter files.

    The base models keep their weights and names: each factor pair adds itself to its module's
    output by a forward hook.
    """

    def __init__(self, architecture: Architecture, dim: int, alpha: float) -> None:
        super().__init__()
        self.architecture = architecture
        self.dim, self.alpha = dim, alpha
        self.layers = nn.ModuleDict()
        self._strength = 1.0

    def attach(self, name: str, base: nn.Linear | nn.Conv2d, seed: int) -> None:
        """Put factors beside `base`, drawn by `seed` and `name`."""
        layer = LoRA(base, self.dim, self.alpha)
        if layer.down.device.type != "meta":
            layer.start(seed, name)
        self.layers[name] = layer

        def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
            if not self._strength:
                return None
            return torch.add(output, layer(inputs[0]).to(output.dtype), alpha=self._strength)

        base.register_forward_hook(add)

    @contextmanager
    def at(self, strength: float) -> Iterator[None]:
        """Within the block `strength` times the change is added: 1 is as trained, 0 the base."""
        before, self._strength = self._strength, strength
        try:
            yield
        finally:
            self._strength = before

    def off(self) -> AbstractContextManager[None]:
        """Within the block the models compute as if there were no adapter."""
        return self.at(0.0)

    def groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the parameters of the U-Net's modules and of the text encoders'."""
        unet: list[nn.Parameter] = []
        text: list[nn.Parameter] = []
        for name, layer in self.layers.items():
            (text if blocks.block_of_name(name) == blocks.TEXT else unet).extend(layer.parameters())
        return unet, text

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors of an adapter file, fp32, by their names there."""
        found: dict[str, torch.Tensor] = {}
        for name, layer in self.layers.items():
            assert isinstance(layer, LoRA)
            found[f"{name}.lora_down.weight"] = layer.down.detach()
            found[f"{name}.lora_up.weight"] = layer.up.detach()
            found[f"{name}.alpha"] = torch.tensor(float(layer.alpha))
        return found

    def load(self, tensors: Mapping[str, torch.Tensor], where: str) -> None:
        """Take over the tensors of an adapter file. Raises ModelError unless they are the same."""
        own = self.tensors()
        tensors = self.architecture.own_names(tensors)
        for name in sorted(own.keys() | tensors.keys()):
            if name not in tensors or name not in own:
                side = "lacks" if name not in tensors else "has, and the recipe's adapter has not,"
                raise ModelError(f"{where} {side} {name}: it is another kind of adapter")
            if own[name].shape != tensors[name].shape:
                raise ModelError(
                    f"{where}: {name} is {list(tensors[name].shape)}, not {list(own[name].shape)}"
                )
        for name, layer in self.layers.items():
            assert isinstance(layer, LoRA)
            layer.down.data.copy_(tensors[f"{name}.lora_down.weight"])
            layer.up.data.copy_(tensors[f"{name}.lora_up.weight"])
            layer.alpha = float(tensors[f"{name}.alpha"])


def attach_lora(
    architecture: Architecture,
    unet: Any,
    text_encoders: Sequence[Any],
    *,
    dim: int,
    alpha: float,
    where: str,
    seed: int,
) -> Adapter:
    """Return an adapter beside the modules of the blocks that `where` names.

    Raises RecipeError for unknown blocks, ModelError when a block lacks modules.
    """
    chosen = architecture.parse(where)
    adapter = Adapter(architecture, dim, alpha)
    for target in find_targets(architecture, unet, text_encoders):
        if target.block in chosen:
            adapter.attach(target.name, target.base, seed)
    return adapter
