"""The last part of the demo's base model: the U-Net learns to draw from tags.

Noise is predicted (Ho et al. 2020, arXiv:2006.11239), each timestep weighed by min-SNR (Hang et al.
2023, arXiv:2303.09556); what is kept is the moving average of the weights. A caption holds any part
of a drawing's tags in any order, often one or two of them, so that each tag is learnt by itself,
and sometimes none, for classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prep.demo.model import TIMESTEPS, Networks, noise_schedule
from prep.demo.muon import Pair
from prep.demo.precision import half
from prep.demo.schedule import PARTS, Curve, fit

MATRICES, REST = 0.02, 2e-3  # highest rates of the two optimizers
DECAY = 0.2  # of the matrices
AVERAGE = 0.999  # of the moving average; less at first, when there is little to average
GAMMA = 5.0  # of min-SNR
EMPTY, FEW = 0.1, 0.3  # shares of captions without a tag, and with one to `MOST_FEW`
MOST_FEW = 3


@dataclass(frozen=True)
class Drawings:
    """Latents of one shape, and the tags of each as captions spell them."""

    latents: Tensor  # float32 [n, 4, h, w], scaled
    tags: Sequence[tuple[str, ...]]


def train_unet(
    networks: Networks,
    tokenizer: Any,
    drawings: Sequence[Drawings],
    steps: int,
    batch: int,
    seed: int,
    work: Path,
) -> Curve:
    """Teach the U-Net, where it is, the text encoder as it is; leave the averaged weights in it.

    Goes on from `work`.
    """
    from diffusers.models.attention_processor import AttnProcessor

    unet = networks.unet
    if unet.device.type == "cpu":
        # in bfloat16, twice as fast there as torch's scaled_dot_product_attention
        unet.set_attn_processor(AttnProcessor())
    average = _Average({name: value.clone() for name, value in unet.state_dict().items()})
    abar = noise_schedule().alphas_cumprod

    def parts_at(step: int) -> list[_Part]:
        return _parts(_batch(drawings, step, batch, seed), tokenizer, seed, step)

    curve = fit(
        *(
            "U-Net",
            unet,
            Pair(unet, MATRICES, REST, DECAY),
            parts_at,
            partial(_loss, networks, abar),
        ),
        *(steps, work / "unet.pt"),
        clip=1.0,
        average=average,
    )
    unet.load_state_dict(average.state_dict())
    return curve


class _Average:
    """The moving average of weights."""

    def __init__(self, values: dict[str, Tensor]) -> None:
        self._values = values

    def take(self, weights: dict[str, Tensor], step: int) -> None:
        kept = min(AVERAGE, (1 + step) / (10 + step))
        floating = [n for n, value in self._values.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self._values[n] for n in floating], [weights[n] for n in floating], 1 - kept
        )

    def state_dict(self) -> dict[str, Tensor]:
        return self._values

    def load_state_dict(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self._values[name].copy_(value)


def _batch(
    drawings: Sequence[Drawings], step: int, batch: int, seed: int
) -> tuple[Tensor, list[str]]:
    """Latents [batch, 4, h, w] of one shape, the more drawings the likelier, and captions."""
    rng = random.Random(f"unet {seed} {step}")
    chosen = rng.choices(drawings, [len(group.tags) for group in drawings])[0]
    rows = rng.sample(range(len(chosen.tags)), min(batch, len(chosen.tags)))
    return chosen.latents[rows], [caption(chosen.tags[row], rng) for row in rows]


def caption(tags: Sequence[str], rng: random.Random) -> str:
    """Some of `tags`, shuffled: none, a few, or each with a chance that is drawn first."""
    lot = rng.random()
    if lot < EMPTY:
        return ""
    if lot < EMPTY + FEW:
        return ", ".join(rng.sample(tags, min(len(tags), rng.randint(1, MOST_FEW))))
    share = rng.uniform(0.2, 1.0)
    kept = [tag for tag in tags if rng.random() < share]
    rng.shuffle(kept)
    return ", ".join(kept)


@dataclass(frozen=True)
class _Part:
    """Some rows of a batch: clean latents, noise, timesteps, and the captions' tokens."""

    latents: Tensor
    noise: Tensor
    t: Tensor
    ids: Tensor

    def to(self, device: torch.device) -> "_Part":
        return _Part(*(value.to(device) for value in vars(self).values()))


def _parts(batch: tuple[Tensor, list[str]], tokenizer: Any, seed: int, step: int) -> list[_Part]:
    latents, captions = batch
    count = len(latents)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    # one timestep from each part of the range: the loss of a batch varies less than by chance
    spread = torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
    t = (spread / count * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)
    noise = torch.randn(latents.shape, generator=generator)
    ids = tokenizer(
        captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    ).input_ids
    columns = (value.chunk(PARTS) for value in (latents, noise, t, ids))
    return [_Part(*values) for values in zip(*columns, strict=True)]


def _loss(networks: Networks, abar: Tensor, part: _Part) -> Tensor:
    device = networks.unet.device
    here = part.to(device)
    signal = abar.to(device)[here.t].view(-1, 1, 1, 1)
    noisy = signal.sqrt() * here.latents + (1 - signal).sqrt() * here.noise
    with half(device):
        with torch.no_grad():
            context = networks.text_encoder(here.ids).last_hidden_state
        predicted = networks.unet(noisy, here.t, context).sample
    snr = signal.flatten() / (1 - signal.flatten())
    weights = snr.clamp(max=GAMMA) / snr
    errors = (predicted.float() - here.noise).square().mean((1, 2, 3))
    loss: Tensor = (errors * weights).mean()
    return loss
