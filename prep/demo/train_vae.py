"""The first half of the demo's base model: an autoencoder of eight pixels to a latent.

It learns on pieces of drawings, several times as fast, then on whole ones, so that its middle
attention has met both. Absolute and squared error, and a touch of Kullback-Leibler
divergence that keeps latents near one another (Kingma and Welling 2013, arXiv:1312.6114).
"""

import math
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prep.demo.drawings import Pixels
from prep.demo.muon import Pair
from prep.demo.precision import half
from prep.demo.schedule import PARTS, Curve, fit
from schemas import progress

MATRICES, REST = 0.02, 2e-3  # highest rates of the two optimizers
CROP, WHOLE = 64, 0.02  # pixels of a crop; last share of the steps, on whole drawings
SQUARED, DIVERGENCE = 15.0, 5e-5  # weights in the loss beside the absolute error's 1


def train_vae(vae: Any, drawings: Pixels, steps: int, batch: int, seed: int, work: Path) -> Curve:
    """Teach `vae` (diffusers' AutoencoderKL), where it is, to give back `drawings`.

    Goes on from `work`. drawings: uint8 [n, h, w, 3].
    """

    def parts_at(step: int) -> list[tuple[Tensor, Tensor]]:
        whole = step >= steps * (1 - WHOLE)
        x = _batch(drawings, step, batch, seed, None if whole else CROP)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        noise = torch.randn(_latent_shape(x), generator=generator)
        return list(zip(x.chunk(PARTS), noise.chunk(PARTS), strict=True))

    vae.train()
    curve = fit(
        *("VAE", vae, Pair(vae, MATRICES, REST), parts_at, partial(_loss, vae), steps),
        work / "vae.pt",
        clip=1.0,
    )
    vae.eval()
    return curve


def _batch(drawings: Pixels, step: int, batch: int, seed: int, side: int | None) -> Tensor:
    """float32 [batch, 3, h, w] in [-1, 1]: pieces of `side` pixels, cut anywhere; None: whole."""
    rng = random.Random(f"vae {seed} {step}")
    count, height, width = drawings.shape[:3]
    high, wide = (side, side) if side else (height, width)
    pieces = []
    for row in (rng.randrange(count) for _ in range(batch)):
        top, left = rng.randint(0, height - high), rng.randint(0, width - wide)
        pieces.append(drawings[row, top : top + high, left : left + wide])
    return to_input(np.stack(pieces))


def to_input(pixels: Pixels) -> Tensor:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] in [-1, 1]."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


def _latent_shape(x: Tensor) -> tuple[int, ...]:
    return len(x), 4, x.shape[2] // 8, x.shape[3] // 8


def _loss(vae: Any, part: tuple[Tensor, Tensor]) -> Tensor:
    x, noise = (value.to(vae.device) for value in part)
    with half(x.device):
        posterior = vae.encode(x).latent_dist
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
    error = decoded.float() - x
    divergence = posterior.kl().mean() / posterior.mean[0].numel()
    loss: Tensor = error.abs().mean() + SQUARED * error.square().mean() + DIVERGENCE * divergence
    return loss


def encoded(vae: Any, pixels: Pixels) -> Tensor:
    """The means of the latents, float32 [n, 4, h / 8, w / 8], not yet scaled."""
    parts = []
    with torch.no_grad(), progress.task("encode", len(pixels), "drawings") as advance:
        for start in range(0, len(pixels), 64):
            x = to_input(pixels[start : start + 64]).to(vae.device)
            with half(x.device):
                parts.append(vae.encode(x).latent_dist.mean.float().cpu())
            advance(len(x))
    return torch.cat(parts)


def psnr(vae: Any, pixels: Pixels) -> float:
    """Mean peak signal-to-noise ratio of the reconstructions of `pixels`, in dB."""
    values = []
    with torch.no_grad():
        for start in range(0, len(pixels), 32):
            x = to_input(pixels[start : start + 32]).to(vae.device)
            decoded = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
            errors = ((decoded - x) / 2).square().mean((1, 2, 3))
            values += [10 * math.log10(1 / error) for error in errors.tolist()]
    return sum(values) / len(values)
