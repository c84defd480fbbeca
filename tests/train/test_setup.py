"""What stands against a run is said before it begins, in one sentence; nothing is left behind."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from schemas.errors import DataError, DatasetError, DeviceError, KirokuError, RecipeError
from schemas.recipes.train import TrainRecipe
from train import train
from train.device import find_device

Make = Callable[..., TrainRecipe]

ARGUMENTS = (
    "betas, eps, weight_decay, amsgrad, maximize, foreach, capturable, differentiable, fused"
)


def refused(kind: type[KirokuError], recipe: TrainRecipe, dataset: Path) -> str:
    before = sorted(path for path in dataset.rglob("*") if "latents" not in path.parts)
    with pytest.raises(kind) as caught:
        train(recipe, dataset, device="cpu")
    assert before == sorted(path for path in dataset.rglob("*") if "latents" not in path.parts)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sample": {"size": [100, 64]}},
            "sample.size is [100, 64]: both must be multiples of 8",
        ),
        (
            {"sample": {"prompts": ["hat"], "seeds": []}},
            "sample.seeds is empty: give a seed, or leave sample.prompts empty too",
        ),
        ({"sample": {"seeds": [-1]}}, "sample.seeds holds -1: seeds are 0 or more"),
        (
            {"model": {"clip_skip": 5}},
            "model.clip_skip is 5, but the text encoder has only 2 layers",
        ),
        (
            {"optimizer": {"args": {"d0": 1e-6}}},
            f'optimizer.args: AdamW takes no "d0"; it takes {ARGUMENTS}',
        ),
        (
            {"optimizer": {"args": {"lr": 1.0}}},
            'optimizer.args: "lr" has its own place, optimizer.lr',
        ),
        (
            {"optimizer": {"args": {"eps": -1.0}}},
            "optimizer.args: AdamW refuses them: Invalid epsilon value: -1.0",
        ),
    ],
)
def test_recipes_that_cannot_work(
    dataset: Path, recipe: Make, changes: dict[str, Any], message: str
) -> None:
    assert refused(RecipeError, recipe(**changes), dataset) == message


def test_data_that_is_not_there(dataset: Path, recipe: Make) -> None:
    message = (
        f"data {dataset / 'no.parquet'} is missing: `prep manifest` writes it, or name another in"
        " the recipe"
    )
    assert refused(DatasetError, recipe(data="no.parquet"), dataset) == message


def test_data_without_images(
    dataset: Path, recipe: Make, write_manifest: Callable[..., None]
) -> None:
    path = dataset / "manifest.parquet"
    rows = pq.read_table(path).to_pylist()
    write_manifest(dataset, [])
    message = f"data {path} holds no image: look at `prep status` for what dropped them"
    assert refused(DatasetError, recipe(), dataset) == message
    write_manifest(dataset, [row | {"split": "validation"} for row in rows])
    message = (
        f"data {path} holds no image to train on: all 6 are held out for validation or for"
        " regularization"
    )
    assert refused(DatasetError, recipe(), dataset) == message


def test_a_part_that_no_caption_has(
    dataset: Path, recipe: Make, write_manifest: Callable[..., None]
) -> None:
    path = dataset / "manifest.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0]["tags"][0]["part"] = "middle"
    write_manifest(dataset, rows)
    message = f'data {path}: a tag stands in the part "middle"; it can be head, flex or tail'
    assert refused(DataError, recipe(), dataset) == message


def test_images_that_are_all_gone(dataset: Path, recipe: Make) -> None:
    paths = pq.read_table(dataset / "manifest.parquet").column("path").to_pylist()
    for path in paths:
        (dataset / path).unlink()
    said = refused(DataError, recipe(), dataset)
    assert said.startswith(f"no image has a latent to train on: {paths[0]}: ")


def test_an_image_that_is_gone_is_left_out_and_told(dataset: Path, recipe: Make) -> None:
    gone = pq.read_table(dataset / "manifest.parquet").column("path").to_pylist()[0]
    (dataset / gone).unlink()
    result = train(recipe(steps={"total": 0, "epochs": 2}), dataset, device="cpu")
    rows = pq.read_table(result.folder / "exposures.parquet").to_pylist()
    assert [row["seen"] for row in rows if row["left_out"]] == [0]
    repeats = pq.read_table(dataset / "manifest.parquet").column("repeats").to_pylist()
    assert [row["seen"] for row in rows] == [0, *(2 * count for count in repeats[1:])]


def test_cut_tags_and_held_out_images_are_counted(
    dataset: Path, recipe: Make, write_manifest: Callable[..., None]
) -> None:
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    long = [{"tag": f"qzx{n}", "category": "general", "part": "flex"} for n in range(40)]
    rows[0] |= {"tags": long, "repeats": 1}
    rows[1] |= {"split": "validation"}
    write_manifest(dataset, rows)
    asked = recipe(steps={"total": 0, "epochs": 1}, caption={"tokens": 75})
    result = train(asked, dataset, device="cpu")
    exposures = pq.read_table(result.folder / "exposures.parquet").to_pylist()
    assert exposures[0]["tags_cut"] > 0
    assert exposures[1]["left_out"] == "held out for validation"
    assert exposures[1]["seen"] == 0
    assert result.validation_loss is not None


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_not_there_is_never_replaced_in_silence() -> None:
    built = torch.version.cuda or "none"
    message = (
        f"there is no CUDA device for torch {torch.__version__} (built for CUDA: {built}): install"
        " a CUDA build of torch (https://pytorch.org/get-started/locally), or use --device"
        " cpu"
    )
    with pytest.raises(DeviceError, match=f"^{re.escape(message)}$"):
        find_device("cuda")
