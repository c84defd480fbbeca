"""Steps that are not finite: found, named, skipped, counted; too many of them stop the run."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from schemas.errors import Failure
from schemas.recipes.train import TrainRecipe
from schemas.tables import MANIFEST
from train import loop, train
from train.captions import COUNTED
from train.nonfinite import AGAIN, NOWHERE
from train.setup import Setup, setup
from train.step import train_step

Make = Callable[..., TrainRecipe]
SKIPPED = COUNTED.index("skipped")


def ready(recipe: TrainRecipe, dataset: Path) -> Setup:
    return setup(recipe, dataset, resume=False, overwrite=False, device="cpu")


def counts() -> np.ndarray:
    return np.zeros((6, len(COUNTED)), dtype=np.int64)


@pytest.fixture
def bad(dataset: Path) -> str:
    """Give one image of the dataset a weight that no loss survives; return its path."""
    file = dataset / "manifest.parquet"
    table = MANIFEST.sorted(MANIFEST.read(file))
    row = table.column("is_reg").to_pylist().index(False)
    weights = table.column("weight").to_pylist()
    weights[row] = float("inf")
    at = table.column_names.index("weight")
    MANIFEST.write(file, table.set_column(at, "weight", pa.array(weights, pa.float32())))
    return str(table.column("path")[row])


def test_the_layer_whose_output_is_not_finite_is_named(dataset: Path, recipe: Make) -> None:
    run = ready(recipe(steps={"accumulate": 2}, optimizer={"ema": 0.9}), dataset)
    run.unet.mid_block.attentions[0].proj_in.weight.data[0, 0] = float("nan")
    before = {name: tensor.clone() for name, tensor in run.adapter.tensors().items()}
    averages, counted = run.average.tensors(), counts()
    done = train_step(run, 0, counted)
    batches = [run.batches[number] for number in range(2)]
    rows = [row for batch in batches for row in batch.places.tolist()]
    paths = [run.data.table.column("path")[row].as_py() for row in dict.fromkeys(rows)]
    assert (done.loss, done.taken) == (None, False)
    assert str(done.broken) == (
        f"the loss is not finite at step 1 (images: {', '.join(paths)}; first in"
        " unet.mid_block.attentions.0.proj_in (M00))"
    )
    assert all(torch.equal(before[name], t) for name, t in run.adapter.tensors().items())
    assert all(map(torch.equal, averages, run.average.tensors()))
    assert not run.optimizer.state
    assert all(weight.grad is None for weight in run.adapter.parameters())
    assert counted[:, SKIPPED].tolist() == np.bincount(rows, minlength=6).tolist()


def test_a_text_encoders_layer_is_named(dataset: Path, recipe: Make) -> None:
    run = ready(recipe(), dataset)
    layer = (
        run.text_encoders[0]
        .get_submodule("text_model" if hasattr(run.text_encoders[0], "text_model") else "")
        .encoder.layers[1]
        .mlp.fc1
    )
    layer.bias.data[0] = float("inf")
    broken = train_step(run, 0, counts()).broken
    assert broken is not None
    assert broken.layer.endswith("encoder.layers.1.mlp.fc1 (TE)")
    assert broken.layer.startswith("in text_encoder.")


def test_latents_that_are_not_finite_are_no_layers_fault(
    dataset: Path, recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ready(recipe(), dataset)
    batch = run.batches[0]
    real = type(run.store).read

    def read(store: Any, rows: np.ndarray, variants: np.ndarray) -> torch.Tensor:
        found = real(store, rows, variants)
        found[rows == batch.places[-1]] = float("nan")
        return found

    monkeypatch.setattr(type(run.store), "read", read)
    path = run.data.table.column("path")[int(batch.places[-1])]
    assert str(train_step(run, 0, counts()).broken) == (
        f"the loss is not finite at step 1 (images: {path}; first in what goes into unet)"
    )


def test_what_is_finite_when_computed_again_is_skipped_all_the_same(
    dataset: Path, recipe: Make
) -> None:
    run = ready(recipe(), dataset)

    def once(module: Any, _: Any, output: torch.Tensor) -> torch.Tensor:
        handle.remove()
        return output * float("nan")

    handle = run.unet.conv_out.register_forward_hook(once)
    broken = train_step(run, 0, counts()).broken
    assert broken is not None
    assert (broken.layer, len(broken.images)) == (AGAIN, len(run.batches[0].places))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_layer_whose_gradient_is_not_finite_is_named(
    dataset: Path, recipe: Make, checkpointing: bool
) -> None:
    run = ready(recipe(steps={"checkpointing": checkpointing}), dataset)

    def poison(_: Any, __: Any, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * float("inf"))

    run.unet.up_blocks[1].attentions[0].proj_out.register_forward_hook(poison)
    done = train_step(run, 0, counts())
    assert done.loss is not None
    assert done.broken is not None
    assert done.broken.what == "gradient"
    assert done.broken.layer == (
        "in what flows back to unet.up_blocks.1.attentions.0.proj_out (OUT03)"
    )


def test_weights_whose_gradient_is_not_finite_are_named(dataset: Path, recipe: Make) -> None:
    run = ready(recipe(adapter={"blocks": "M00"}), dataset)
    name, layer = next(iter(run.adapter.layers.items()))
    layer.up.register_hook(lambda gradient: gradient * float("nan"))
    broken = train_step(run, 0, counts()).broken
    assert broken is not None
    assert broken.layer == f"in the gradient of the adapter's {name}.up"


def test_skipped_steps_are_logged_and_counted_and_come_back_with_a_resume(
    dataset: Path, bad: str, recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {
        "steps": {"total": 8, "batch": 1},
        "loss": {"skip_nonfinite": 1},
        "optimizer": {"ema": 0.9},
    }
    whole = train(recipe(out="runs/whole", **section), dataset, device="cpu")
    log = [json.loads(line) for line in (whole.folder / "log.jsonl").read_text().splitlines()]
    broken = [entry for entry in log if "not_finite" in entry]
    md5 = Path(bad).stem
    assert len(broken) == whole.skipped > 0
    assert [entry["not_finite"] for entry in broken] == [
        {
            "step": entry["step"],
            "what": "loss",
            "images": [{"md5": md5, "path": bad}],
            "layer": NOWHERE,
        }
        for entry in broken
    ]
    assert all(("loss" in entry) is ("not_finite" not in entry) for entry in log)
    exposures = pq.read_table(whole.folder / "exposures.parquet").to_pylist()
    assert {row["md5"]: row["skipped"] for row in exposures if row["skipped"]} == {md5: len(broken)}
    assert sum(row["seen"] for row in exposures) == whole.images == 8

    torn = recipe(out="runs/torn", **section)
    real = loop.train_step

    def interrupted(run: Setup, step: int, counted: np.ndarray) -> Any:
        if step == broken[0]["step"] - 1:
            signal.raise_signal(signal.SIGINT)
        return real(run, step, counted)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(torn, dataset, device="cpu")
    resumed = train(torn, dataset, resume=True, device="cpu")
    assert resumed.skipped == whole.skipped
    assert pq.read_table(resumed.folder / "exposures.parquet").to_pylist() == exposures
    ended = [load_file(run.adapter) for run in (whole, resumed)]
    assert all(torch.equal(ended[0][name], ended[1][name]) for name in ended[0])


@pytest.mark.parametrize(("most", "before"), [(0, ""), (2, ", as in the 2 steps before it")])
def test_too_many_in_a_row_stop_the_run(
    dataset: Path, recipe: Make, monkeypatch: pytest.MonkeyPatch, most: int, before: str
) -> None:
    asked = recipe(loss={"skip_nonfinite": most}, steps={"total": 9, "batch": 1})
    real = loop.setup

    def broken(*arguments: Any, **options: Any) -> Setup:
        run = real(*arguments, **options)
        run.unet.conv_in.bias.data[0] = float("inf")
        return run

    with monkeypatch.context() as patch:
        patch.setattr(loop, "setup", broken)
        with pytest.raises(Failure) as caught:
            train(asked, dataset, device="cpu")
    run = ready(asked.model_copy(update={"out": "runs/other"}), dataset)
    path = run.data.table.column("path")[int(run.batches[most].places[0])]
    assert str(caught.value) == (
        f"the loss is not finite at step {most + 1} (images: {path}; first in unet.conv_in (IN00))"
        f"{before}: lower optimizer.lr, or look at these images, then start anew with --overwrite;"
        " --resume with a higher loss.skip_nonfinite skips more"
    )
    lines = (dataset / "runs/first/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, most + 2))
    more = recipe(loss={"skip_nonfinite": most + 1}, steps={"total": 9, "batch": 1})
    assert train(more, dataset, resume=True, device="cpu").skipped == 0
