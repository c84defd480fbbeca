"""The loss on images that are held out of training, at fixed timesteps with fixed noise.

Nothing of it is drawn by the run's seed or step: figures of one dataset can be compared over steps,
runs and recipes with the same [loss].
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from train.batches import NOISE, stream
from train.setup import Setup
from train.step import losses_at

SEED = 0  # of the noise, whatever the run's is


@dataclass(frozen=True)
class Validation:
    """The mean loss over the held-out images, their weights left aside."""

    loss: float  # over all timesteps
    by_timestep: Mapping[int, float]

    def __str__(self) -> str:
        each = ", ".join(f"{loss:.4f} at t {t}" for t, loss in self.by_timestep.items())
        return f"{self.loss:.4f} ({each})"


def measured_rows(ready: Setup) -> np.ndarray:
    """Return the held-out rows that are measured, `validate.images` at most, int64 [n].

    By md5, which is as good as chance, and stays the same when images are added.
    """
    md5s = ready.data.table.column("md5").take(ready.validation).to_numpy(zero_copy_only=False)
    rows: np.ndarray = ready.validation[np.argsort(md5s, kind="stable")]
    return rows[: ready.recipe.validation.images]


@torch.no_grad()
def validate(ready: Setup) -> Validation | None:
    """Return the loss on the held-out images, or None when there are none."""
    rows, timesteps = measured_rows(ready), ready.recipe.validation.timesteps
    if not len(rows):
        return None
    losses = torch.stack([_losses(ready, int(row), timesteps) for row in rows]).mean(dim=0)
    by_timestep = dict(zip(timesteps, losses.tolist(), strict=True))
    return Validation(sum(by_timestep.values()) / len(by_timestep), by_timestep)


def _losses(ready: Setup, row: int, timesteps: tuple[int, ...]) -> torch.Tensor:
    """The loss of an image at each timestep, [n]; as many at once as training has in a batch."""
    latent = ready.store.read(np.array([row])) * ready.vae.config.scaling_factor
    caption = ready.data.caption(ready.tokens, row, ready.recipe.caption.tokens)
    image = int(ready.data.table.column("md5")[row].as_py()[:16], 16)
    mask = ready.store.masks(np.array([row])) if ready.recipe.loss.mask == "alpha" else None
    losses = []
    for start in range(0, len(timesteps), ready.recipe.steps.batch):
        part = timesteps[start : start + ready.recipe.steps.batch]
        noise = [
            stream(SEED, NOISE, image, t).standard_normal(latent.shape[1:], np.float32)
            for t in part
        ]
        found = losses_at(
            ready,
            latent.expand(len(part), -1, -1, -1),
            noise=torch.from_numpy(np.stack(noise)),
            timesteps=torch.tensor(part),
            ids=ready.tokens.stacked([caption] * len(part)),
            weights=torch.ones(len(part)),
            sizes=ready.sizes[0, [row] * len(part)],
            mask=mask,
        )
        losses.append(found)
    return torch.cat(losses)
