"""Training from a manifest to an adapter: what a run leaves."""

import json
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file

from schemas.files import md5_of
from schemas.recipes.train import TrainRecipe
from schemas.tables import MANIFEST
from train import train
from train.batches import VARIANT, Batches, stream
from train.preflight import plan

Make = Callable[..., TrainRecipe]


def test_a_run_leaves_adapter_recipe_log_samples_and_exposures(dataset: Path, recipe: Make) -> None:
    asked = recipe(
        sample={"every": 2, "prompts": ["azusa, smile", "1girl \\(a\\), hat"]},
        save={"every": 2, "keep": 1},
        steps={"total": 5},
    )
    result = train(asked, dataset, device="cpu")
    run = dataset / "runs/first"
    assert result.adapter == run / "first.safetensors"
    assert len(load_file(result.adapter)) == 3 * (192 + 12)
    resolved = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    assert TrainRecipe.model_validate(resolved) == asked
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5]
    assert all(set(entry) == {"step", "loss", "lr", "seconds", "images"} for entry in log)
    assert log[-1]["images"] == result.images
    grids = sorted(path.name for path in (run / "samples").glob("*.png"))
    assert grids == ["00000000.png", "00000002.png", "00000004.png", "00000005.png"]
    assert result.grid == run / "samples/00000005.png"
    with Image.open(run / "samples/00000005/02-seed2.png") as drawn:
        assert drawn.size == (64, 64)
        assert drawn.text["parameters"] == (
            "1girl \\(a\\), hat\nSteps: 2, Sampler: DDIM, CFG scale: 7.0, Seed: 2, Size: 64x64,"
            f" Model: {Path(asked.model.path).stem}, Clip skip: 1"
        )
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["first-00000004.safetensors"]
    exposures = pq.read_table(run / "exposures.parquet")
    assert exposures.column_names == [
        *("md5", "set", "seen", "tags_cut", "tags_dropped", "captions_dropped"),
        *("mirrored", "recolored", "skipped", "left_out"),
    ]
    assert sum(exposures.column("seen").to_pylist()) == result.images


@pytest.mark.parametrize(
    ("blocks", "modules"), [("unet", 192), ("TE", 12), ("IN04-07,OUT03-06,TE", 84 + 12)]
)
def test_only_the_chosen_blocks_are_trained(
    dataset: Path, recipe: Make, blocks: str, modules: int
) -> None:
    asked = recipe(adapter={"blocks": blocks}, steps={"total": 1})
    tensors = load_file(train(asked, dataset, device="cpu").adapter)
    assert len(tensors) == 3 * modules
    ups = [tensor for name, tensor in tensors.items() if name.endswith("lora_up.weight")]
    assert len([up for up in ups if up.any()]) == len(ups)


def test_epochs_show_every_image_as_often_as_asked(dataset: Path, recipe: Make) -> None:
    asked = recipe(steps={"total": 0, "epochs": 2, "batch": 2, "accumulate": 4})
    result = train(asked, dataset, device="cpu")
    manifest = pq.read_table(dataset / "manifest.parquet")
    seen = pq.read_table(result.folder / "exposures.parquet").column("seen").to_pylist()
    assert seen == [2 * repeats for repeats in manifest.column("repeats").to_pylist()]
    log = [json.loads(line) for line in (result.folder / "log.jsonl").read_text().splitlines()]
    assert len(log) == result.steps
    assert log[-1]["images"] == sum(seen) == result.images


def test_dropped_tags_and_captions_are_counted_of_each_image(dataset: Path, recipe: Make) -> None:
    for number, (options, expected) in enumerate(
        [({"drop_caption": 1.0}, (0, 1)), ({"drop_tag": {"general": 1.0}}, (8, 0))]
    ):
        asked = recipe(out=f"runs/{number}", caption=options, steps={"total": 2})
        table = pq.read_table(train(asked, dataset, device="cpu").folder / "exposures.parquet")
        for line in table.to_pylist():
            found = (line["tags_dropped"], line["captions_dropped"])
            assert found == tuple(line["seen"] * count for count in expected)


def test_exposures_are_counted_over_every_resolution(
    dataset: Path, recipe: Make, write_manifest: Callable[..., None]
) -> None:
    """64x64 images are trained at 64 and, as they are no larger, not at 96 or 128 again."""
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    for row in rows[:2]:
        path = dataset / row["path"]
        with Image.open(path) as opened:
            opened.resize((160, 160)).save(path)
        row |= {"width": 160, "height": 160, "md5": md5_of(path)}
    write_manifest(dataset, rows)
    large = {row["md5"] for row in rows[:2]}
    asked = recipe(
        latents={"resolution": [64, 96, 128], "min": 32, "max": 256, "flip": True},
        adapter={"blocks": "M00"},
        steps={"total": 0, "epochs": 2, "batch": 2},
        caption={"drop_tag": {"general": 1.0}},
    )
    told = plan(asked, dataset, device="cpu", measure=False)
    result = train(asked, dataset, device="cpu")
    table = pq.read_table(result.folder / "exposures.parquet").to_pylist()
    manifest = MANIFEST.read(dataset / "manifest.parquet").to_pylist()
    places = Counter(one.md5 for one in told.images)
    for line, row in zip(table, manifest, strict=True):
        assert line["md5"] == row["md5"]
        assert line["seen"] == 2 * row["repeats"] * places[row["md5"]]
        assert line["tags_dropped"] == 8 * line["seen"]
        assert 0 <= line["mirrored"] <= line["seen"]
    assert {places[md5] for md5 in large} == {3}
    assert {one.bucket for one in told.images if one.md5 in large} == {
        *((64, 64), (96, 96), (128, 128)),
    }
    assert (told.trained, told.left_out, told.problems) == (6, 0, [])
    assert sum(bucket.images for bucket in told.buckets) == len(told.images)
    assert told.images_seen == result.images == sum(line["seen"] for line in table)


def test_exposures_are_exact_with_every_variant(dataset: Path, recipe: Make) -> None:
    asked = recipe(
        latents={"flip": True, "color": True},
        adapter={"blocks": "M00"},
        steps={"total": 0, "epochs": 8, "batch": 3},
        caption={"drop_tag": {"general": 1.0}, "drop_caption": 0.3},
    )
    result = train(asked, dataset, device="cpu")
    manifest = pq.read_table(dataset / "manifest.parquet").to_pylist()
    table = pq.read_table(result.folder / "exposures.parquet").to_pylist()
    assert [line["seen"] for line in table] == [8 * row["repeats"] for row in manifest]
    for line in table:
        assert line["tags_dropped"] == 8 * (line["seen"] - line["captions_dropped"])
        assert line["skipped"] == 0
    total = {key: sum(line[key] for line in table) for key in ("seen", "mirrored", "recolored")}
    expected = {"seen": 96, "mirrored": 0, "recolored": 0}
    for number in range(result.steps):
        batch = Batches(
            *(np.arange(6), np.array([row["repeats"] for row in manifest])),
            *(np.array([row["width"] for row in manifest]), 3, asked.seed),
        )[number]
        for row, copy in zip(batch.places, batch.copies, strict=True):
            drawn = int(stream(asked.seed, VARIANT, number, row, copy).integers(6))
            expected["mirrored"] += drawn >= 3
            expected["recolored"] += drawn % 3 > 0
    assert total == expected
    assert 30 < total["mirrored"] < 66


def test_a_finished_run_says_so_in_result_json(dataset: Path, recipe: Make) -> None:
    result = train(recipe(validate={"share": 0.6}), dataset, device="cpu")
    written = json.loads((result.folder / "result.json").read_text(encoding="utf-8"))
    assert written["adapter"] == str(result.adapter)
    assert written["validation_loss"] == result.validation_loss
    assert result.grid is None
    lines = (result.folder / "log.jsonl").read_text().splitlines()
    measured = [entry for line in lines if "validation_loss" in (entry := json.loads(line))]
    assert [entry["step"] for entry in measured] == [0, 4]
    assert list(measured[0]["validation_by_timestep"]) == ["100", "300", "500", "700", "900"]
