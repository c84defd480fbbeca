"""The loss on held-out images: fixed noise and timesteps, no image that is trained on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DDPMScheduler

from schemas.recipes.train import TrainRecipe
from train.batches import NOISE, stream
from train.data import read_data
from train.setup import Setup, setup
from train.validation import SEED, measured_rows, validate

Make = Callable[..., TrainRecipe]


def ready(recipe: TrainRecipe, dataset: Path) -> Setup:
    return setup(recipe, dataset, resume=False, overwrite=False, device="cpu")


def test_it_is_the_same_for_every_seed_and_batch_size(dataset: Path, recipe: Make) -> None:
    section = {"share": 0.6, "timesteps": [100, 500, 900]}
    found = [
        validate(ready(recipe(seed=seed, validate=section, steps={"batch": batch}), dataset))
        for seed, batch in ((1, 1), (2, 2), (3, 4))
    ]
    first, *others = found
    assert first is not None
    assert list(first.by_timestep) == [100, 500, 900]
    for other in others:
        assert other is not None
        assert other.by_timestep == pytest.approx(first.by_timestep, rel=1e-5)
    assert first.loss == pytest.approx(np.mean(list(first.by_timestep.values())))
    assert validate(ready(recipe(), dataset)) is None


def test_it_equals_a_plain_computation(model: Path, dataset: Path, recipe: Make) -> None:
    run = ready(recipe(validate={"share": 0.6, "timesteps": [250]}), dataset)
    scheduler = DDPMScheduler.from_pretrained(model / "scheduler")
    losses = []
    for row in run.validation.tolist():
        md5 = run.data.table.column("md5")[row].as_py()
        x0 = run.store.read(np.array([row])) * run.vae.config.scaling_factor
        drawn = stream(SEED, NOISE, int(md5[:16], 16), 250).standard_normal(x0.shape, np.float32)
        noise, t = torch.from_numpy(drawn), torch.tensor([250])
        text = run.data.table.column("caption")[row].as_py()
        ids = run.tokens.stacked([run.tokens.prompt(text)])[0]
        with torch.no_grad():
            hidden = run.text_encoders[0](ids).last_hidden_state
            predicted = run.unet(scheduler.add_noise(x0, noise, t), t, hidden).sample
        losses.append(float((predicted - noise).square().mean()))
    found = validate(run)
    assert found is not None
    assert len(losses) > 1
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_no_more_images_than_asked_are_measured_the_first_by_md5(
    dataset: Path, recipe: Make
) -> None:
    run = ready(recipe(validate={"share": 0.6, "images": 2}), dataset)
    assert len(run.validation) > 2
    md5s = run.data.table.column("md5").to_numpy(zero_copy_only=False)
    assert sorted(md5s[measured_rows(run)]) == sorted(md5s[run.validation])[:2]
    fewer = replace(run, validation=np.sort(measured_rows(run)))
    assert validate(fewer) == validate(run)


def test_duplicates_of_a_held_out_image_are_held_out(
    dataset: Path, recipe: Make, write_manifest: Callable[..., None]
) -> None:
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    rows[0] |= {"split": "validation", "group": "one picture"}
    rows[3] |= {"group": "one picture"}
    write_manifest(dataset, rows)
    data = read_data(recipe(), dataset / "manifest.parquet")
    held = set(data.table.column("md5").filter(data.validation).to_pylist())
    assert held == {rows[0]["md5"], rows[3]["md5"]}


def test_a_share_holds_out_whole_groups_and_no_regularization_images(
    dataset: Path, recipe: Make, write_manifest: Callable[..., None]
) -> None:
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    many = [
        row | {"md5": f"{number:032x}", "group": f"group {number // 3}", "is_reg": number % 7 == 0}
        for number in range(600)
        for row in rows[:1]
    ]
    write_manifest(dataset, many)
    data = read_data(recipe(validate={"share": 0.2}), dataset / "manifest.parquet")
    is_reg = data.table.column("is_reg").to_numpy()
    groups = data.table.column("group").to_numpy(zero_copy_only=False)
    assert not (data.validation & is_reg).any()
    held, trained = set(groups[data.validation]), set(groups[~data.validation & ~is_reg])
    assert not held & trained
    assert 0.1 < len(held) / 200 < 0.3
