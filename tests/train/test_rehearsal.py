"""What a training takes, told before it: beside what training then takes."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.profiler import ProfilerActivity, profile

from schemas.errors import ModelError
from schemas.recipes.train import ModelSection, OptimizerSection, TrainRecipe
from train import rehearsal
from train.attention import kernels
from train.captions import COUNTED
from train.cli import show
from train.model import find_model
from train.optimizer import state_bytes
from train.preflight import Plan, plan
from train.rehearsal import Rehearsal
from train.setup import networks, offload, setup
from train.step import train_step

Make = Callable[..., TrainRecipe]
CPU = torch.device("cpu")


def peak(work: Callable[[], object]) -> int:
    """The most bytes that torch's allocator gave out at a time while it ran, by its own record."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    now = most = 0
    events = recorded.profiler.kineto_results.events()
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def taken_by_training(recipe: TrainRecipe, dataset: Path) -> int:
    """Bytes of models, adapter and optimizer, and what the second step takes beside them."""
    run = setup(recipe, dataset, resume=False, overwrite=True, device="cpu")
    counts = np.zeros((run.data.table.num_rows, len(COUNTED)), dtype=np.int64)
    train_step(run, 0, counts)
    parts = (run.unet, *run.text_encoders, run.adapter)
    held = [t for part in parts for t in (*part.parameters(), *part.buffers())]
    held = [tensor for tensor in held if tensor.device == CPU]
    held += run.average.tensors()
    for state in run.optimizer.state.values():
        held += [tensor for tensor in state.values() if isinstance(tensor, torch.Tensor)]
    within = peak(lambda: train_step(run, 1, counts))
    return within + sum(tensor.nbytes for tensor in held)


@pytest.fixture(scope="module")
def middling(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model with a U-Net that is two to four times as wide."""
    from diffusers import UNet2DConditionModel

    folder = tmp_path_factory.mktemp("middling") / "model"
    shutil.copytree(model, folder)
    config = UNet2DConditionModel.load_config(model / "unet")
    torch.manual_seed(0)
    wide = {"block_out_channels": (128, 192, 256, 256)}
    UNet2DConditionModel.from_config({**config, **wide}).save_pretrained(folder / "unet")
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": {"batch": 1}},
        {"adapter": {"blocks": "unet"}, "caption": {"shuffle": False}},
        pytest.param(
            {
                "steps": {"batch": 2, "accumulate": 2, "checkpointing": True},
                "optimizer": {"ema": 0.9},
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"steps": {"precision": "bf16"}, "model": {"storage": "fp8"}}, marks=pytest.mark.slow
        ),
    ],
)
def test_memory_is_told_within_a_quarter(
    dataset: Path, recipe: Make, changes: dict[str, Any]
) -> None:
    asked = recipe(**changes)
    told = plan(asked, dataset, device="cpu").cost
    assert told is not None
    assert told.memory.total == pytest.approx(taken_by_training(asked, dataset), rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("side", [128, 256])
def test_memory_of_a_larger_model_is_told_within_a_quarter(
    dataset: Path, recipe: Make, middling: Path, side: int
) -> None:
    sizes = {"resolution": side, "min": side, "max": side, "upscale": True}
    asked = recipe(model={"path": str(middling)}, latents=sizes, steps={"batch": 1})
    told = plan(asked, dataset, device="cpu").cost
    assert told is not None
    assert told.memory.total == pytest.approx(taken_by_training(asked, dataset), rel=0.25)


@pytest.mark.slow
def test_fake_tensors_count_as_real_ones(recipe: Make) -> None:
    asked = recipe(adapter={"kind": "loha", "conv_dim": 2, "blocks": "OUT03,TE"})
    model = find_model(asked.model, Path())
    found = Rehearsal(asked, CPU, *networks(asked, model, weights=False), chunks=1)
    fake, real = (found.memory((64, 64), fake=fake) for fake in (True, False))
    assert fake.total == pytest.approx(real.total, rel=1e-3)


def test_what_is_long_is_measured_small_and_reckoned_by_pixels(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(adapter={"blocks": "M00"}, steps={"batch": 1}, model={"offload": "IN04"})
    model = find_model(asked.model, Path())
    found = Rehearsal(asked, CPU, *networks(asked, model, weights=False), chunks=1)
    offload(asked, torch.device("meta"), found.unet, found.text_encoders, found.adapter)
    monkeypatch.setattr(rehearsal, "LONG", 0.0)
    told = rehearsal.cost(found, {(256, 256): 3, (128, 128): 1}, steps=10, batches=20)
    assert told.pace is not None
    assert told.hours is not None
    assert (told.pace.width, told.pace.height) == (64, 64)
    mean = (3 * 16 + 1 * 4) / 4  # times what was measured
    seconds = 20 * told.pace.batch * mean + 10 * told.pace.optimizer
    assert told.hours == pytest.approx(seconds / 3600)
    small = found.memory((64, 64), fake=False)
    assert (told.memory.weights, told.memory.adapter) == (small.weights, small.adapter)
    assert told.memory.step > 8 * small.step  # counted at the largest, though not measured there


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Lion", "Adafactor", "Prodigy", "AdamW8bit"])
def test_an_optimizer_s_state_is_counted_as_it_is_kept(name: str) -> None:
    if name.endswith("8bit"):
        pytest.importorskip("bitsandbytes")
    section = OptimizerSection(name=name, lr=1.0 if name == "Prodigy" else 1e-3)
    shapes = Counter([(16, 768), (16, 768), (320, 16), (8, 4, 3, 3)])
    per_weight = {"AdamW": 8, "SGD": 0, "Lion": 4}
    weights = 2 * 16 * 768 + 320 * 16 + 8 * 4 * 9
    found = state_bytes(section, shapes, CPU)
    if name in per_weight:
        assert found == pytest.approx(per_weight[name] * weights, abs=4 * 4)  # counts of steps
    elif name == "AdamW8bit":  # small weights stay at 32 bits, by the library's own rule
        assert 2 * weights < found < 2.4 * weights + 8 * (320 * 16 + 288)
    else:
        assert 0 < found < 20 * weights


def test_without_weights_a_model_has_the_same_names_and_shapes(model: Path, sdxl: Path) -> None:
    for path in (model, sdxl):
        found = find_model(ModelSection(path=str(path)), Path())
        whole = (found.unet(), *found.text_encoders())
        bare = (found.unet(weights=False), *found.text_encoders(weights=False))
        for one, other in zip(whole, bare, strict=True):
            shapes = [{n: t.shape for n, t in part.state_dict().items()} for part in (one, other)]
            assert shapes[0] == shapes[1]
            assert {weight.device.type for weight in other.parameters()} == {"meta"}
            assert not any(weight.requires_grad for weight in other.parameters())


def test_without_weights_a_broken_model_is_found_too(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    found = find_model(ModelSection(path=str(copy)), Path())
    save_file({n: t for n, t in tensors.items() if n != "conv_in.bias"}, file)
    for weights in (True, False):
        with pytest.raises(ModelError) as caught:
            found.unet(weights=weights)
        assert str(caught.value) == (
            f"{copy / 'unet'} lacks 1 of the weights that its config.json asks for, conv_in.bias"
            " first: get the model again"
        )
    save_file(tensors | {"conv_in.bias": torch.zeros(3)}, file)
    with pytest.raises(ModelError) as caught:
        found.unet(weights=False)
    assert str(caught.value) == (
        f"{copy / 'unet'} cannot be loaded: conv_in.bias has another shape than it says"
    )


def test_the_plan_shows_memory_time_and_attention(
    dataset: Path, recipe: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    told: Plan = plan(recipe(), dataset, device="cpu")
    capsys.readouterr()
    show.plan(told)
    lines = {line[:9].strip(): line[9:].strip() for line in capsys.readouterr().out.splitlines()}
    assert lines["memory"].startswith(tuple("123456789"))
    assert "MiB frozen weights" in lines["memory"]
    assert "minutes: " in lines["time"]
    assert "measured here" in lines["time"]
    assert lines["attention"] == "flash"


def test_the_kernel_is_torch_s_own_choice(model: Path) -> None:
    unet = find_model(ModelSection(path=str(model)), Path()).unet(weights=False)
    assert kernels(unet, CPU, torch.float32) == "flash"
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert kernels(unet, CPU, torch.float32) == "math, which holds the whole matrix"
