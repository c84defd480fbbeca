"""A run stopped anywhere ends as the undisturbed one does, bit for bit."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from schemas.errors import DataError, DatasetError, RecipeError
from schemas.recipes.train import TrainRecipe
from schemas.recipes.write import to_toml
from train import loop, train
from train.loop import RunResult
from train.run_folder import RunFolder, load_state
from train.setup import setup
from train.unchanged import tell_unchanged

Make = Callable[..., TrainRecipe]

LONG = {
    "latents": {"resolution": [64, 80], "flip": True},
    "adapter": {"dropout": 0.1},
    "steps": {"total": 6, "batch": 2, "accumulate": 2},
    "optimizer": {"schedule": "cosine", "warmup": 2, "ema": 0.9},
    "loss": {"prior": "model", "mask": "alpha"},
    "caption": {"tokens": 75, "drop_caption": 0.2, "drop_tag": {"general": 0.3}},
    "save": {"every": 2},
    "validate": {"share": 0.3},
}


Ended = tuple[dict[str, bytes], list[dict[str, Any]], list[dict[str, Any]]]


def ended(folder: Path) -> Ended:
    """What a run left that must repeat: weights, log without times, tags cut."""
    name = folder.name
    tensors = load_file(folder / f"{name}.safetensors")
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for entry in log:
        entry.pop("seconds", None)
    exposures = pq.read_table(folder / "exposures.parquet").to_pylist()
    return {k: v.numpy().tobytes() for k, v in tensors.items()}, log, exposures


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, make_dataset: Callable[[Path], Path], recipe: Make
) -> RunResult:
    """The run of LONG that nothing stopped, on the same pictures."""
    folder = make_dataset(tmp_path_factory.mktemp("undisturbed") / "data")
    return train(recipe(out="runs/whole", **LONG), folder, device="cpu")


def interrupt_after(step: int, kind: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a signal arrive within the step after `step` steps are done."""
    real = loop.train_step

    def interrupted(ready: Any, number: int, cut: Any) -> Any:
        if number == step:
            signal.raise_signal(kind)
        return real(ready, number, cut)

    monkeypatch.setattr(loop, "train_step", interrupted)


@pytest.mark.parametrize(
    ("step", "kind"), [(0, signal.SIGINT), (2, signal.SIGTERM), (3, signal.SIGINT)]
)
def test_interrupted_and_resumed_is_undisturbed(
    undisturbed: RunResult,
    dataset: Path,
    recipe: Make,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    kind: signal.Signals,
) -> None:
    asked = recipe(out="runs/torn", **LONG)
    with monkeypatch.context() as patch:
        interrupt_after(step, kind, patch)
        with pytest.raises(KeyboardInterrupt):
            train(asked, dataset, device="cpu")
    folder = RunFolder(dataset / "runs/torn")
    assert [path.name for path in folder.states()] == [f"{step + 1:08}.pt"]
    assert not folder.adapter.exists()
    resumed = train(asked, dataset, resume=True, device="cpu")
    assert ended(resumed.folder) == ended(undisturbed.folder)
    assert resumed.loss == undisturbed.loss


def test_what_never_changes_is_judged_from_the_beginning_of_the_run(
    dataset: Path, recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(adapter={"blocks": "M00"})
    fresh = setup(asked, dataset, resume=False, overwrite=False, device="cpu").adapter.marks()
    with monkeypatch.context() as patch:
        interrupt_after(2, signal.SIGINT, patch)
        with pytest.raises(KeyboardInterrupt):
            train(asked, dataset, device="cpu")
    state = load_state(RunFolder(dataset / "runs/first"))
    resumed = setup(asked, dataset, resume=True, overwrite=False, device="cpu")
    now = resumed.adapter.marks()
    assert state.marks == fresh
    assert all(now[name] != mark for name, mark in fresh.items())
    assert tell_unchanged(resumed, state.marks) == []


KILLED = """
import os, sys
from pathlib import Path
from schemas.recipes.load import load_train
from train import step, train
import torch
torch.set_num_threads(1)
calls, real = 0, step.batch_losses
def killed(*arguments, **options):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os._exit(9)
    return real(*arguments, **options)
step.batch_losses = killed
path = Path(sys.argv[1])
train(load_train(path), path.parent, device="cpu")
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_accumulation_and_resumed_is_undisturbed(
    undisturbed: RunResult, dataset: Path, recipe: Make
) -> None:
    asked = recipe(out="runs/torn", **LONG)
    path = dataset / "train.toml"
    path.write_text(to_toml(asked), encoding="utf-8")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), "10"], check=False)
    assert killed.returncode == 9
    assert [path.name for path in RunFolder(dataset / "runs/torn").states()] == ["00000004.pt"]
    resumed = train(asked, dataset, resume=True, device="cpu")
    assert ended(resumed.folder) == ended(undisturbed.folder)


@pytest.fixture
def stopped(dataset: Path, recipe: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset with a run stopped after its first step."""
    with monkeypatch.context() as patch:
        interrupt_after(0, signal.SIGINT, patch)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(), dataset, device="cpu")
    return dataset


def test_another_recipe_or_manifest_is_refused(
    stopped: Path, recipe: Make, write_manifest: Callable[..., None]
) -> None:
    run = stopped / "runs/first"
    rows = pq.read_table(stopped / "manifest.parquet").to_pylist()
    write_manifest(stopped, rows[1:])
    changed = recipe(optimizer={"lr": 5e-4}, steps={"total": 9}, sample={"seeds": [9]})
    message = (
        f"{run} cannot go on with other inputs (optimizer.lr was 0.001, now 0.0005; steps.total"
        " was 4, now 9; the manifest has changed): put them back, or name another folder in `out`"
    )
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        train(changed, stopped, resume=True, device="cpu")


def test_images_that_went_meanwhile_are_refused(stopped: Path, recipe: Make) -> None:
    paths = pq.read_table(stopped / "manifest.parquet").column("path").to_pylist()
    shutil.rmtree(stopped / "latents")
    (stopped / paths[0]).unlink()
    message = (
        f"{stopped / 'runs/first'} cannot go on: other images have a latent now than when it began"
        " (1 are left out); put them back, or name another folder in `out`"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        train(recipe(), stopped, resume=True, device="cpu")


def test_samples_and_saves_may_change_on_the_way(stopped: Path, recipe: Make) -> None:
    changed = recipe(sample={"prompts": ["hat"], "seeds": [9]}, save={"keep": 1})
    result = train(changed, stopped, resume=True, device="cpu")
    assert result.grid == stopped / "runs/first/samples/00000004.png"


def test_a_run_is_not_overwritten_unasked(stopped: Path, recipe: Make) -> None:
    run = stopped / "runs/first"
    before = (run / "log.jsonl").read_bytes()
    message = (
        f"{run} holds a run that was not finished: --resume goes on with it, --overwrite throws it"
        " away and starts anew, another `out` keeps both"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        train(recipe(), stopped, device="cpu")
    assert (run / "log.jsonl").read_bytes() == before
    result = train(recipe(), stopped, overwrite=True, device="cpu")
    assert result.steps == 4
    message = (
        f"{run} holds a finished run: --overwrite throws it away and starts anew, another `out`"
        " keeps both"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        train(recipe(), stopped, device="cpu")
    message = f"{run} holds a finished run: there is nothing to resume"
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        train(recipe(), stopped, resume=True, device="cpu")


def test_a_run_killed_before_its_first_state_can_only_start_anew(
    stopped: Path, recipe: Make
) -> None:
    run = RunFolder(stopped / "runs/first")
    run.states()[0].unlink()
    message = (
        f"{run.path} holds a run that was not finished: --overwrite throws it away and starts anew,"
        " another `out` keeps both"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        train(recipe(), stopped, device="cpu")


def test_what_is_no_run_is_never_thrown_away(dataset: Path, recipe: Make) -> None:
    message = f"{dataset} holds other things than a run: name another folder in `out`"
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        train(recipe(out="."), dataset, overwrite=True, device="cpu")
    assert (dataset / "manifest.parquet").is_file()


def test_there_must_be_something_to_resume(dataset: Path, recipe: Make) -> None:
    message = f"{dataset / 'runs/first'} holds no state to resume: leave --resume out"
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        train(recipe(), dataset, resume=True, device="cpu")
    message = "--resume goes on and --overwrite starts anew: give one of them"
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        train(recipe(), dataset, resume=True, overwrite=True, device="cpu")
