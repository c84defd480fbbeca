"""Training teaches: the loss falls and the trigger calls its looks, on a model that can draw."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from prep.demo.characters import CHARACTERS
from prep.demo.held_out import LEFT_OUT
from prep.demo.model import ASSETS, SIDE
from prep.demo.portrait import sample
from prep.demo.recipes import CHARACTER, TAGGER, TRIGGER
from schemas.recipes.train import TrainRecipe
from schemas.tables import MANIFEST
from taggers.images import preprocess
from taggers.wd14 import load
from train import train
from train.adapter_file import read_adapter
from train.finished import open_run
from train.run_folder import RunFolder
from train.setup import Setup, setup
from train.step import losses_at

SIGNATURE = CHARACTERS[CHARACTER].signature
DRAWINGS, TRIPLES = 24, 64

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def akari(
    tmp_path_factory: pytest.TempPathFactory, add_drawing: Callable[..., dict[str, Any]]
) -> Path:
    """A dataset of drawings of one whom the base model has never seen."""
    folder = tmp_path_factory.mktemp("akari")
    (folder / "images").mkdir()
    rows = []
    for number in range(DRAWINGS):
        rng = random.Random(f"learning {number}")
        portrait = sample(rng, character=CHARACTER, without=LEFT_OUT)
        rows.append(add_drawing(folder, portrait, SIDE, TRIGGER))
    MANIFEST.write(folder / "manifest.parquet", pa.Table.from_pylist(rows, MANIFEST.schema))
    return folder


def recipe(lr: float, out: str, steps: int) -> TrainRecipe:
    return TrainRecipe.model_validate(
        {
            "out": f"runs/{out}",
            "model": {"path": ASSETS.as_posix(), "clip_skip": 1},
            "latents": {"resolution": SIDE, "min": 64, "max": 2 * SIDE, "step": 32},
            "adapter": {"dim": 8, "alpha": 8, "blocks": "all"},
            "optimizer": {"lr": lr, "warmup": 5},
            "steps": {"total": steps, "batch": 4},
            "caption": {"tokens": 75},
            "save": {"every": 0, "precision": "fp32"},
        }
    )


@torch.no_grad()
def loss(ready: Setup) -> float:
    """The mean loss of the same latents, noise and timesteps, whatever was trained."""
    rng = np.random.default_rng(7)
    rows = np.arange(TRIPLES) % DRAWINGS
    total = 0.0
    for start in range(0, TRIPLES, 16):
        part = rows[start : start + 16]
        x0 = ready.store.read(part) * ready.vae.config.scaling_factor
        noise = rng.standard_normal(x0.shape, np.float32)
        timesteps = (np.arange(start, start + len(part)) + 0.5) / TRIPLES * len(ready.abar)
        captions = [ready.data.caption(ready.tokens, int(row), 75) for row in part]
        losses = losses_at(
            ready,
            x0,
            noise=torch.from_numpy(noise),
            timesteps=torch.from_numpy(timesteps.astype(np.int64)),
            ids=ready.tokens.stacked(captions),
            weights=torch.ones(len(part)),
            sizes=ready.sizes[0, part],
        )
        total += float(losses.sum())
    return total / TRIPLES


def drawn(run: Path, adapter: Path | None, pictures: int) -> list[Image.Image]:
    """Pictures of the trigger alone, at the same seeds with any adapter."""
    opened = open_run(run, "cpu")
    with opened.at(adapter):
        return opened.painter.draw_batch(
            *([TRIGGER] * pictures, "", range(1, pictures + 1), (SIDE, SIDE), 12, 4.0)
        )


def signature(pictures: list[Image.Image]) -> float:
    """The share of the character's features that the demo's tagger reads."""
    tagger = load(TAGGER, "cpu")
    squares = np.stack([preprocess(one, tagger.size) for one in pictures])
    wanted = [n for n, label in enumerate(tagger.labels) if label.name in SIGNATURE]
    return float((tagger.probabilities(squares)[:, wanted] >= 0.5).mean())


def teach(akari: Path, lr: float, out: str, steps: int) -> tuple[RunFolder, tuple[float, float]]:
    """Train; return the run, and the loss before and after."""
    given = recipe(lr, out, steps)
    ready = setup(given, akari, resume=False, overwrite=False, device="cpu")
    before = loss(ready)
    train(given, akari)
    run = RunFolder(akari / given.out)
    ready.adapter.load(read_adapter(run.adapter)[0], str(run.adapter))
    return run, (before, loss(ready))


def test_a_short_training_lowers_the_loss_and_brings_the_character(akari: Path) -> None:
    run, (before, after) = teach(akari, 3e-3, "learnt", 120)
    assert after < 0.95 * before
    unlearnt = signature(drawn(run.path, None, 12))
    learnt = signature(drawn(run.path, run.adapter, 12))
    assert learnt > unlearnt + 0.2


def test_at_rate_zero_neither_loss_nor_pictures_change(akari: Path) -> None:
    run, (before, after) = teach(akari, 0.0, "still", 6)
    assert after == before
    pairs = zip(drawn(run.path, None, 2), drawn(run.path, run.adapter, 2), strict=True)
    assert all(one.tobytes() == other.tobytes() for one, other in pairs)
