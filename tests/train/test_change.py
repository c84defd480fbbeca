"""How far a step moves each block's weights."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from schemas.recipes.train import TrainRecipe
from train import train
from train.blocks import SD15
from train.captions import COUNTED
from train.change import EVERY, change_by_block, is_measured, shown, weights_of
from train.setup import setup
from train.step import train_step

Make = Callable[..., TrainRecipe]


def test_a_change_is_that_of_the_blocks_factors(dataset: Path, recipe: Make) -> None:
    asked = recipe(adapter={"blocks": "IN04,M00,TE"})
    run = setup(asked, dataset, resume=False, overwrite=False, device="cpu")
    before = weights_of(run.adapter)
    train_step(run, 0, np.zeros((6, len(COUNTED)), dtype=np.int64))
    change = change_by_block(run.adapter, before)
    assert list(change) == ["TE", "IN04", "M00"]
    now = [weight.detach().numpy() for weight in run.adapter.parameters()]
    of_block = {
        "TE": [n.startswith("layers.lora_te_") for n, _ in run.adapter.named_parameters()],
        "M00": ["_mid_block_" in n for n, _ in run.adapter.named_parameters()],
    }
    for block, held in of_block.items():
        moved = sum(
            float(((new - old.numpy()) ** 2).sum())
            for new, old, own in zip(now, before, held, strict=True)
            if own
        )
        size = sum(float((new**2).sum()) for new, own in zip(now, held, strict=True) if own)
        assert change[block] == pytest.approx((moved / size) ** 0.5, rel=1e-4)
        assert change[block] > 0


def test_the_log_and_tensorboard_have_every_trained_block_now_and_then(
    dataset: Path, recipe: Make
) -> None:
    result = train(recipe(steps={"total": EVERY + 1, "batch": 1}), dataset, device="cpu")
    lines = (result.folder / "log.jsonl").read_text().splitlines()
    measured = [entry for line in lines if "change" in (entry := json.loads(line))]
    assert [entry["step"] for entry in measured] == [EVERY]
    change = measured[0]["change"]
    trained = [block for block in SD15.blocks if block in {"TE", *SD15.attention}]
    assert list(change) == trained
    assert all(moved > 0 for moved in change.values())
    curves = EventAccumulator(str(result.folder / "tensorboard")).Reload()
    for block, moved in change.items():
        (point,) = curves.Scalars(f"change/{block}")
        assert (point.step, point.value) == (EVERY, pytest.approx(moved))


def test_which_steps_are_measured_follows_from_their_number() -> None:
    assert [step + 1 for step in range(2 * EVERY) if is_measured(step)] == [EVERY, 2 * EVERY]
    assert shown({"TE": 1e-3, "IN04": 2e-4, "M00": 5e-2}) == "change M00 5.0e-02, IN04 2.0e-04"
    assert shown({"M00": 5e-2}) == "change M00 5.0e-02"
