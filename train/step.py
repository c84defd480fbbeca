"""One optimizer step, and the loss it lowers: from a batch's rows to each image's loss.

A *batch* is a forward pass; an optimizer *step* takes `steps.accumulate` of them, and its gradient
is that of the mean over all images of the step. What is drawn (noise, timestep, order of tags) is
keyed by (seed, step, place, which repeat of it), so that nothing depends on what came before.
"""

import math
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from schemas.recipes.train import TrainRecipe
from train.adapters.adapter import Adapter
from train.batches import NOISE, OFFSET, PERTURBATION, TIMESTEP, VARIANT, Batch, stream
from train.captions import COUNTED, Exposure
from train.conditioning import predict
from train.diffusion import add_noise, target
from train.loss import sample_losses
from train.nonfinite import NotFinite, gradient_not_finite, loss_not_finite
from train.optimizer import set_rate
from train.precision import autocast
from train.setup import Setup
from train.text import Encoded, encode

SKIPPED = COUNTED.index("skipped")


class Step(NamedTuple):
    """What an optimizer step came to."""

    loss: float | None  # None where it is not finite
    rate: float  # the learning rate
    taken: bool = True  # False: it changed nothing
    broken: NotFinite | None = None  # why; None where fp16's loss scale was too large


def train_step(ready: Setup, step: int, counts: np.ndarray) -> Step:
    """Take optimizer step `step`, counted from 0; return its loss and the learning rate.

    `counts` (int64 [manifest rows, n]) counts what captions.COUNTED names. A step whose loss or
    gradient is not finite changes nothing else.
    """
    numbers = range(ready.batches_by(step), ready.batches_by(step + 1))
    batches = {number: ready.batches[number] for number in numbers}
    images = sum(len(batch.places) for batch in batches.values())
    sums = []
    for number, batch in batches.items():
        with ready.adapter.learning(ready.recipe.seed, number):
            losses = batch_losses(ready, batch, step, counts)
            torch.autograd.backward(ready.scale.scaled(losses.sum() / images))
        sums.append(losses.detach().sum())
    options = ready.recipe.optimizer
    ready.scale.unscale(ready.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(
        [weight for weight in ready.adapter.parameters() if weight.grad is not None],
        options.clip or float("inf"),
    )
    # the one wait of a step
    *parts, length = torch.stack([*sums, norm.to(sums[0].device)]).tolist()
    loss = sum(parts) / images
    rate = set_rate(ready.optimizer, ready.course(step))
    taken, broken = False, None
    if not math.isfinite(loss):
        broken = loss_not_finite(ready, step, batches, partial(batch_losses, ready, step=step))
    elif not math.isfinite(length) and not ready.scale.may_skip:
        broken = gradient_not_finite(ready, step, batches, partial(batch_losses, ready, step=step))
    if broken:
        ready.scale.drop()
    else:
        taken = ready.scale.step(ready.optimizer)
    ready.optimizer.zero_grad(set_to_none=True)
    if taken:
        ready.average.update(step)
    else:
        places = np.concatenate([batch.places for batch in batches.values()])
        np.add.at(counts[:, SKIPPED], ready.rows_of(places), 1)
    return Step(loss if math.isfinite(loss) else None, rate, taken, broken)


def batch_losses(
    ready: Setup, batch: Batch, step: int, counts: np.ndarray | None = None
) -> torch.Tensor:
    """Return the weighted loss of each image of a batch, [n]."""
    seed, caption, loss = ready.recipe.seed, ready.recipe.caption, ready.recipe.loss
    rows = ready.rows_of(batch.places)
    keys = [(step, *key) for key in zip(batch.places.tolist(), batch.copies.tolist(), strict=True)]
    variants = [_variant(seed, key, len(ready.store.variants)) for key in keys]
    seen_as = [ready.store.variants[number] for number in variants]
    latents = (batch.places, np.array(variants))
    x0 = ready.store.read(*latents) * ready.vae.config.scaling_factor
    captions, noise, more, timesteps = [], [], [], []
    for row, key, variant in zip(rows.tolist(), keys, seen_as, strict=True):
        seen, counted = ready.data.exposed(ready.tokens, caption, row, Exposure(seed, *key))
        captions.append(seen)
        noise.append(_noise(seed, key, x0.shape[1:], loss.noise_offset))
        more.append(_perturbation(seed, key, x0.shape[1:], loss.input_perturbation))
        timesteps.append(_timestep(seed, key, loss.timesteps, len(ready.abar)))
        if counts is not None:
            counts[row] += (*counted, variant.mirrored, variant.color != 0, 0)
    return losses_at(
        ready,
        x0,
        noise=torch.from_numpy(np.stack(noise)),
        perturbation=torch.from_numpy(np.stack(more)),
        timesteps=torch.tensor(timesteps),
        ids=ready.tokens.stacked(captions),
        weights=torch.from_numpy(ready.data.weights[rows]),
        sizes=ready.sizes[[int(variant.mirrored) for variant in seen_as], batch.places],
        mask=ready.store.masks(*latents) if loss.mask == "alpha" else None,
        prior=torch.from_numpy(ready.data.is_reg[rows] & (loss.prior == "model")),
    )


def _variant(seed: int, key: tuple[int, ...], count: int) -> int:
    """Which variant of its image an exposure sees: each is as likely."""
    return int(stream(seed, VARIANT, *key).integers(count)) if count > 1 else 0


def _noise(seed: int, key: tuple[int, ...], shape: torch.Size, offset: float) -> np.ndarray:
    """The noise that is to be found, float32 [c,h,w]; a part of it the same over each channel.

    Source of the offset: N. Guttenberg, "Diffusion with Offset Noise", 2023.
    """
    noise = stream(seed, NOISE, *key).standard_normal(shape, np.float32)
    if not offset:
        return noise
    whole = stream(seed, OFFSET, *key).standard_normal((shape[0], 1, 1), np.float32)
    return noise + np.float32(offset) * whole


def _perturbation(seed: int, key: tuple[int, ...], shape: torch.Size, part: float) -> np.ndarray:
    """Noise that the U-Net sees and is not to find, float32 [c,h,w] (arXiv:2301.11706)."""
    if not part:
        return np.zeros(shape, np.float32)
    drawn = stream(seed, PERTURBATION, *key).standard_normal(shape, np.float32)
    return np.float32(part) * drawn


def _timestep(seed: int, key: tuple[int, ...], limits: tuple[int, int], length: int) -> int:
    first, end = limits
    return int(stream(seed, TIMESTEP, *key).integers(first, min(end, length)))


class Texts(Protocol):
    """Captions that were encoded before, such as a TextCache."""

    def read(self, ids: torch.Tensor) -> Encoded: ...


class Computing(Protocol):
    """The part of a Setup that computes losses."""

    @property
    def recipe(self) -> TrainRecipe: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def unet(self) -> Any: ...
    @property
    def text_encoders(self) -> tuple[Any, ...]: ...
    @property
    def adapter(self) -> Adapter: ...
    @property
    def texts(self) -> Texts | None: ...
    @property
    def abar(self) -> torch.Tensor: ...


def losses_at(
    ready: Computing,
    x0: torch.Tensor,
    *,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    ids: torch.Tensor,
    weights: torch.Tensor,
    sizes: torch.Tensor,
    perturbation: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    prior: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the weighted losses [n].

    x0: scaled latents, like noise and perturbation [n,c,h,w]. timesteps, weights: [n].
    ids: [n, chunks, 77]. sizes: [n, 6], see conditioning.true_sizes. mask: [n,1,h,w], how much
    each pixel counts. prior: bool [n], where the target is what the models predict without the
    adapter.
    """
    section, device = ready.recipe.model, ready.device
    x0, noise, timesteps = x0.to(device), noise.to(device), timesteps.to(device)
    abar = ready.abar[timesteps]
    with autocast(device, ready.recipe.steps.precision):
        with torch.set_grad_enabled(ready.adapter.trains_text and torch.is_grad_enabled()):
            encoded = _told(ready, ids)
        seen = noise if perturbation is None else noise + perturbation.to(device)
        noisy = add_noise(x0, seen, abar)
        predicted = predict(ready.unet, noisy, timesteps, encoded, sizes.to(device))
        wanted = target(x0, noise, abar, section.prediction)
        if prior is not None and prior.any():
            rows, wanted = prior.to(device), wanted.clone()
            parts = (noisy[rows], timesteps[rows], ids[prior], sizes.to(device)[rows])
            wanted[rows] = _without_adapter(ready, *parts).to(wanted.dtype)
    return sample_losses(
        predicted,
        wanted,
        abar,
        timesteps,
        weights.to(device),
        ready.recipe.loss,
        section.prediction,
        len(ready.abar),
        None if mask is None else mask.to(device),
    )


def _told(ready: Computing, ids: torch.Tensor) -> Encoded:
    """Return what the U-Net is told of captions of ids [n, chunks, 77], on the device."""
    if ready.texts is None:
        clip_skip = ready.recipe.model.clip_skip
        return encode(ready.text_encoders, ids.to(ready.device), clip_skip)
    return ready.texts.read(ids).to(ready.device)


@torch.no_grad()
def _without_adapter(
    ready: Computing, noisy: torch.Tensor, t: torch.Tensor, ids: torch.Tensor, sizes: torch.Tensor
) -> torch.Tensor:
    """Return what the models predict of x_t [n,c,h,w] without the adapter, text encoder's too."""
    with ready.adapter.off():
        return predict(ready.unet, noisy, t, _told(ready, ids), sizes)
