"""One optimizer step, and the loss it lowers: from a batch's rows to each image's loss.

A *batch* is a forward pass; an optimizer *step* takes `steps.accumulate` of them, and its gradient
is that of the mean over all images of the step. What is drawn (noise, timestep, order of tags) is
keyed by (seed, step, row, which repeat of it), so that nothing depends on what came before.
"""

import numpy as np
import torch

from schemas.errors import Failure
from train.batches import NOISE, SHUFFLE, TIMESTEP, Batch, stream
from train.conditioning import predict
from train.diffusion import add_noise, sample_losses, target
from train.optimizer import rate_factor, set_rate
from train.setup import Setup
from train.text import encode

VALIDATION_SEED = 0  # noise and timesteps of validation are the same for every seed of training


def train_step(ready: Setup, step: int, cut: np.ndarray) -> tuple[float, float]:
    """Take optimizer step `step`, counted from 0; return its loss and the learning rate.

    `cut` (int64 [manifest rows]) counts the tags that were cut off captions. Raises Failure, before
    anything is changed, when the loss or its gradient is not finite.
    """
    batches = [
        ready.batches[number]
        for number in range(ready.batches_by(step), ready.batches_by(step + 1))
    ]
    images = sum(len(batch.rows) for batch in batches)
    total = 0.0
    for batch in batches:
        losses = batch_losses(ready, batch, step, cut)
        if not losses.isfinite().all():
            broken = batch.rows[~losses.isfinite().cpu().numpy()]
            raise _not_finite(ready, broken, step, "loss")
        torch.autograd.backward(losses.sum() / images)
        total += float(losses.detach().sum())
    options = ready.recipe.optimizer
    norm = torch.nn.utils.clip_grad_norm_(
        [weight for weight in ready.adapter.parameters() if weight.grad is not None],
        options.clip or float("inf"),
    )
    if not norm.isfinite():
        raise _not_finite(
            ready, np.concatenate([batch.rows for batch in batches]), step, "gradient"
        )
    rate = set_rate(
        ready.optimizer, rate_factor(step, ready.steps, options.schedule, options.warmup)
    )
    ready.optimizer.step()
    ready.optimizer.zero_grad(set_to_none=True)
    return total / images, rate


def batch_losses(
    ready: Setup, batch: Batch, step: int, cut: np.ndarray | None = None
) -> torch.Tensor:
    """Return the weighted loss of each image of a batch, [n]."""
    seed, caption = ready.recipe.seed, ready.recipe.caption
    x0 = ready.store.read(batch.rows) * ready.vae.config.scaling_factor
    captions, noise, timesteps = [], [], []
    for row, copy in zip(batch.rows.tolist(), batch.copies.tolist(), strict=True):
        key = (step, row, copy)
        order = stream(seed, SHUFFLE, *key) if caption.shuffle else None
        captions.append(ready.data.caption(ready.tokens, row, caption.tokens, order))
        noise.append(stream(seed, NOISE, *key).standard_normal(x0.shape[1:], np.float32))
        timesteps.append(int(stream(seed, TIMESTEP, *key).integers(len(ready.abar))))
        if cut is not None:
            cut[row] += captions[-1].lost
    return losses_at(
        ready,
        x0,
        noise=torch.from_numpy(np.stack(noise)),
        timesteps=torch.tensor(timesteps),
        ids=ready.tokens.stacked(captions),
        weights=torch.from_numpy(ready.data.weights[batch.rows]),
        sizes=ready.sizes[batch.rows],
    )


def losses_at(
    ready: Setup,
    x0: torch.Tensor,
    *,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    ids: torch.Tensor,
    weights: torch.Tensor,
    sizes: torch.Tensor,
) -> torch.Tensor:
    """Return the weighted losses [n].

    x0: scaled latents, like noise [n,c,h,w]. timesteps, weights: [n]. ids: [n, chunks, 77]. sizes:
    [n, 6], see conditioning.true_sizes.
    """
    section, device = ready.recipe.model, ready.device
    x0, noise, timesteps = x0.to(device), noise.to(device), timesteps.to(device)
    abar = ready.abar[timesteps]
    half = ready.recipe.steps.precision == "bf16"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        with torch.set_grad_enabled(ready.trains_text and torch.is_grad_enabled()):
            encoded = encode(ready.text_encoders, ids.to(device), section.clip_skip)
        noisy = add_noise(x0, noise, abar)
        predicted = predict(ready.unet, noisy, timesteps, encoded, sizes.to(device))
    wanted = target(x0, noise, abar, section.prediction)
    return sample_losses(predicted, wanted, weights.to(device))


@torch.no_grad()
def validation_loss(ready: Setup) -> float | None:
    """Return the mean loss on the held-out images, unweighted, or None when there are none.

    Each image has its own fixed noise and timestep; the timesteps spread evenly over all images.
    """
    rows, total = ready.validation, 0.0
    if not len(rows):
        return None
    for place, row in enumerate(rows):
        x0 = ready.store.read(rows[place : place + 1]) * ready.vae.config.scaling_factor
        noise = stream(VALIDATION_SEED, NOISE, int(row)).standard_normal(x0.shape, np.float32)
        t = int((place + 0.5) / len(rows) * len(ready.abar))
        caption = ready.data.caption(ready.tokens, int(row), ready.recipe.caption.tokens)
        ids = ready.tokens.stacked([caption])
        loss = losses_at(
            ready,
            x0,
            noise=torch.from_numpy(noise),
            timesteps=torch.tensor([t]),
            ids=ids,
            weights=torch.ones(1),
            sizes=ready.sizes[rows[place : place + 1]],
        )
        total += float(loss)
    return total / len(rows)


def _not_finite(ready: Setup, rows: np.ndarray, step: int, what: str) -> Failure:
    paths = ready.data.table.column("path")
    named = ", ".join(str(paths[row]) for row in rows.tolist())
    return Failure(
        f"the {what} is not finite at step {step + 1} (images: {named}): lower optimizer.lr, or"
        " look at these images, then start anew with --overwrite"
    )
