"""Where a loss or a gradient stopped being finite: a step computed again, with hooks that look.

Only a step that is broken already is computed again: hooks on every module cost more than a step.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import nn

from train.batches import Batch
from train.blocks import TEXT, unet_block
from train.setup import Setup

Losses = Callable[[Batch], torch.Tensor]  # of a batch's images, [n]

NOWHERE = "in no layer: what the models compute is finite, so look at weights and [loss]"
AGAIN = "in no layer: computed again, it was finite"
SHOWN = 4  # images in a message

T = TypeVar("T")


@dataclass(frozen=True)
class Image:
    """An image as it is named to people."""

    md5: str
    path: str

    def __str__(self) -> str:
        return self.path if self.md5 in self.path else f"{self.path} (md5 {self.md5})"


@dataclass(frozen=True)
class NotFinite:
    """A step that changed nothing, since its loss or its gradient is not finite."""

    step: int  # counted from 1
    what: Literal["loss", "gradient"]
    images: tuple[Image, ...]
    layer: str  # where it was first seen

    def __str__(self) -> str:
        named = ", ".join(map(str, self.images[:SHOWN]))
        more = f" and {len(self.images) - SHOWN} more" if len(self.images) > SHOWN else ""
        return (
            f"the {self.what} is not finite at step {self.step}"
            f" (images: {named}{more}; first {self.layer})"
        )


def loss_not_finite(
    ready: Setup, step: int, batches: Mapping[int, Batch], losses_of: Losses
) -> NotFinite:
    """Compute a step's batches (by number) again; say whose loss is not finite, and where."""
    places: list[int] = []
    layers = []
    for number, batch in batches.items():
        with ready.adapter.learning(ready.recipe.seed, number):
            losses, layer = first_of_loss(_models(ready), partial(losses_of, batch))
        broken = ~losses.isfinite().cpu().numpy()
        if broken.any():
            places += batch.places[broken].tolist()
            layers.append(layer)
    if not layers:  # a device need not compute the same twice
        places = [place for batch in batches.values() for place in batch.places.tolist()]
    return NotFinite(step + 1, "loss", _images(ready, places), layers[0] if layers else AGAIN)


def gradient_not_finite(
    ready: Setup, step: int, batches: Mapping[int, Batch], losses_of: Losses
) -> NotFinite:
    """Compute a step's batches again, up to the first whose gradient is not finite."""
    weights = dict(ready.adapter.layers.named_parameters())

    def backward(batch: Batch) -> None:
        ready.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(ready.scale.scaled(losses_of(batch).sum()))

    for number, batch in batches.items():
        with ready.adapter.learning(ready.recipe.seed, number):
            layer = first_of_gradient(_models(ready), weights, partial(backward, batch))
        if layer:
            return NotFinite(step + 1, "gradient", _images(ready, batch.places.tolist()), layer)
    places = [place for batch in batches.values() for place in batch.places.tolist()]
    return NotFinite(step + 1, "gradient", _images(ready, places), "in the sum over its batches")


def first_of_loss(models: Mapping[str, nn.Module], compute: Callable[[], T]) -> tuple[T, str]:
    """Run `compute`; return its result, and where a value first was not finite in the models."""
    found: list[str] = []

    def look(place: str, values: Any) -> None:
        if not found and not all(bool(value.isfinite().all()) for value in floats(values)):
            found.append(place)

    with torch.no_grad(), _hooks(models, look):
        result = compute()
    return result, f"in {found[0]}" if found else NOWHERE


def first_of_gradient(
    models: Mapping[str, nn.Module],
    weights: Mapping[str, nn.Parameter],
    compute: Callable[[], Any],
) -> str:
    """Return where a gradient that is not finite comes up first while `compute` goes backward.

    weights: what is trained, by name; looked at where all that flows between modules is finite.
    Empty where every gradient is finite.
    """
    found: list[str] = []

    def look(place: str, gradient: torch.Tensor) -> None:
        if not found and not gradient.isfinite().all():
            found.append(f"in what flows back to {place}")

    def watch(place: str, values: Any) -> None:
        for value in floats(values):
            if value.requires_grad:
                value.register_hook(partial(look, place))  # type: ignore[no-untyped-call]

    with _hooks(models, watch):
        compute()
    found += [
        f"in the gradient of the adapter's {name}"
        for name, weight in weights.items()
        if weight.grad is not None and not weight.grad.isfinite().all()
    ]
    return found[0] if found else ""


@contextmanager
def _hooks(models: Mapping[str, nn.Module], seen: Callable[[str, Any], None]) -> Iterator[None]:
    """Within the block `seen` is called with every module's output, as they compute.

    Of inputs the models' own alone: further in, attention is masked with -inf.
    """
    with ExitStack() as hooks:
        for called, model in models.items():

            def enters(_: Any, inputs: Any, place: str = f"what goes into {called}") -> None:
                seen(place, inputs)

            hooks.enter_context(model.register_forward_pre_hook(enters))
            for path, module in model.named_modules():
                place = _place(called, path)

                def leaves(_: Any, __: Any, output: Any, place: str = place) -> None:
                    seen(place, output)

                hooks.enter_context(module.register_forward_hook(leaves))
        yield


def floats(values: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of floats in what a module takes or returns."""
    if isinstance(values, torch.Tensor):
        if values.is_floating_point():
            yield values
    elif isinstance(values, Mapping):
        yield from floats(tuple(values.values()))
    elif isinstance(values, tuple | list):
        for value in values:
            yield from floats(value)


def _place(model: str, path: str) -> str:
    """A module by its path, and its block where it has one."""
    block = unet_block(path) if model == "unet" else TEXT
    return f"{model}.{path}".rstrip(".") + (f" ({block})" if block and path else "")


def _models(ready: Setup) -> dict[str, nn.Module]:
    """The models that a step runs, in their order."""
    encoders = ready.text_encoders
    names = ["text_encoder", *(f"text_encoder_{number + 1}" for number in range(1, len(encoders)))]
    return {**dict(zip(names, encoders, strict=True)), "unet": ready.unet}


def _images(ready: Setup, places: Iterable[int]) -> tuple[Image, ...]:
    """The images of these places, each once."""
    rows = dict.fromkeys(ready.rows_of(np.array(list(places), dtype=int)).tolist())
    table = ready.data.table.select(["md5", "path"]).take(list(rows))
    return tuple(Image(**row) for row in table.to_pylist())
