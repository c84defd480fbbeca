"""The demo from its first command to an adapter that diffusers loads: every part is real."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

from prep.cli.demo import demo
from prep.demo import recipes
from prep.demo.model import ASSETS
from schemas import command
from schemas.recipes.train import TrainRecipe
from schemas.tables import MANIFEST
from train.cli import app


def run(*words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        env=dict(os.environ),
        check=False,
    )


def drawn_in_few_steps(steps: int, real: Callable[[int], TrainRecipe]) -> TrainRecipe:
    """The demo's recipe, whose pictures need only be there: not in 15 steps each, but in 2."""
    recipe = real(steps)
    return recipe.model_copy(update={"sample": recipe.sample.model_copy(update={"steps": 2})})


@pytest.mark.slow
def test_the_demo_ends_with_an_adapter_and_a_grid_and_then_nothing_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quickly = partial(drawn_in_few_steps, real=recipes.train_recipe)
    monkeypatch.setattr(recipes, "train_recipe", quickly)
    result = demo(tmp_path / "demo", steps=6)
    tensors = load_file(result.adapter)
    ups = [tensor for name, tensor in tensors.items() if name.endswith("lora_up.weight")]
    assert ups
    assert all(tensor.abs().max() > 0 for tensor in ups)
    with Image.open(result.grid) as grid:
        assert min(grid.size) > 256
    manifest = MANIFEST.read(tmp_path / "demo" / "manifest.parquet")
    assert set(manifest["is_reg"].to_pylist()) == {True, False}

    pipeline = StableDiffusionPipeline.from_pretrained(ASSETS, safety_checker=None)
    before = pipeline.unet(torch.ones(1, 4, 16, 16), 500, torch.ones(1, 77, 128)).sample
    pipeline.load_lora_weights(result.adapter)
    after = pipeline.unet(torch.ones(1, 4, 16, 16), 500, torch.ones(1, 77, 128)).sample
    assert (after - before).abs().max() > 1e-6

    capsys.readouterr()
    words = ("evaluate", str(tmp_path / "demo/runs/demo"), "--pictures", "1", "--steps", "2")
    assert command.run(app, [*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert {"base", "adapter", "ceiling", "floor", "prompts"} <= set(figures)
    assert set(figures["base"]) == set(figures["adapter"]) == {"recall", "signature", "unasked"}
    assert figures["ceiling"] > 0.9
    assert figures["real"]["signature"] > 0.8
    assert "red_hair" in figures["signature_tags"]

    again = run("prep", "run", "demo", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr.splitlines() == [
        "nothing to do: all stages are up to date (`prep fetch` looks for new posts)"
    ]
    finished = run("train", "demo/train.toml", cwd=tmp_path)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "holds a finished run" in finished.stderr
