"""A run opened again: its checkpoints, where its recipe's paths start, what it draws."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from schemas.errors import DatasetError, ModelError
from schemas.recipes.train import TrainRecipe
from train import train
from train.adapter_file import read_adapter, write_adapter
from train.finished import find_root, open_run

Make = Callable[..., TrainRecipe]


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, make_dataset: Callable[[Path], Path], recipe: Make
) -> Path:
    """A dataset with a run, to be copied."""
    folder = make_dataset(tmp_path_factory.mktemp("trained") / "data")
    asked = recipe(
        steps={"total": 5},
        optimizer={"lr": 0.05},
        save={"every": 2, "keep": 2, "precision": "fp32"},
        sample={"prompts": ["azusa, smile"], "every": 2},
    )
    train(asked, folder, device="cpu")
    return folder


@pytest.fixture
def dataset(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "data"))


@pytest.fixture
def run(dataset: Path) -> Path:
    return dataset / "runs/first"


def test_every_kept_adapter_is_listed_by_its_step_and_the_finished_one_is_last(run: Path) -> None:
    opened = open_run(run, "cpu")
    assert opened.checkpoints == (
        (2, run / "checkpoints/first-00000002.safetensors"),
        (4, run / "checkpoints/first-00000004.safetensors"),
        (5, run / "first.safetensors"),
    )
    assert opened.root == run.parent.parent
    assert opened.recipe.steps.total == 5


def test_pictures_are_those_that_the_run_itself_drew(run: Path) -> None:
    opened = open_run(run, "cpu")
    section = opened.recipe.sample

    def drawn(checkpoint: Path | None, strength: float = 1.0) -> np.ndarray:
        with opened.at(checkpoint, strength):
            options = (section.negative, 2, section.size, section.steps, section.guidance)
            return np.asarray(opened.painter.draw("azusa, smile", *options)).astype(int)

    def sampled(step: int) -> np.ndarray:
        with Image.open(run / f"samples/{step:08}/01-seed2.png") as picture:
            return np.asarray(picture).astype(int)

    base = drawn(None)
    assert np.abs(base - sampled(0)).max() <= 1
    steps = dict(opened.checkpoints)
    for step in (2, 4, 5):
        trained = drawn(steps[step])
        assert np.abs(trained - sampled(step)).max() <= 1
        assert np.abs(trained - base).max() > 1
    assert np.array_equal(drawn(steps[5], 0), base)
    assert not np.array_equal(drawn(steps[5], 0.5), drawn(steps[5]))


def test_blocks_may_stand_in_each_other(run: Path) -> None:
    opened = open_run(run, "cpu")
    (_, first), *_, (_, last) = opened.checkpoints
    name = next(name for name in opened.adapter.tensors() if name.endswith("lora_up.weight"))
    with opened.at(last):
        with opened.at(first):
            inner = opened.adapter.tensors()[name].clone()
        outer = opened.adapter.tensors()[name]
        assert torch.equal(inner, read_adapter(first)[0][name])
        assert torch.equal(outer, read_adapter(last)[0][name])


def test_a_run_that_was_stopped_has_its_checkpoints(run: Path) -> None:
    (run / "first.safetensors").unlink()
    (run / "result.json").unlink()
    assert [step for step, _ in open_run(run, "cpu").checkpoints] == [2, 4]
    shutil.rmtree(run / "checkpoints")
    message = (
        f"{run} holds no adapter yet: `train --resume` ends the run, and save.every keeps some on"
        " the way"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        open_run(run, "cpu")


def test_a_run_that_was_moved_is_opened_from_where_its_paths_start(
    run: Path, dataset: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    run.rename(moved)
    message = (
        f'{moved} was trained as "runs/first" and lies elsewhere now, so that the paths of its'
        " recipe lead nowhere: name the folder that they start at with --data"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        open_run(moved, "cpu")
    opened = open_run(moved, "cpu", root=dataset)
    assert opened.checkpoints[-1] == (5, moved / "first.safetensors")


def test_the_root_is_found_from_inside_and_through_links(
    run: Path, dataset: Path, recipe: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(run)
    assert find_root(Path(), recipe()) == dataset.resolve()
    (run / "samples").mkdir(exist_ok=True)
    monkeypatch.chdir(run / "samples")
    assert find_root(Path(".."), recipe()) == dataset.resolve()
    for out in (str(run), "../runs/first"):
        with pytest.raises(DatasetError, match="lies elsewhere now"):
            find_root(run, recipe(out=out))


def test_what_is_no_run_or_no_adapter_of_one_is_said(run: Path, tmp_path: Path) -> None:
    message = (
        f"{tmp_path} is no run: it has no recipe.toml; name the folder that `train` made, such as"
        " runs/first"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        open_run(tmp_path, "cpu")
    final = run / "first.safetensors"
    write_adapter(final, read_adapter(final)[0], {}, "fp32")
    message = (
        f"{final} does not say after how many steps it was saved: it is not this run's adapter;"
        " take it away, or train the run anew"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        open_run(run, "cpu")
