"""Half precision: what it computes, the loss scale of fp16, and a resume with both."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from schemas.recipes.train import TrainRecipe
from train import loop, train
from train.captions import COUNTED
from train.precision import LossScale
from train.setup import Setup, setup
from train.step import train_step

Make = Callable[..., TrainRecipe]
CPU = torch.device("cpu")


def ready(recipe: TrainRecipe, dataset: Path) -> Setup:
    return setup(recipe, dataset, resume=False, overwrite=False, device="cpu")


def with_scale(run: Setup, scale: float) -> None:
    """Set the loss scale, from which it adapts."""
    state = run.scale.state()
    state["scaler"]["scale"] = scale
    run.scale.load(state)


def counts() -> np.ndarray:
    return np.zeros((6, len(COUNTED)), dtype=np.int64)


def test_fp16_computes_near_fp32_and_trains_fp32_weights(dataset: Path, recipe: Make) -> None:
    runs = [
        ready(recipe(steps={"precision": p}, optimizer={"name": "SGD"}), dataset)
        for p in ("fp32", "fp16")
    ]
    losses = [train_step(run, 0, counts())[0] for run in runs]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert losses[1] != losses[0]
    assert runs[1].scale.skipped == 0
    assert {weight.dtype for weight in runs[1].unet.parameters()} == {torch.float16}
    tensors = [run.adapter.tensors() for run in runs]
    assert {weight.dtype for weight in runs[1].adapter.parameters()} == {torch.float32}
    ups = [torch.cat([t[n].flatten() for n in t if "lora_up" in n]) for t in tensors]
    assert float(torch.cosine_similarity(*ups, dim=0)) > 0.99  # scaled back before the step
    assert float(ups[1].norm() / ups[0].norm()) == pytest.approx(1, rel=0.05)


def test_a_step_that_overflows_changes_nothing_and_halves_the_scale(
    dataset: Path, recipe: Make
) -> None:
    run = ready(recipe(steps={"precision": "fp16"}, optimizer={"ema": 0.9}), dataset)
    with_scale(run, 2.0**40)
    before = {name: tensor.clone() for name, tensor in run.adapter.tensors().items()}
    averages = run.average.tensors()
    train_step(run, 0, counts())
    after = run.adapter.tensors()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(map(torch.equal, averages, run.average.tensors()))
    assert not run.optimizer.state
    assert run.scale.skipped == 1
    assert run.scale.state()["scaler"]["scale"] == 2.0**39
    assert all(weight.grad is None for weight in run.adapter.parameters())


def test_a_gradient_that_no_scale_makes_finite_is_not_the_scales(
    dataset: Path, recipe: Make
) -> None:
    run = ready(recipe(steps={"precision": "fp16"}), dataset)
    with_scale(run, 1.0)
    weight = next(iter(run.adapter.parameters()))
    handle = weight.register_hook(lambda gradient: gradient * float("nan"))
    done = train_step(run, 0, counts())
    assert not done.taken
    assert str(done.broken).startswith("the gradient is not finite at step 1 ")
    assert run.scale.skipped == 0
    assert run.scale.state()["scaler"]["scale"] == 1.0
    handle.remove()
    assert train_step(run, 1, counts()).taken


def test_the_scale_goes_on_where_it_was_saved() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scale = LossScale("fp16", CPU)
    for factor in (1.0, float("inf"), 1.0):
        scale.scaled((weight * factor).sum()).backward()
        scale.unscale(optimizer)
        scale.step(optimizer)
        optimizer.zero_grad()
    again = LossScale("fp16", CPU)
    again.load(scale.state())
    assert again.state() == scale.state()
    assert scale.skipped == 1
    assert scale.state()["scaler"]["_growth_tracker"] == 1
    assert scale.state()["scaler"]["scale"] == 2.0**15


def test_fp16_interrupted_and_resumed_is_undisturbed(
    dataset: Path, recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step overflows in both, so that the scale and what was skipped must come back."""
    real_setup, real_step = loop.setup, loop.train_step

    def overflowing(*arguments: object, **options: object) -> Setup:
        run = real_setup(*arguments, **options)  # type: ignore[arg-type]
        if run.start is None:
            with_scale(run, 2.0**40)
        return run

    monkeypatch.setattr(loop, "setup", overflowing)
    section = {"steps": {"precision": "fp16", "total": 4}, "caption": {"tokens": 75}}
    whole = train(recipe(out="runs/whole", **section), dataset, device="cpu")
    torn = recipe(out="runs/torn", **section)

    def interrupted(run: Setup, step: int, counts: np.ndarray) -> tuple[float, float]:
        if step == 2:
            raise KeyboardInterrupt
        found = real_step(run, step, counts)
        if step == 1:
            loop.save(run, loop.Progress(2, counts, 0.0))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(torn, dataset, device="cpu")
    resumed = train(torn, dataset, resume=True, device="cpu")
    assert resumed.skipped == whole.skipped >= 2
    ended = [load_file(run.adapter) for run in (whole, resumed)]
    assert all(torch.equal(ended[0][name], ended[1][name]) for name in ended[0])
    assert json.loads((resumed.folder / "result.json").read_text())["skipped"] == whole.skipped
