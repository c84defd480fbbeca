"""`train sample`: adapters on any model draw what training draws, at any strength and sampler."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from schemas.command import run
from schemas.errors import ModelError
from schemas.recipes.train import AdapterSection, ModelSection, SampleSection, TrainRecipe
from train import samplers
from train.adapter_file import write_adapter
from train.adapters.adapter import attach_adapter
from train.blocks import SD15
from train.cli import app
from train.merging.sources import Source
from train.model import Model, find_model
from train.sampling import painter_with

Make = Callable[..., TrainRecipe]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def found(model: Path) -> Model:
    return find_model(ModelSection(path=str(model)), Path())


def made_adapter(model: Model, path: Path, section: AdapterSection, seed: int) -> Path:
    """An adapter file whose every factor is drawn."""
    adapter = attach_adapter(SD15, model.unet(), model.text_encoders(), section, seed)
    generator = torch.Generator().manual_seed(seed)
    for weight in adapter.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=generator)
    write_adapter(path, adapter.tensors(), {}, "fp32")
    return path


def pixels(painter: Any, prompt: str = "azusa, smile") -> np.ndarray:
    return np.asarray(painter.draw(prompt, "lowres", 3, (64, 64), 3, 4.0)).astype(int)


def test_adapters_draw_as_they_do_beside_the_model(found: Model, tmp_path: Path) -> None:
    section, plain = AdapterSection(dim=4, alpha=4, kind="locon", conv_dim=2), SampleSection()
    path = made_adapter(found, tmp_path / "a.safetensors", section, 1)
    base = painter_with(found, [], plain, "fp32", CPU)
    before = pixels(base)
    beside = attach_adapter(SD15, base.unet, base.text_encoders, section, 1)
    generator = torch.Generator().manual_seed(1)
    for weight in beside.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=generator)
    with beside.at(0.7):
        expected = pixels(base)
    added = painter_with(found, [Source(path, 0.7)], plain, "fp32", CPU)
    assert abs(pixels(added) - expected).max() <= 1
    assert abs(expected - before).max() > 5
    halves = [Source(path, 0.3), Source(path, 0.4)]
    assert abs(pixels(painter_with(found, halves, plain, "fp32", CPU)) - expected).max() <= 1


def test_blocks_that_are_left_out_are_as_they_were(found: Model, tmp_path: Path) -> None:
    path = made_adapter(found, tmp_path / "a.safetensors", AdapterSection(dim=2, alpha=2), 1)
    painter = painter_with(found, [Source(path, 1.0, "OUT03-06")], SampleSection(), "fp32", CPU)
    plain = found.unet().state_dict()
    changed = {
        name.split(".attentions")[0]
        for name, weight in painter.unet.state_dict().items()
        if not torch.equal(weight, plain[name])
    }
    assert changed == {"up_blocks.1", "up_blocks.2"}
    text = found.text_encoders()[0].state_dict()
    assert all(
        torch.equal(weight, text[name])
        for name, weight in painter.text_encoders[0].state_dict().items()
    )


def test_an_adapter_of_another_model_is_refused(found: Model, tmp_path: Path) -> None:
    path = made_adapter(found, tmp_path / "a.safetensors", AdapterSection(dim=2, alpha=2), 1)
    tensors = load_file(path)
    name = next(iter(sorted(tensors))).partition(".")[0]
    tensors[f"{name}.lora_down.weight"] = torch.zeros(2, 7)
    write_adapter(path, tensors, {}, "fp32")
    modules = len({key.partition(".")[0] for key in tensors})
    with pytest.raises(ModelError) as error:
        painter_with(found, [Source(path)], SampleSection(), "fp32", CPU)
    assert str(error.value) == (
        f"1 of {modules} modules of a.safetensors are not found ({name}: of another shape in the"
        " checkpoint): `train merge --dry-run` lists them"
    )


@pytest.mark.parametrize("sampler", samplers.KNOWN)
def test_every_sampler_draws_the_same_for_the_same_seed(found: Model, sampler: Any) -> None:
    painter = painter_with(found, [], SampleSection(sampler=sampler), "fp32", CPU)
    first = pixels(painter)
    assert np.array_equal(first, pixels(painter))
    pair = painter.draw_batch(["azusa, smile"] * 2, "lowres", [4, 3], (64, 64), 3, 4.0)
    # its own seed draws a picture, also beside others
    assert abs(np.asarray(pair[1]).astype(int) - first).max() <= 1
    assert abs(np.asarray(pair[0]).astype(int) - first).max() > 5


def test_the_command_draws_a_grid_and_says_in_each_picture_what_it_is(
    found: Model, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    made_adapter(found, tmp_path / "azusa.safetensors", AdapterSection(dim=2, alpha=2), 1)
    (tmp_path / "prompts.txt").write_text("# mine\nhat, (smile:1.3)\n\n", encoding="utf-8")
    words = [
        *("sample", str(model), "--adapter", "azusa.safetensors:0.8", "--prompt", "azusa"),
        *("--prompts", "prompts.txt", "--negative", "lowres", "--seed", "7", "--size", "64", "64"),
        *("--steps", "2", "--strength", "0", "--strength", "1", "--sampler", "dpm++ 2m karras"),
        *("--device", "cpu"),
    ]
    assert run(app, words) == 0
    assert capsys.readouterr().out == "sample.png\n"
    names = [f"{n:02}-seed7-at{strength}.png" for n in (1, 2) for strength in (0, 1)]
    assert sorted(path.name for path in (tmp_path / "sample").iterdir()) == names
    with Image.open(tmp_path / "sample/02-seed7-at1.png") as picture:
        assert picture.size == (64, 64)
        assert picture.info["parameters"] == (
            "hat, (smile:1.3) <lora:azusa:0.8>\nNegative prompt: lowres\n"
            "Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.0, Seed: 7,"
            f" Size: 64x64, Model: {model.name}, Clip skip: 2"
        )
    with Image.open(tmp_path / "sample.png") as grid:
        assert grid.info["parameters"] == f"{model.name} + azusa"
    assert run(app, words) == 2
    told = capsys.readouterr().err
    assert told == "train: sample holds pictures already: name another folder with --out\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "train: nothing to draw: give --prompt, or a file with --prompts\n"),
        (
            ["--prompt", "hat", "--size", "60", "64"],
            "train: --size 60 64: both are multiples of 8\n",
        ),
        (
            ["--prompt", "hat", "--adapter", "no.safetensors:1"],
            "train: no.safetensors:1 is missing: give a file or folder, and behind it :strength and"
            " :blocks, such as azusa.safetensors:0.8:OUT03-06\n",
        ),
    ],
)
def test_what_cannot_be_drawn_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], words: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(app, ["sample", str(model), *words, "--device", "cpu"]) in (1, 2)
    assert capsys.readouterr().err == message
    assert not list(tmp_path.iterdir())
