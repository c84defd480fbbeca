"""Every optimizer and schedule teaches: 64 fixed (latent, noise, timestep) triples of the demo.

The triples are drawings of one whom the demo's model has never seen, at 64 pixels. Each arm takes
its steps over the same triples, a few at a time, and is measured on all of them.
"""

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from prep.demo.model import ASSETS
from prep.demo.portrait import sample
from prep.demo.recipes import CHARACTER, TRIGGER
from schemas.recipes.train import OptimizerSection, TrainRecipe
from schemas.tables import MANIFEST
from train.averaging import Average, for_use
from train.optimizer import Group, make_optimizer, set_rate
from train.schedule import COURSES, rate_factor
from train.setup import Setup, setup
from train.step import losses_at

TRIPLES, AT_ONCE, SIDE = 64, 4, 64
FEW = 12  # steps

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ready(
    tmp_path_factory: pytest.TempPathFactory, add_drawing: Callable[..., dict[str, Any]]
) -> Setup:
    folder = tmp_path_factory.mktemp("triples")
    (folder / "images").mkdir()
    rows = []
    for number in range(16):
        portrait = sample(random.Random(f"triples {number}"), character=CHARACTER)
        rows.append(add_drawing(folder, portrait, SIDE, TRIGGER))
    MANIFEST.write(folder / "manifest.parquet", pa.Table.from_pylist(rows, MANIFEST.schema))
    recipe = TrainRecipe.model_validate(
        {
            "model": {"path": ASSETS.as_posix(), "clip_skip": 1},
            "latents": {"resolution": SIDE, "min": SIDE, "max": SIDE, "step": 32},
            "adapter": {"dim": 8, "alpha": 8, "blocks": "OUT03-11"},
            "steps": {"total": FEW},
            "caption": {"tokens": 75, "shuffle": False},  # so that each is encoded once
        }
    )
    return setup(recipe, folder, resume=False, overwrite=False, device="cpu")


@pytest.fixture(scope="module")
def triples(ready: Setup) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(7)
    rows = np.arange(TRIPLES) % 16
    x0 = ready.store.read(rows) * ready.vae.config.scaling_factor
    captions = [ready.data.caption(ready.tokens, int(row), 75) for row in rows]
    return {
        "x0": x0,
        "noise": torch.from_numpy(rng.standard_normal(x0.shape, np.float32)),
        "timesteps": torch.from_numpy(rng.permutation(TRIPLES) * 15 + 20),
        "ids": ready.tokens.stacked(captions),
        "weights": torch.ones(TRIPLES),
        "sizes": ready.sizes[0, rows],
    }


@pytest.fixture(scope="module")
def untaught(ready: Setup, triples: dict[str, torch.Tensor]) -> float:
    """The loss of the base model."""
    return mean_loss(ready, triples)


def mean_loss(ready: Setup, triples: dict[str, torch.Tensor]) -> float:
    with torch.no_grad():
        return float(losses_at(ready, **triples).mean())


def taught(
    ready: Setup,
    triples: dict[str, torch.Tensor],
    section: OptimizerSection,
    steps: int,
    at_once: int = AT_ONCE,
) -> float:
    """Train on the triples; return the loss on all of them, and put the adapter back."""
    weights = list(ready.adapter.parameters())
    optimizer, average = make_optimizer(section, [Group(weights)]), Average(weights, section.ema)
    start = copy.deepcopy([weight.detach() for weight in weights])
    for step in range(steps):
        place = step * at_once % len(triples["x0"])
        part = {name: column[place : place + at_once] for name, column in triples.items()}
        losses_at(ready, **part).mean().backward()
        set_rate(optimizer, rate_factor(step, steps, section))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(step)
    with for_use(optimizer, average):
        after = mean_loss(ready, triples)
    with torch.no_grad():
        for weight, first in zip(weights, start, strict=True):
            weight.copy_(first)
    return after


RATES = {
    "AdamW": 3e-3,
    "AdamW8bit": 3e-3,
    "Lion": 1e-3,
    "Lion8bit": 1e-3,
    "Adafactor": 3e-3,
    "ScheduleFreeAdamW": 1e-2,
}


@pytest.mark.parametrize("name", RATES)
def test_few_steps_lower_the_loss_by_a_twentieth(
    ready: Setup, triples: dict[str, torch.Tensor], untaught: float, name: str
) -> None:
    section = OptimizerSection(name=name, lr=RATES[name], schedule="constant")
    after = taught(ready, triples, section, FEW)
    assert after < 0.95 * untaught


# those that find their rate, which begins near 0: what they are given, and steps of one triple each
SELF_PACED: dict[str, tuple[dict[str, Any], int]] = {
    "DAdaptLion": ({"d0": 1e-5}, 200),
    "DAdaptAdam": ({"betas": [0.9, 0.99], "d0": 1e-4}, 80),
    "Prodigy": ({}, 100),
}


@pytest.mark.parametrize("name", SELF_PACED)
def test_more_steps_do_where_the_rate_is_found(
    ready: Setup, triples: dict[str, torch.Tensor], untaught: float, name: str
) -> None:
    args, steps = SELF_PACED[name]
    section = OptimizerSection(name=name, lr=1.0, schedule="cosine", args=args)
    after = taught(ready, triples, section, steps, at_once=1)
    assert after < 0.95 * untaught


@pytest.mark.parametrize("schedule", sorted(COURSES.keys() - {"constant"}))
def test_every_schedule_teaches(
    ready: Setup, triples: dict[str, torch.Tensor], untaught: float, schedule: str
) -> None:
    section = OptimizerSection(lr=5e-3, schedule=schedule, warmup=2, cycles=2)  # type: ignore[arg-type]
    after = taught(ready, triples, section, FEW)
    assert after < 0.95 * untaught


@pytest.mark.parametrize("name", [*RATES, *SELF_PACED])
def test_at_rate_0_the_loss_stays_to_the_bit(
    ready: Setup, triples: dict[str, torch.Tensor], name: str
) -> None:
    section = OptimizerSection(name=name, lr=0.0, schedule="constant", args={"weight_decay": 0.1})
    few = {key: column[:AT_ONCE] for key, column in triples.items()}
    assert taught(ready, few, section, 2) == mean_loss(ready, few)


@pytest.mark.parametrize(
    "loss",
    [
        {"kind": "huber"},
        {"kind": "smooth_l1", "huber": {"schedule": "exponential"}},
        {"min_snr": 5.0},
        {"debiased": True},
    ],
)
def test_every_loss_can_be_lowered(
    ready: Setup, triples: dict[str, torch.Tensor], loss: dict[str, Any]
) -> None:
    values = ready.recipe.model_dump(by_alias=True) | {"loss": loss}
    other = replace(ready, recipe=TrainRecipe.model_validate(values))
    untaught = mean_loss(other, triples)  # in this loss
    after = taught(other, triples, OptimizerSection(lr=3e-3, schedule="constant"), 20)
    assert after < 0.95 * untaught


def test_an_average_of_the_weights_has_learnt_too(
    ready: Setup, triples: dict[str, torch.Tensor], untaught: float
) -> None:
    section = OptimizerSection(lr=5e-3, schedule="constant", ema=0.9)
    after = taught(ready, triples, section, 30)
    assert after < 0.95 * untaught
