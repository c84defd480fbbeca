"""A training step rehearsed without weights or images: what it takes of memory, and how long.

Weights are one number everywhere. Where a step is long, or does not fit, its memory is counted on
fake tensors, which have shapes and a device, and no bytes.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from schemas.recipes.train import TrainRecipe
from train.adapters.adapter import Adapter
from train.attention import kernels
from train.frozen import is_at_home
from train.live_bytes import LiveBytes
from train.optimizer import Group, state_bytes, unchecked
from train.precision import COMPUTE
from train.setup import offload, place
from train.step import losses_at
from train.text import CHUNK, Encoded

SIDE = 8  # pixels of a latent's
LONG = 4.0  # seconds that a pass may be foreseen to take and is still measured
ROUND = 64  # smaller shapes are multiples of it
NUMBER = 0.01  # of all weights, where only the time is asked for


@dataclass(frozen=True)
class Memory:
    """Bytes on the device at the fullest moment of a step, by what they are for."""

    weights: int  # of the frozen models
    adapter: int
    optimizer: int  # its state, and the average of the weights where one is kept
    step: int  # activations and gradients
    total: int


@dataclass(frozen=True)
class Pace:
    """How long a batch of one bucket takes, and the optimizer's step after it, in seconds."""

    batch: float
    optimizer: float
    width: int  # of what was measured, in pixels
    height: int


@dataclass(frozen=True)
class Cost:
    """What a training takes, without drawing, validating and encoding."""

    memory: Memory  # of batches of the largest bucket
    pace: Pace | None  # None: such a batch does not fit
    hours: float | None
    attention: str  # the kernel that computes it


def cost(
    rehearsal: "Rehearsal", buckets: Mapping[tuple[int, int], int], steps: int, batches: int
) -> Cost:
    """Return what a training of these buckets (width and height -> images) takes.

    The networks are on the meta device, as train.setup.networks gives them without weights.
    """
    recipe, device, unet = rehearsal.recipe, rehearsal.device, rehearsal.unet
    parts = (unet, rehearsal.text_encoders, rehearsal.adapter)
    offload(recipe, device, *parts)
    place(recipe, torch.device("meta"), *parts)
    largest = max(buckets, key=math.prod)
    pace, memory, hours = None, None, None
    try:
        pace = rehearsal.pace(max(buckets, key=lambda size: buckets[size]))
        area = pace.width * pace.height
        pixels = sum(math.prod(size) * images for size, images in buckets.items())
        mean = pixels / sum(buckets.values())
        hours = (batches * pace.batch * mean / area + steps * pace.optimizer) / 3600
        if pace.batch * math.prod(largest) / area <= LONG:
            memory = rehearsal.memory(largest, fake=False)
    except torch.OutOfMemoryError:
        pace, hours = None, None
    memory = memory or rehearsal.memory(largest, fake=True)
    attention = kernels(unet, device, COMPUTE[recipe.steps.precision])
    return Cost(memory, pace, hours, attention)


@dataclass(frozen=True)
class Rehearsal:
    """Networks with an adapter, and what train.step.losses_at asks for beside them."""

    recipe: TrainRecipe
    device: torch.device
    unet: Any
    text_encoders: tuple[Any, ...]
    adapter: Adapter
    chunks: int  # of 75 tokens, of the longest caption
    encoded: bool = False  # whether captions were encoded before: see train.setup.encodes_once

    @property
    def texts(self) -> "_Texts | None":
        return _Texts(self.unet, self.text_encoders) if self.encoded else None

    @property
    def on_device(self) -> tuple[Any, ...]:
        """The frozen networks that lie there while training."""
        return (self.unet,) if self.encoded else (self.unet, *self.text_encoders)

    @property
    def abar(self) -> torch.Tensor:
        """A noise schedule of one timestep."""
        return torch.full((1,), 0.5, device=self.device)

    def batch(self, size: tuple[int, int]) -> None:
        """Take a batch of pictures of width and height through the models, there and back."""
        n, (width, height) = self.recipe.steps.batch, size
        latents = torch.zeros(n, self.unet.config.in_channels, height // SIDE, width // SIDE)
        with self.adapter.learning(self.recipe.seed, 0):
            losses = losses_at(
                self,
                latents,
                noise=latents,
                timesteps=torch.zeros(n, dtype=torch.int64),
                ids=torch.zeros(n, self.chunks, CHUNK + 2, dtype=torch.int64),
                weights=torch.ones(n),
                sizes=torch.zeros(n, 6),
            )
            torch.autograd.backward(losses.mean())

    def memory(self, size: tuple[int, int], *, fake: bool) -> Memory:
        """Return what batches of this width and height take.

        fake: count tensors that have no bytes. That is slow where a batch is quick.
        """
        section = self.recipe.optimizer
        live, number = LiveBytes(self.device), None if fake else NUMBER
        with FakeTensorMode() if fake else nullcontext(), live:
            for network in self.on_device:
                _fill(network, self.device, number)
            weights = live.now
            _fill(self.adapter, self.device, number)
            adapter = live.now - weights
            for _ in range(min(2, self.recipe.steps.accumulate)):
                self.batch(size)  # a second one finds the first one's gradients there
            self.adapter.zero_grad()
        shapes = Counter(tuple(weight.shape) for weight in self.adapter.parameters())
        optimizer = state_bytes(section, shapes, self.device) + adapter * (section.ema > 0)
        step = live.most - weights - adapter
        return Memory(weights, adapter, optimizer, step, live.most + optimizer)

    def pace(self, size: tuple[int, int]) -> Pace:
        """Return how long a batch takes at this width and height, or at less where that is long."""
        for network in (*self.on_device, self.adapter):
            _fill(network, self.device, NUMBER)
        width, height = size
        found: Pace | None = None
        for part in (4, 2, 1):
            shape = size if part == 1 else (_part(width, part), _part(height, part))
            more = 0.0 if found is None else math.prod(shape) / (found.width * found.height)
            if found is None or 1 < more <= LONG / found.batch:
                found = Pace(self._timed(partial(self.batch, shape)), 0.0, *shape)
        assert found is not None
        optimizer = unchecked(self.recipe.optimizer, [Group(list(self.adapter.parameters()))])
        seconds = self._timed(optimizer.step)
        self.adapter.zero_grad()
        return replace(found, optimizer=seconds)

    def _timed(self, work: Callable[[], object]) -> float:
        """The seconds that it takes, the second time, unless the first was long."""
        seconds = 0.0
        for _ in range(2):
            start = time.perf_counter()
            work()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - start
            if seconds > LONG / 2:
                break
        return seconds


class _Texts(NamedTuple):
    """Captions that were encoded before, to zeros."""

    unet: Any
    text_encoders: tuple[Any, ...]

    def read(self, ids: torch.Tensor) -> Encoded:
        n, chunks, length = ids.shape
        context = torch.zeros(n, chunks * length, self.unet.config.cross_attention_dim)
        if len(self.text_encoders) == 1:
            return Encoded(context, None)
        return Encoded(context, torch.zeros(n, self.text_encoders[-1].config.projection_dim))


def _part(side: int, part: int) -> int:
    return max(ROUND, side // part // ROUND * ROUND)


def _fill(network: nn.Module, device: torch.device, number: float | None = None) -> None:
    """Give a network of shapes tensors on a device, all of one number; without one they are empty.

    Integers, which count positions or are fp8's bytes, are 0.
    """

    def made(held: torch.Tensor, where: torch.device = device) -> torch.Tensor:
        new = torch.empty(held.shape, dtype=held.dtype, device=where)
        return new if number is None else new.fill_(number if held.is_floating_point() else 0)

    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(made(weight), requires_grad=weight.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, made(buffer))
        if is_at_home(module):
            for name, held in (("kept", module.kept), ("scale", module.scale)):
                if isinstance(held, torch.Tensor):
                    new = made(held, torch.device("cpu"))
                    pinned = device.type == "cuda" and number is not None
                    setattr(module, name, new.pin_memory() if pinned else new)
