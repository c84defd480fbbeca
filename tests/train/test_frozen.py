"""Frozen weights kept as fp8 or in main memory: the same numbers, and nothing kept between."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from schemas.errors import RecipeError
from schemas.recipes.train import AdapterKind, TrainRecipe
from train import train
from train.captions import COUNTED
from train.finished import open_run
from train.frozen import big_layers, is_at_home, keep_as_fp8, keep_at_home
from train.live_bytes import LiveBytes
from train.setup import Setup, offload, setup
from train.step import batch_losses, train_step

Make = Callable[..., TrainRecipe]
CPU = torch.device("cpu")
LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(16, 8), (3, 5, 16)),
    "without bias": (lambda: nn.Linear(16, 8, bias=False), (5, 16)),
    "3x3": (lambda: nn.Conv2d(16, 8, 3, stride=2, padding=1), (2, 16, 10, 10)),
    "1x1": (lambda: nn.Conv2d(16, 8, 1), (2, 16, 6, 6)),
}


def ready(recipe: TrainRecipe, dataset: Path) -> Setup:
    return setup(recipe, dataset, resume=False, overwrite=False, device="cpu")


def pair(name: str) -> tuple[Any, Any, torch.Tensor]:
    """A plain layer, the same kept as fp8 with the weights of both equal, and an input."""
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    plain = make().requires_grad_(False)
    kept = copy.deepcopy(plain)
    keep_as_fp8(kept)
    plain.weight.data = kept.weight
    return plain, kept, torch.randn(shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_are_those_of_the_weights_that_are_kept(
    name: str, dtype: torch.dtype
) -> None:
    plain, kept, x = pair(name)
    found = []
    for layer in (plain, kept):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            output = layer(given)
        output.backward(torch.ones_like(output))
        found.append((output.detach(), given.grad))
    assert found[0][0].dtype == found[1][0].dtype == dtype
    for mine, theirs in zip(*found, strict=True):
        assert torch.equal(mine, theirs)


@given(
    st.lists(st.floats(-(2.0**15), 2.0**15, width=32), min_size=4, max_size=4),
    st.integers(-20, 0),
)
def test_a_weight_comes_back_within_a_sixteenth_of_itself(row: list[float], power: int) -> None:
    """Half of the last of three bits; what is tiny beside its output's largest may vanish."""
    layer: Any = nn.Linear(4, 1, bias=False).requires_grad_(False)
    wanted = torch.tensor([row]) * 2.0**power
    layer.weight.data = wanted
    keep_as_fp8(layer)
    least = max(float(wanted.abs().max()) * 2.0**-17, 2.0**-34)
    assert (layer.weight - wanted).abs().le(wanted.abs() / 16 + least).all()
    half = layer.cast(CPU, torch.float16)
    assert torch.equal(half.float(), layer.weight.to(torch.float16).float())


def test_a_cast_to_the_precision_of_computing_leaves_the_bytes_alone() -> None:
    _, kept, _ = pair("3x3")
    before = kept.weight
    kept.to(torch.float16)
    assert kept.kept.dtype == torch.uint8
    assert kept.bias.dtype == torch.float16
    assert torch.equal(kept.weight, before)


@pytest.mark.parametrize("kind", get_args(AdapterKind))
def test_every_kind_of_adapter_learns_beside_fp8_as_beside_those_weights(
    dataset: Path, recipe: Make, kind: AdapterKind
) -> None:
    """The other run holds in fp32 what the first one's bytes say, and computes plainly."""
    adapter = {"kind": kind, "conv_dim": 0 if kind == "lora" else 2, "blocks": "IN04,OUT03,TE"}
    options = {"adapter": adapter, "optimizer": {"name": "SGD", "lr": 0.05}}
    counts = np.zeros((6, len(COUNTED)), dtype=np.int64)
    kept = ready(recipe(model={"storage": "fp8"}, **options), dataset)
    plain = ready(recipe(**options), dataset)
    for run in (plain, kept):
        run.adapter.load(kept.adapter.tensors(), "the other")
    layers = (big_layers(run.unet, run.text_encoders) for run in (plain, kept))
    for (_, own), (_, other) in zip(*layers, strict=True):
        own.weight.data = other.weight.clone()
    for step in range(2):
        losses = [train_step(run, step, counts)[0] for run in (plain, kept)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    own, other = plain.adapter.tensors(), kept.adapter.tensors()
    for name in own:
        torch.testing.assert_close(other[name], own[name], rtol=1e-4, atol=1e-6)


def held_after_forward(run: Setup, weights_cast_by_hand: bool = False) -> int:
    """Bytes that live between the forward and the backward pass, the models' own not counted."""
    live = LiveBytes(CPU)
    handles = []
    if weights_cast_by_hand:  # as layerwise casting does it: autograd holds what was cast
        for _, layer in big_layers(run.unet, run.text_encoders):

            def cast(module: Any, inputs: Any) -> None:
                module.weight = nn.Parameter(module.small.float(), requires_grad=False)

            layer.small = layer.weight.to(torch.bfloat16)
            handles.append(layer.register_forward_pre_hook(cast))
    with live:
        losses = batch_losses(run, run.batches[0], 0)
        held = live.now
    assert losses.requires_grad
    return held


def test_between_forward_and_backward_no_weight_is_held(dataset: Path, recipe: Make) -> None:
    plain = ready(recipe(), dataset)
    weights = sum(
        layer.weight.numel() * 4 for _, layer in big_layers(plain.unet, plain.text_encoders)
    )
    without = held_after_forward(plain)
    kept = held_after_forward(ready(recipe(model={"storage": "fp8"}), dataset))
    assert kept <= without
    by_hand = held_after_forward(plain, weights_cast_by_hand=True)
    assert by_hand >= without + weights  # what this test would find if weights were held


@pytest.mark.slow
def test_a_run_with_a_small_base_ends_and_draws(dataset: Path, recipe: Make) -> None:
    asked = recipe(
        model={"storage": "fp8"},
        steps={"precision": "fp16", "checkpointing": True, "total": 2},
        sample={"prompts": ["hat"], "seeds": [1]},
    )
    result = train(asked, dataset, device="cpu")
    run = open_run(result.folder, "cpu")
    with run.at(result.adapter):
        drawn = run.painter.draw("hat", "", 1, (64, 64), 2, 7.0)
    with Image.open(result.folder / "samples/00000002/01-seed1.png") as saved:
        assert np.array_equal(np.asarray(drawn), np.asarray(saved))


AWAY = torch.device("meta")  # stands for a device that is not the CPU when layers are sent home


def test_weights_at_home_compute_the_same_and_are_not_taken_along(
    dataset: Path, recipe: Make
) -> None:
    options = {"adapter": {"kind": "dora", "conv_dim": 2, "blocks": "IN04,OUT03,TE"}}
    asked = recipe(model={"offload": "IN04-08,OUT03,TE"}, **options)
    runs = [ready(asked, dataset) for _ in range(2)]
    before = sum(weight.numel() for weight in runs[1].unet.parameters())
    offload(asked, AWAY, runs[1].unet, runs[1].text_encoders, runs[1].adapter)
    after = sum(weight.numel() for weight in runs[1].unet.parameters())
    at_home = [layer for layer in runs[1].unet.modules() if is_at_home(layer)]
    assert before - after == sum(layer.kept.numel() for layer in at_home) > 0
    counts = np.zeros((6, len(COUNTED)), dtype=np.int64)
    for step in range(2):
        losses = [train_step(run, step, counts)[0] for run in runs]
        assert losses[1] == losses[0]
    own, other = (run.adapter.tensors() for run in runs)
    assert all(torch.equal(own[name], other[name]) for name in own)
    runs[1].unet.to(AWAY)
    assert {layer.kept.device.type for layer in at_home} == {"cpu"}


@pytest.mark.parametrize("storage", ["same", "fp8"])
def test_weights_at_home_are_not_held_on_the_device(
    dataset: Path, recipe: Make, storage: str
) -> None:
    """Kept in bf16 and computed in fp32 they are copied, as they are to another device."""
    asked = recipe(model={"offload": "all", "storage": storage})
    plain = held_after_forward(ready(asked, dataset))
    run = ready(asked, dataset)
    for _, layer in list(big_layers(run.unet, run.text_encoders)):
        keep_at_home(layer, AWAY, torch.bfloat16)
    assert held_after_forward(run) <= plain


def test_offloading_is_told_to_be_idle_on_the_cpu(
    dataset: Path, recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("train.setup.say", told.append)
    run = ready(recipe(model={"offload": "all"}), dataset)
    assert not any(is_at_home(layer) for layer in run.unet.modules())
    assert "model.offload changes nothing on the CPU, whose memory is the main memory" in told


def test_a_block_that_there_is_not_is_refused_before_anything_is_loaded(
    dataset: Path, recipe: Make
) -> None:
    with pytest.raises(RecipeError) as caught:
        ready(recipe(model={"offload": "IN04,OUT12"}), dataset)
    assert str(caught.value).startswith('model.offload = "IN04,OUT12": "OUT12" is no block')
