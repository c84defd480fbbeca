"""The command `train`, as it is typed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.command import run
from schemas.recipes.train import TrainRecipe
from schemas.recipes.write import to_toml
from train.cli import app
from train.run_folder import RunFolder

Make = Callable[..., TrainRecipe]


@pytest.fixture
def recipe_file(dataset: Path, recipe: Make) -> Path:
    path = dataset / "train.toml"
    path.write_text(to_toml(recipe()), encoding="utf-8")
    return path


def test_a_recipe_is_trained_with_changes_and_the_results_are_named(
    recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--set", "steps.total=2", "--set", 'sample.prompts=["hat"]', "--device", "cpu"]
    assert run(app, [*words, str(recipe_file)]) == 0
    out, err = capsys.readouterr()
    folder = recipe_file.parent / "runs/first"
    assert out.splitlines() == [
        str(folder / "first.safetensors"),
        str(folder / "samples/00000002.png"),
    ]
    assert "training on the CPU" in err
    assert "train: 2/2 steps" in err


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        (["none.toml"], "train: none.toml is missing: `prep init` writes one\n", 2),
        (
            ["RECIPE", "--set", "steps.totl=3"],
            'train: --set steps.totl=3: unknown key "steps.totl"; did you mean "total"?\n',
            2,
        ),
        (["RECIPE", "--resum"], "train: Unknown option: --resum", 2),
        (
            ["RECIPE", "--resume", "--device", "cpu"],
            "training on the CPU\ntrain: FOLDER holds no state to resume: leave --resume out\n",
            2,
        ),
        (
            ["RECIPE", "--set", "model.path=nowhere", "--device", "cpu"],
            "training on the CPU\ntrain: model.path nowhere is missing: give a .safetensors"
            " or .ckpt file, a diffusers folder, or a Hub id (owner/name)\n",
            1,
        ),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_a_status(
    recipe_file: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
    status: int,
) -> None:
    folder = recipe_file.parent / "runs/first"
    assert run(app, [str(recipe_file) if word == "RECIPE" else word for word in words]) == status
    out, err = capsys.readouterr()
    assert out == ""
    if message.endswith("\n"):
        assert err == message.replace("FOLDER", str(folder))
    else:
        assert err.startswith(message)
    assert not folder.exists()


LIGHT = """
import sys
from train.cli import main
sys.argv = ["train", "--help"]
status = main()
heavy = {"torch", "pyarrow", "numpy", "diffusers", "transformers", "pydantic"} & set(sys.modules)
sys.exit(status or (f"loaded {heavy}" if heavy else 0))
"""


def test_help_loads_nothing_heavy() -> None:
    found = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert "--set" in found.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise on Windows")
def test_ctrl_c_stops_after_the_step_and_resume_goes_on(recipe_file: Path) -> None:
    import signal
    import time

    words = [sys.executable, "-m", "train", str(recipe_file), "--device", "cpu"]
    log = recipe_file.parent / "runs/first/log.jsonl"
    endless = [*words, "--set", "steps.total=100000"]
    with subprocess.Popen(endless, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (log.is_file() and log.read_bytes()):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    steps = len(log.read_text().splitlines())
    folder = RunFolder(log.parent)
    assert [path.stem for path in folder.states()] == [f"{steps:08}"]
    assert f"stopped after step {steps} of 100000: --resume goes on" in err
    assert "Traceback" not in err
