"""`train evaluate`: a run draws, a tagger reads; the figures, the files, what stands against it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from prep.demo.recipes import TAGGER
from prep.demo.vocabulary import VOCABULARY
from schemas.command import run as run_command
from schemas.errors import DatasetError, UsageError
from schemas.recipes.train import TrainRecipe
from schemas.tables import MANIFEST
from schemas.tags import canonical
from train import train
from train.cli import app
from train.evaluate import evaluate

Make = Callable[..., TrainRecipe]
FEW = {"pictures": 1, "steps": 1, "device": "cpu"}


def spelt(tag: dict[str, str]) -> str:
    return canonical(tag["tag"])


@pytest.fixture(scope="module")
def trained(drawings: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps that learns much too fast, with one earlier adapter."""
    root = shutil.copytree(drawings, tmp_path_factory.mktemp("trained") / "set")
    recipe = TrainRecipe.model_validate(
        {
            "model": {"path": str(model), "clip_skip": 1},
            "latents": {"resolution": 64, "min": 32, "max": 128, "step": 32},
            "adapter": {"dim": 4, "alpha": 4},
            "optimizer": {"lr": 0.05, "schedule": "constant"},
            "steps": {"total": 3, "batch": 2},
            "save": {"every": 2, "precision": "fp32"},
            "sample": {"every": 0, "steps": 2, "size": [64, 64], "guidance": 3.0},
        }
    )
    return train(recipe, root, device="cpu").folder


def test_base_and_adapter_are_read_and_everything_is_kept(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(trained), "--pictures", "2", "--device", "cpu"]
    assert run_command(app, [*words, "--json", "--checkpoints"]) == 0
    out, err = capsys.readouterr()
    found: dict[str, Any] = json.loads(out)
    assert found == json.loads((trained / "evaluate.json").read_text(encoding="utf-8"))
    figures = {"recall", "signature", "unasked"}
    for name in ("base", "adapter", "real", "shuffled"):
        assert set(found[name]) == figures
        assert all(isinstance(found[name][figure], float) for figure in figures)
    assert found["ceiling"] == found["real"]["recall"] > 0.9  # drawings are read well
    assert found["real"]["signature"] > 0.9
    assert found["floor"] == found["shuffled"]["recall"]
    assert found["base"]["recall"] < 0.3  # a random model draws nothing
    assert [one["step"] for one in found["checkpoints"]] == [2, 3]
    assert found["checkpoints"][-1] == {"step": 3, **found["adapter"]}
    assert (found["steps"], found["size"], found["seeds"]) == (2, [64, 64], [1, 2])
    assert found["real_pictures"] == 48
    alone, *others = found["prompts"]
    expected = {"prompt": "akari", "asked": [], "trigger": True, "base": None, "adapter": None}
    assert alone == {**expected, "ceiling": None}
    assert [one["trigger"] for one in others] == [True] * 3 + [False] * 16
    assert all(one["asked"] and 0 <= one["base"] <= 1 for one in others)
    asked = {tag for one in others[3:] for tag in one["asked"]}
    assert {one["tag"] for one in found["tags"]} == asked
    assert not asked & {"1girl", "solo"}
    assert found["grids"] == ["base.png", "step-00000002.png", "step-00000003.png"]
    for grid in found["grids"]:
        folder = trained / "evaluate" / grid.removesuffix(".png")
        assert len(list(folder.glob("*.png"))) == 20 * 2
        with Image.open(trained / "evaluate" / grid) as picture:
            assert picture.height > 20 * 64
    with Image.open(trained / "evaluate/base/05-seed2.png") as picture:
        assert picture.size == (64, 64)
        assert picture.text["parameters"].startswith(others[3]["prompt"] + "\nSteps: 2, ")
    assert "evaluate: 120/120 pictures" in err
    assert "labels, 160 px, on the CPU" in err


def test_the_table_is_for_people_and_the_same_again_is_the_same(
    trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("hat\nsmile, azure sky of nobody\nqzx\nakari, smile\n", encoding="utf-8")
    words = ["evaluate", str(trained), "--device", "cpu", "--pictures", "1", "--steps", "1"]
    words += ["--prompts", str(file), "--tagger", str(TAGGER), "--signature", "red hair, hat"]
    words += ["--seed", "7", "--guidance", "1", "--size", "64", "96"]
    assert run_command(app, words) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["base", "adapter", "real", "shuffled"]
    assert lines[1].startswith("tags asked for that are read")
    assert "signature: hat, red_hair" in lines
    assert lines[-2:] == [
        str(trained / f"evaluate/{name}.png") for name in ("base", "step-00000003")
    ]
    assert 'left out: "qzx" asks for no tag that the tagger knows' in err
    first = json.loads((trained / "evaluate.json").read_text(encoding="utf-8"))
    assert [one["prompt"] for one in first["prompts"]] == [
        *("akari", "hat", "smile, azure sky of nobody", "akari, smile")
    ]
    assert [one["asked"] for one in first["prompts"]] == [[], ["hat"], ["smile"], ["smile"]]
    assert {path.name for path in (trained / "evaluate/base").iterdir()} == {
        f"{number:02}-seed7.png" for number in (1, 2, 3, 4)
    }
    with Image.open(trained / "evaluate/base/02-seed7.png") as picture:
        assert picture.size == (64, 96)
    assert run_command(app, [*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first


def test_an_adapter_that_has_learnt_nothing_reads_as_the_base(
    drawings: Path, recipe: Make, tmp_path: Path
) -> None:
    root = shutil.copytree(drawings, tmp_path / "set")
    asked = recipe(steps={"total": 1}, optimizer={"lr": 0.0}, latents={"resolution": 64})
    found = evaluate(train(asked, root, device="cpu").folder, **FEW)
    assert found.adapter == found.base
    assert all(one.base == one.adapter for one in found.prompts)


def test_without_a_trigger_only_the_prior_is_measured(
    drawings: Path, recipe: Make, tmp_path: Path
) -> None:
    root = shutil.copytree(drawings, tmp_path / "set")
    rows = MANIFEST.read(root / "manifest.parquet").to_pylist()
    for row in rows:
        row["tags"] = [tag for tag in row["tags"] if tag["category"] != "trigger"]
    MANIFEST.write(root / "manifest.parquet", pa.Table.from_pylist(rows, MANIFEST.schema))
    asked = recipe(steps={"total": 1}, latents={"resolution": 64})
    found = evaluate(train(asked, root, device="cpu").folder, **FEW)
    assert found.base.signature is found.adapter.signature is found.real.signature is None
    assert found.signature_tags == ()
    assert not any(prompt.trigger for prompt in found.prompts)
    assert found.base.recall is not None


def test_what_cannot_be_measured_is_said_before_anything_is_drawn(
    trained: Path, tmp_path: Path
) -> None:
    manifest = trained.parent.parent / "manifest.parquet"
    file = tmp_path / "prompts.txt"
    file.write_text("qzx, akari\n", encoding="utf-8")
    before = sorted(trained.rglob("*"))
    unknown = (
        f"the tagger tagger knows none of the tags that {file} asks for: ask for others, or read"
        " with another tagger"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(unknown)}$"):
        evaluate(trained, prompts=file, **FEW)
    shown = {tag for row in MANIFEST.read(manifest)["tags"].to_pylist() for tag in map(spelt, row)}
    unseen = sorted({word.name for word in VOCABULARY if word.category == "general"} - shown)[:4]
    file.write_text(", ".join(unseen), encoding="utf-8")
    nowhere = (
        f"no picture of {manifest} shows a tag that {file} asks for ({', '.join(unseen[:3])}):"
        " nothing says how well the tagger reads them"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(nowhere)}$"):
        evaluate(trained, prompts=file, **FEW)
    with pytest.raises(UsageError, match=r"^--size 100 64: both must be multiples of 8$"):
        evaluate(trained, size=(100, 64), **FEW)
    assert sorted(trained.rglob("*")) == before


def test_a_dataset_of_too_few_tags_asks_for_prompts(dataset: Path, recipe: Make) -> None:
    run = train(recipe(steps={"total": 1}), dataset, device="cpu").folder
    message = (
        f"no tag that the tagger tagger knows stands in 5 captions of {dataset}/manifest.parquet,"
        " and not in nearly all: give prompts of your own in --prompts"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        evaluate(run, tagger=str(TAGGER), **FEW)


def test_errors_are_one_sentence_and_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(app, ["evaluate", str(tmp_path)]) == 2
    assert capsys.readouterr() == (
        "",
        f"train: {tmp_path} is no run: it has no recipe.toml; name the folder that `train` made,"
        " such as runs/first\n",
    )
