"""Whose manner a picture is drawn in: what the demo's tagger cannot tell, by plain measurements.

A picture becomes a few dozen numbers (colours, edges, the colour of lines), and a linear classifier
fitted on fresh drawings says how likely each artist is. Fitted on what the model's autoencoder
makes of them as well, so that its blur is nobody's manner.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from prep.demo.drawings import Pixels, drawn
from prep.demo.portrait import Portrait, sample
from prep.demo.train_vae import to_input
from prep.demo.vocabulary import ARTISTS
from schemas.files import writing

Floats = npt.NDArray[np.float32]

BATCH = 32  # drawings through the autoencoder at once
SHARES = (5, 25, 50, 75, 95)  # percentiles
DARK = 0.35  # brightness below which an edge is an outline
HUES = 12


@dataclass(frozen=True)
class StyleProbe:
    """A linear classifier of pictures by artist."""

    mean: Floats  # [features]
    spread: Floats  # [features]
    weight: Floats  # [artists, features]
    bias: Floats  # [artists]

    def probabilities(self, pixels: Pixels) -> Floats:
        """Return how likely each of ARTISTS drew each picture: float32 [n, artists].

        pixels: uint8 [n, height, width, 3], of the size that the probe was fitted at.
        """
        scores = (features(pixels) - self.mean) / self.spread @ self.weight.T + self.bias
        scores -= scores.max(1, keepdims=True)
        odds = np.exp(scores)
        shares: Floats = odds / odds.sum(1, keepdims=True)
        return shares

    def save(self, path: Path) -> None:
        """Write the probe, whole or not at all."""
        with writing(path) as aside, aside.open("wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "StyleProbe":
        """Read a probe that `save` wrote."""
        with np.load(path) as arrays:
            return cls(**arrays)


def fit_probe(
    count: int, side: int, seed: int, vae: Any | None = None, *, decay: float = 1e-3
) -> StyleProbe:
    """Fit a probe on `count` drawings of `side` pixels, all artists as often as each other.

    vae: diffusers' AutoencoderKL; each drawing then counts twice, as it is and given back by it.
    decay: of the weights; the only thing that keeps few drawings from being learnt by heart.
    """
    rows = range(count)
    pixels = drawn(by_artist, seed, rows, side, side)
    artists = [row % len(ARTISTS) for row in rows]
    seen = [features(pixels)]
    if vae is not None:
        seen.append(features(given_back(vae, pixels)))
    x, y = np.concatenate(seen), torch.tensor(artists * len(seen))
    mean, spread = x.mean(0), x.std(0) + 1e-6
    weight, bias = _fitted(torch.from_numpy((x - mean) / spread), y, decay)
    return StyleProbe(mean, spread, weight, bias)


def accuracy(probe: StyleProbe, count: int, side: int, seed: int, vae: Any | None = None) -> float:
    """Return in which part of `count` drawings the likeliest artist is the true one.

    seed: another than that of the fit, so that none of them has been seen.
    """
    pixels = drawn(by_artist, seed, range(count), side, side)
    shown = pixels if vae is None else given_back(vae, pixels)
    found = probe.probabilities(shown).argmax(1)
    return float((found == np.arange(count) % len(ARTISTS)).mean())


def by_artist(seed: int, row: int) -> Portrait:
    """A portrait of anybody, the artists by turns."""
    rng = random.Random(f"style {seed} {row}")
    return sample(rng, artist=ARTISTS[row % len(ARTISTS)])


def features(pixels: Pixels) -> Floats:
    """Measure pictures, uint8 [n, h, w, 3]: float32 [n, features]."""
    return np.stack([_measured(picture) for picture in pixels])


@torch.no_grad()
def given_back(vae: Any, pixels: Pixels) -> Pixels:
    """Return what the autoencoder makes of pictures, uint8 [n, h, w, 3]; sides multiples of 8."""
    parts = []
    for start in range(0, len(pixels), BATCH):
        x = to_input(pixels[start : start + BATCH])
        decoded = vae.decode(vae.encode(x).latent_dist.mean).sample.float()
        levels = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().byte()
        parts.append(levels.permute(0, 2, 3, 1).numpy())
    found: Pixels = np.concatenate(parts)
    return found


def _measured(picture: Pixels) -> Floats:
    """One picture's numbers."""
    rgb: Floats = picture.astype(np.float32) / np.float32(255)
    light, low = rgb.max(2), rgb.min(2)
    chroma: Floats = light - low
    vividness = chroma / np.maximum(light, 1e-3)
    grey = rgb.mean(2)
    down, right = np.diff(grey, axis=0)[:, :-1], np.diff(grey, axis=1)[:-1]
    edge = np.hypot(down, right)
    inner = grey[:-1, :-1]
    colours: Floats = rgb[:-1, :-1].reshape(-1, 3)
    strong = edge > np.percentile(edge, 90)
    outline = strong & (inner < DARK)
    bend = np.abs(np.diff(grey, 2, axis=0))[:, 1:-1] + np.abs(np.diff(grey, 2, axis=1))[1:-1]
    parts = [
        *(np.percentile(channel, SHARES) for channel in (grey, vividness, chroma, edge, bend)),
        rgb.reshape(-1, 3).mean(0),
        rgb.reshape(-1, 3).std(0),
        _mean(colours, strong),
        _mean(colours, outline),
        _mean(colours, inner <= np.percentile(inner, 5)),
        _hues(rgb, chroma),
        [outline.mean(), (edge < 0.004).mean(), (edge < 0.02).mean(), edge.mean(), bend.mean()],
    ]
    return np.concatenate(parts).astype(np.float32)


def _mean(colours: Floats, where: npt.NDArray[np.bool_]) -> Floats:
    """The mean colour of some pixels; of none, grey. colours: [pixels, 3]."""
    chosen = colours[where.ravel()]
    return chosen.mean(0) if len(chosen) else np.full(3, 0.5, np.float32)


def _hues(rgb: Floats, chroma: Floats) -> Floats:
    """How much of the picture is of each hue, the vivid pixels counting for more: [HUES]."""
    red, green, blue = np.moveaxis(rgb, 2, 0)
    angle = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)
    place = ((angle + np.pi) / (2 * np.pi) * HUES).astype(np.int64) % HUES
    found = np.bincount(place.ravel(), chroma.ravel(), HUES) / chroma.size
    return found.astype(np.float32)


def _fitted(x: torch.Tensor, y: torch.Tensor, decay: float) -> tuple[Floats, Floats]:
    """Weights and biases of multinomial logistic regression with decay, by L-BFGS."""
    weight = torch.zeros(len(ARTISTS), x.shape[1], requires_grad=True)
    bias = torch.zeros(len(ARTISTS), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        value = functional.cross_entropy(x @ weight.T + bias, y) + decay * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach().numpy(), bias.detach().numpy()
