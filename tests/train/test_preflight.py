"""`train --dry-run` tells what a training would do, and leaves nothing behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest

from schemas.command import run
from schemas.recipes.shipped import Shipped, shipped
from schemas.recipes.train import TrainRecipe
from schemas.recipes.write import to_toml
from train import train
from train.adapter_file import read_adapter
from train.cli import app
from train.preflight import plan

Make = Callable[..., TrainRecipe]


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_the_plan_is_what_training_then_does(dataset: Path, recipe: Make) -> None:
    asked = recipe(steps={"total": 3, "batch": 2})
    before = files(dataset)
    told = plan(asked, dataset, device="cpu", measure=False)
    assert files(dataset) == before
    result = train(asked, dataset, device="cpu")
    tensors, _ = read_adapter(result.adapter)
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == told.adapter
    assert (told.steps, told.images_seen) == (result.steps, result.images)
    assert told.problems == []


def test_the_json_plan_is_one_object_and_nothing_is_written(
    dataset: Path, recipe: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = pq.read_table(dataset / "manifest.parquet").column("path").to_pylist()[0]
    (dataset / gone).unlink()
    file = dataset / "train.toml"
    file.write_text(to_toml(recipe()), encoding="utf-8")
    before = files(dataset)
    assert run(app, [str(file), "--dry-run", "--json", "--device", "cpu"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert files(dataset) == before
    assert {"images", "buckets", "steps", "adapter", "problems"} <= told.keys()
    assert told["problems"] == [f"{gone}: missing"]
    sizes = {(one["width"], one["height"]): one for one in told["images"] if any(one["bucket"])}
    wide = sizes[96, 64]
    assert (wide["scaled"], wide["bucket"], wide["crop"]) == ([96, 64], [96, 64], [0, 0, 96, 64])
    assert sum(bucket["images"] for bucket in told["buckets"]) == 5


def test_json_is_for_a_dry_run(
    dataset: Path, recipe: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    file = dataset / "train.toml"
    file.write_text(to_toml(recipe()), encoding="utf-8")
    assert run(app, [str(file), "--json"]) == 2
    assert capsys.readouterr().err == "train: --json prints a plan: give --dry-run with it\n"


def test_what_changes_nothing_or_belies_tags_is_told(
    dataset: Path, recipe: Make, write_manifest: Callable[..., None]
) -> None:
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    rows[0]["tags"].append({"tag": "facing left", "category": "general", "part": "flex"})
    write_manifest(dataset, [row | {"is_reg": False} for row in rows])
    asked = recipe(latents={"flip": True}, loss={"prior": "model"})
    told = plan(asked, dataset, device="cpu", measure=False)
    assert told.problems == [
        "latents.flip mirrors images whose tags say otherwise: facing left (on 1); drop these tags"
        " from the captions, or set flip = false",
        'loss.prior = "model" changes nothing: there are no regularization images',
    ]


@pytest.mark.parametrize("name", get_args(Shipped))
def test_every_shipped_recipe_can_be_trained(
    name: Any, dataset: Path, model: Path, sdxl: Path, write_manifest: Callable[..., None]
) -> None:
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    write_manifest(dataset, [row | {"width": 1024, "height": 1536} for row in rows])
    is_sdxl = name.endswith("sdxl")
    values = shipped(name) | {"model": {"path": str(sdxl if is_sdxl else model)}}
    # no rank may be above a layer's size, and these models' layers are small
    values["adapter"] = {**values["adapter"], "dim": min(values["adapter"]["dim"], 16)}
    asked = TrainRecipe.model_validate(values)
    told = plan(asked, dataset, device="cpu", measure=False)
    assert told.problems == []
    assert told.steps == asked.steps.total
    assert told.modules > 0
    assert all(one.width * one.height <= asked.latents.resolution**2 for one in told.buckets)
