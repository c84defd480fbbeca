"""ReLoRA: what the cycles are, that a merge changes nothing, and that kills change nothing."""

import json
import shutil
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from schemas.command import run
from schemas.errors import DatasetError, RecipeError
from schemas.recipes.train import AdapterSection, TrainRecipe
from schemas.recipes.write import to_toml
from train import loop, train
from train.adapters.adapter import attach_adapter
from train.blocks import ARCHITECTURES
from train.cli import app
from train.finished import open_run
from train.merging.sources import Source
from train.model import find_model
from train.relora import cycles_of, relora
from train.run_folder import RunFolder, load_state
from train.sampling import add_adapters
from train.setup import networks

Make = Callable[..., TrainRecipe]
Made = Callable[[Path], Path]

TWO: dict[str, Any] = {
    "steps": {"total": 1, "batch": 2},
    "caption": {"tokens": 75},
    "optimizer": {"lr": 1e-2, "schedule": "cosine"},
    "relora": {"cycles": 2, "steps": 2, "warmup": 1},
    "save": {"every": 0},
}


def test_cycles_halve_the_rate_and_the_last_are_on_the_finishing_set(recipe: Make) -> None:
    finish = {"set": "picks", "times": 2, "steps": 5}
    section = {"cycles": 3, "steps": 10, "warm_start": 20, "finish": finish}
    asked = recipe(optimizer={"lr": 1e-3, "text_encoder_lr": 1e-4, "warmup": 7}, relora=section)
    cycles = cycles_of(asked, ["main", "picks", "plain"])
    assert [(c.name, c.steps, c.first, c.recipe.sets) for c in cycles] == [
        ("cycle-01", 20, 0, ("main", "plain")),
        ("cycle-02", 10, 20, ("main", "plain")),
        ("cycle-03", 10, 30, ("main", "plain")),
        ("finish-01", 5, 40, ("picks",)),
        ("finish-02", 5, 45, ("picks",)),
    ]
    assert [c.recipe.optimizer.lr for c in cycles] == [1e-3 / 2**n for n in range(5)]
    assert [c.recipe.optimizer.text_encoder_lr for c in cycles] == [1e-4 / 2**n for n in range(5)]
    assert [c.recipe.optimizer.warmup for c in cycles] == [7, 10, 10, 10, 10]
    assert cycles[0].recipe.seed == asked.seed
    assert len({c.recipe.seed for c in cycles}) == 5
    assert {c.recipe.save.precision for c in cycles} == {"fp32"}


def test_an_adapter_to_start_from_is_the_first_cycles_alone(recipe: Make) -> None:
    cycles = cycles_of(recipe(adapter={"start": "a.safetensors"}), ["main"])
    assert [c.recipe.adapter.start for c in cycles] == ["a.safetensors", "", ""]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (
            ["main", "plain"],
            'relora.finish names the set "picks", which manifest.parquet does not hold: it holds'
            " main, plain",
        ),
        (
            ["picks"],
            'relora.finish takes the set "picks", and no other is left for the cycles before it',
        ),
    ],
)
def test_a_finishing_set_must_be_there_and_not_be_all(
    recipe: Make, sets: list[str], message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        cycles_of(recipe(relora={"finish": {"set": "picks"}}), sets)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "section",
    [
        AdapterSection(kind="lora", dim=4, alpha=2),
        AdapterSection(kind="locon", dim=4, alpha=2, conv_dim=2),
        AdapterSection(kind="dora", dim=4, alpha=2),
        AdapterSection(kind="loha", dim=2, alpha=2),
        AdapterSection(kind="lokr", dim=2, alpha=2),
    ],
    ids=lambda section: section.kind,
)
def test_a_merge_leaves_what_is_computed_as_it_was(
    recipe: Make, dataset: Path, section: AdapterSection
) -> None:
    if section.kind in ("loha", "lokr"):
        pytest.importorskip("lycoris")
    model = find_model(recipe().model, dataset)
    unet, encoders = model.unet(), model.text_encoders()
    adapter = attach_adapter(ARCHITECTURES["sd15"], unet, encoders, section, 0)
    generator = torch.Generator().manual_seed(1)
    for weight in adapter.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=generator)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    ids = torch.arange(77)[None].repeat(2, 1) % encoders[0].config.vocab_size

    @torch.no_grad()
    def computed() -> torch.Tensor:
        text = encoders[0](ids).last_hidden_state
        found: torch.Tensor = unet(x, torch.tensor([10, 500]), text).sample
        return found

    with adapter.off():
        plain = computed()
    before = computed()
    adapter.merge()
    after = computed()
    assert (before - plain).norm() > 0.01 * plain.norm()
    assert (after - before).norm() < 1e-5 * before.norm()


def logged(run_: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_ / "log.jsonl").read_text().splitlines()]


def validation_losses(run_: Path) -> list[float]:
    return [line["validation_loss"] for line in logged(run_) if "validation_loss" in line]


@pytest.mark.slow
def test_each_cycle_begins_with_the_function_that_the_one_before_ended_with(
    dataset: Path, recipe: Make
) -> None:
    asked = recipe(**TWO, validate={"share": 0.4})
    result = relora(asked, dataset, device="cpu")
    first, second = (validation_losses(result.folder / c.name) for c in result.cycles)
    assert first[0] != pytest.approx(first[-1], rel=1e-4)
    assert second[0] == pytest.approx(first[-1], rel=1e-5)
    assert second[-1] != pytest.approx(second[0], rel=1e-4)
    again = open_run(result.folder / "cycle-02", "cpu")
    with again.at(None):
        begun = again.painter.draw("azusa", "", 1, (64, 64), 2, 1.0)
    once = open_run(result.folder / "cycle-01", "cpu")
    with once.at(once.checkpoints[-1].path):
        ended = once.painter.draw("azusa", "", 1, (64, 64), 2, 1.0)
    difference = np.asarray(begun).astype(int) - np.asarray(ended).astype(int)
    assert abs(difference).max() <= 1
    with pytest.raises(DatasetError, match="holds cycles of `train relora`: name one of them"):
        open_run(result.folder, "cpu")
    told = json.loads((result.folder / "result.json").read_text())
    assert told["steps"] == 4
    assert [one["adapter"] for one in told["cycles"]] == [
        "cycle-01.safetensors",
        "cycle-02.safetensors",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("curve", ["cycle", "whole"])
def test_the_rate_falls_to_nothing_at_a_restart_and_climbs_back(
    dataset: Path, recipe: Make, curve: str
) -> None:
    section = {"cycles": 2, "steps": 3, "warmup": 2, "curve": curve}
    changes = TWO | {"relora": section, "optimizer": {"lr": 1.0e-2, "schedule": "linear"}}
    result = relora(recipe(**changes), dataset, device="cpu")
    rates = [
        [line["lr"] for line in logged(result.folder / c.name) if "lr" in line]
        for c in result.cycles
    ]
    by_curve = {
        # each cycle's own line, the second at half the rate
        "cycle": [[1e-2, 2e-2 / 3, 1e-2 / 3], [0.0, 2.5e-3, 5e-3]],
        # one line over six steps, with the climb of two steps in it
        "whole": [[1e-2, 5e-2 / 6, 4e-2 / 6], [0.0, 1e-2 / 6, 1e-2 / 6]],
    }
    for found, expected in zip(rates, by_curve[curve], strict=True):
        assert found == pytest.approx(expected)


def tensors(folder: Path) -> dict[str, bytes]:
    return {
        f"{path.parent.name} {name}": tensor.numpy().tobytes()
        for path in sorted(folder.glob("*-0?/*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def finishing(reset: str) -> dict[str, Any]:
    """What is changed for two cycles and a third on the finishing set."""
    finish = {"set": "picks", "steps": 2}
    return TWO | {"relora": {**TWO["relora"], "reset": reset, "finish": finish}}


def stop_in(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ctrl-C arrive within so manieth a step, counted over all cycles."""
    real, calls = loop.train_step, 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            signal.raise_signal(signal.SIGINT)
        return real(*arguments, **options)

    monkeypatch.setattr(loop, "train_step", interrupted)


@pytest.fixture(scope="module")
def make_picked(make_dataset: Callable[[Path], Path], write_manifest: Callable[..., None]) -> Made:
    """Make the dataset with its last image to learn from in a set of its own."""

    def make(folder: Path) -> Path:
        rows = pq.read_table(make_dataset(folder) / "manifest.parquet").to_pylist()
        [*_, last] = [row for row in rows if not row["is_reg"]]
        last["set"] = "picks"
        write_manifest(folder, rows)
        return folder

    return make


@pytest.fixture
def picked(tmp_path: Path, make_picked: Made) -> Path:
    return make_picked(tmp_path / "picked")


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, make_picked: Made, recipe: Make
) -> Callable[[str], Path]:
    """`undisturbed(reset)`: the folder of cycles that nothing stopped, on the same pictures."""

    @cache
    def trained(reset: str) -> Path:
        folder = make_picked(tmp_path_factory.mktemp("undisturbed") / "picked")
        return relora(recipe(out="runs/whole", **finishing(reset)), folder, device="cpu").folder

    return trained


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, make_picked: Made, recipe: Make) -> Path:
    """A dataset with two finished cycles, to be copied."""
    folder = make_picked(tmp_path_factory.mktemp("finished") / "picked")
    relora(recipe(**TWO), folder, device="cpu")
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copied"))


@pytest.mark.slow
@pytest.mark.parametrize(("reset", "call"), [("zero", 2), ("prune", 3), ("prune", 5)])
def test_stopped_in_any_cycle_and_resumed_is_undisturbed(
    undisturbed: Callable[[str], Path],
    picked: Path,
    recipe: Make,
    monkeypatch: pytest.MonkeyPatch,
    reset: str,
    call: int,
) -> None:
    asked = recipe(out="runs/torn", **finishing(reset))
    with monkeypatch.context() as patch:
        stop_in(call, patch)
        with pytest.raises(KeyboardInterrupt):
            relora(asked, picked, device="cpu")
    resumed = relora(asked, picked, resume=True, device="cpu")
    assert tensors(resumed.folder) == tensors(undisturbed(reset))
    exposures = pq.read_table(resumed.folder / "finish-01/exposures.parquet").to_pydict()
    assert exposures["set"] == ["picks"]


@pytest.mark.slow
def test_a_kill_between_two_cycles_costs_nothing(copied: Path, recipe: Make) -> None:
    folder = copied / "runs/first"
    before = tensors(folder)
    (folder / "result.json").unlink()
    shutil.rmtree(folder / "cycle-02")
    relora(recipe(**TWO), copied, resume=True, device="cpu")
    assert tensors(folder) == before


@pytest.mark.slow
def test_a_reset_forgets_and_pruned_moments_are_remembered(picked: Path, recipe: Make) -> None:
    """The first update after a restart differs by what is remembered, and by nothing else."""
    section = {"cycles": 2, "steps": 2, "warmup": 0, "lr_factor": 1.0}
    found = {
        reset: relora(
            recipe(out=f"runs/{reset}", **TWO | {"relora": {**section, "reset": reset}}),
            picked,
            device="cpu",
        )
        for reset in ("zero", "prune")
    }
    first, second = (tensors(result.folder) for result in found.values())
    same = {name for name in first if first[name] == second[name]}
    assert {name for name in first if name.startswith("cycle-01")} <= same
    assert not {name for name in first if name.startswith("cycle-02") and "up" in name} <= same
    steps = {
        reset: load_state(RunFolder(result.folder / "cycle-02")).optimizer["state"][0]["step"]
        for reset, result in found.items()
    }
    assert (float(steps["zero"]), float(steps["prune"])) == (2.0, 4.0)


def test_the_folder_of_other_cycles_is_not_gone_on_with(copied: Path, recipe: Make) -> None:
    folder = copied / "runs/first"
    (folder / "result.json").unlink()
    longer = recipe(**TWO | {"relora": {**TWO["relora"], "cycles": 3}})
    message = (
        f"{folder} cannot go on with other inputs (relora.cycles was 2, now 3): put them back,"
        " or name another folder in `out`"
    )
    with pytest.raises(RecipeError) as error:
        relora(longer, copied, resume=True, device="cpu")
    assert str(error.value) == message


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rank"), [("lora", 2 * 2), ("loha", 2 * 2 * 2)])
def test_all_cycles_are_one_adapter_that_does_what_they_do_in_turn(
    kind: str, rank: int, picked: Path, recipe: Make
) -> None:
    section = {"kind": kind, "dim": 2, "blocks": "M00,TE"}
    asked = recipe(**TWO | {"save": {"precision": "fp32"}, "adapter": section})
    result = relora(asked, picked, device="cpu")
    assert result.adapter is not None
    plain = find_model(asked.model, picked)
    unet, encoders, _ = networks(asked, plain, [cycle.adapter for cycle in result.cycles])
    whole, others = plain.unet(), plain.text_encoders()
    add_adapters([Source(result.adapter)], plain.architecture, whole, others)
    for one, other in ((unet, whole), (encoders[0], others[0])):
        weights = dict(one.named_parameters())
        for name, weight in other.named_parameters():
            assert torch.allclose(weight, weights[name], atol=1e-6), name
    ranks = {t.shape[0] for n, t in load_file(result.adapter).items() if "lora_down" in n}
    assert ranks == {rank}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("dora", "cycles of dora are no one adapter: `train merge` merges them in turn"),
        ("full", "cycles of full add up to a change of full rank: relora.rank makes a LoRA of it"),
    ],
)
def test_why_cycles_are_not_joined_is_told(
    kind: str, said: str, picked: Path, recipe: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"adapter": {"kind": kind, "blocks": "M00"}, "relora": {"cycles": 1, "steps": 1}}
    file = picked / "train.toml"
    file.write_text(to_toml(recipe(**TWO | changes)), encoding="utf-8")
    assert run(app, ["relora", str(file), "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert said in err
    assert [Path(line).parent.name for line in out.splitlines()] == ["cycle-01"]


def test_a_set_that_is_not_there_is_told(dataset: Path, recipe: Make) -> None:
    path = dataset / "manifest.parquet"
    with pytest.raises(DatasetError) as error:
        train(recipe(sets=["man"]), dataset, device="cpu")
    assert str(error.value) == (
        f'sets names "man", which data {path} does not hold: it holds main, plain'
    )


@pytest.mark.slow
def test_cycles_are_listed_before_they_are_trained(
    picked: Path, recipe: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    file = picked / "train.toml"
    finish = {"set": "picks", "steps": 3}
    asked = recipe(**TWO | {"relora": {**TWO["relora"], "finish": finish}})
    file.write_text(to_toml(asked), encoding="utf-8")
    assert run(app, ["relora", str(file), "--dry-run", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()[:4]] == [
        ["cycle", "sets", "steps", "rate"],
        ["cycle-01", "main,", "plain", "2", "0.01"],
        ["cycle-02", "main,", "plain", "2", "0.005"],
        ["finish-01", "picks", "3", "0.0025"],
    ]
    assert not (picked / "runs").exists()
    assert run(app, ["relora", str(file), "--device", "cpu"]) == 0
    folder = picked / "runs/first"
    assert capsys.readouterr().out.splitlines() == [
        *(str(folder / n / f"{n}.safetensors") for n in ("cycle-01", "cycle-02", "finish-01")),
        str(folder / "first.safetensors"),
    ]
