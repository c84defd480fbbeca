"""The adapter of a model: a layer beside each module that it changes, by its name in files.

The base models keep their weights and names: each layer adds itself to its module's output by a
forward hook.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from schemas.errors import ModelError, RecipeError
from schemas.recipes.train import AdapterKind, AdapterSection
from train import blocks
from train.adapters.dora import DoRA
from train.adapters.figures import figures_by_block
from train.adapters.full import Full
from train.adapters.layer import Base, Layer, key_of
from train.adapters.lora import LoRA
from train.adapters.of_lycoris import OfLycoris
from train.blocks import Architecture
from train.optimizer import Group
from train.targets import Target, find_targets


class Adapter(nn.Module):
    """The layers beside a U-Net and its text encoders, by the modules' names in adapter files."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.layers = nn.ModuleDict()
        self._factors: dict[str, float] = {}
        self._beside: dict[str, tuple[Base, RemovableHandle]] = {}
        self._strength = 1.0
        self.eval()

    def attach(self, name: str, base: Base, layer: Layer, factor: float = 1.0) -> None:
        """Put `layer` beside `base`; its rate is `factor` times the optimizer's."""
        self.layers[name] = layer.eval()
        self._factors[name] = factor

        def add(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
            if not self._strength:
                return None
            change = layer.change(module, inputs[0], output)
            return torch.add(output, change.to(output.dtype), alpha=self._strength)

        self._beside[name] = base, base.register_forward_hook(add)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the change to the models' own weights, which are fp32, and let go of the models."""
        for name, layer in self._parts().items():
            base, hook = self._beside.pop(name)
            assert base.weight.dtype == torch.float32
            base.weight.add_(layer.delta(base.weight))
            hook.remove()

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

    @contextmanager
    def learning(self, seed: int, number: int) -> Iterator[None]:
        """Within the block inputs are dropped and DyLoRA's ranks drawn, by seed and batch number.

        Outside of it nothing is dropped and every rank counts.
        """
        key = key_of(seed, f"batch {number}")
        torch.manual_seed(key)  # of dropout: what it draws depends on nothing before
        dynamic = [part for part in self._parts().values() if isinstance(part, OfLycoris)]
        share = random.Random(key).random()
        for layer in dynamic:
            layer.rank = 1 + int(share * layer.dim)
        self.train()
        try:
            yield
        finally:
            self.eval()
            for layer in dynamic:
                layer.rank = layer.dim

    @property
    def trains_text(self) -> bool:
        """Whether a text encoder has layers."""
        return any(blocks.block_of_name(name) == blocks.TEXT for name in self.layers)

    def groups(self) -> list[Group]:
        """Return the weights in groups of one rate: the U-Net's, then the text encoders'."""
        found: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for name, layer in self.layers.items():
            key = (blocks.block_of_name(name) == blocks.TEXT, self._factors[name])
            found.setdefault(key, []).extend(layer.parameters())
        return [Group(weights, *key) for key, weights in sorted(found.items(), key=lambda g: g[0])]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors of an adapter file, fp32, by their names there."""
        return {
            f"{name}.{end}": tensor
            for name, layer in self._parts().items()
            for end, tensor in layer.tensors().items()
        }

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
        for name, layer in self._parts().items():
            layer.load({end: tensors[f"{name}.{end}"] for end in layer.tensors()})

    def marks(self) -> dict[str, float]:
        """Return a sum for each layer that is another one when the layer has changed.

        LoRA's `down` is left out: weight decay moves it even where nothing is learnt.
        """
        return {
            name: sum(
                float(weight.detach().double().abs().sum())
                for end, weight in layer.named_parameters()
                if end != "down"
            )
            for name, layer in self.layers.items()
        }

    def _parts(self) -> dict[str, Layer]:
        return {name: part for name, part in self.layers.items() if isinstance(part, Layer)}


def attach_adapter(
    architecture: Architecture,
    unet: Any,
    text_encoders: Sequence[Any],
    section: AdapterSection,
    seed: int,
) -> Adapter:
    """Return the adapter that `section` asks for, beside the modules of its blocks.

    Raises RecipeError for unknown blocks and ranks that no module can have, ModelError when a block
    lacks modules.
    """
    figures = figures_by_block(section, architecture)
    adapter = Adapter(architecture)
    for target in find_targets(architecture, unet, text_encoders, conv=section.conv_dim > 0):
        if own := figures.get(target.block):
            wide = target.is_wide
            dim, alpha = (own.conv_dim, own.conv_alpha) if wide else (own.dim, own.alpha)
            _check_rank(section.kind, target, dim)
            layer = _layer(section.kind, target.base, dim, alpha, section.dropout)
            if target.base.weight.device.type != "meta":
                layer.start(target.base, seed, target.name)
            adapter.attach(target.name, target.base, layer, own.lr)
    return adapter


def _layer(kind: AdapterKind, base: Base, dim: int, alpha: float, dropout: float) -> Layer:
    match kind:
        case "lora" | "locon":
            return LoRA(base, dim, alpha, dropout)
        case "dora":
            return DoRA(base, dim, alpha, dropout)
        case "full":
            return Full(base, dropout)
        case "loha" | "lokr" | "dylora":
            return OfLycoris(kind, base, dim, alpha, dropout)


def _check_rank(kind: AdapterKind, target: Target, dim: int) -> None:
    outputs, *inputs = target.base.weight.shape
    size = min(outputs, int(torch.Size(inputs).numel()))
    # LoKr's large dim means a whole matrix, and full knows no rank
    if dim > size and kind not in ("lokr", "full"):
        key = "conv_dim" if target.is_wide else "dim"
        raise RecipeError(
            f"adapter.{key} = {dim} is above the size of {target.name}, {size}: a change of that"
            f" weight has no higher rank than {size}"
        )
