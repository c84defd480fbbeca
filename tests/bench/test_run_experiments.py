"""The runner of experiments: nothing is done twice, and all is kept.

The real chain, trainer and tagger, on a base model that knows no picture; what is small is the
number of pictures and steps.
"""

import json
import re
from pathlib import Path
from typing import Any

import experiment_data
import pytest
from experiment_data import counts, data_key, prep_recipe
from run_experiments import Bench, check, load_all, run_all

from prep.demo.model import SIDE, build_model
from schemas.errors import RecipeError
from schemas.recipes.experiment import ExperimentRecipe, merged
from schemas.tables import MANIFEST
from train.adapter_file import read_adapter
from train.run_folder import RunFolder

SMALL = {
    "prep": {"sets": {"main": {"limit": 8}}},
    "ask": {"pictures": 1, "steps": 1, "prompts": ["hat", "akari (hoshizora academy), smile"]},
    "seeds": [1],
}


def small(name: str) -> ExperimentRecipe:
    """A shipped experiment, of few pictures."""
    experiment = load_all(only=[name])[name]
    values = merged(experiment.model_dump(mode="json"), SMALL)
    for arm in values["arms"].values():
        if "limit" in (plain := arm["prep"].get("sets", {}).get("plain", {})):
            plain["limit"] = 2
    return ExperimentRecipe.model_validate(values)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def bench(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(experiment_data, "DRAWING", (1, 1.0))
    return Bench.open(tmp_path / "work", model, steps=2, fresh=28)


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_every_arm_is_trained_and_read_and_nothing_is_done_twice(
    bench: Bench,
) -> None:
    experiment = small("regularization")
    assert run_all(bench, {"regularization": experiment}) == []
    regs, captions = {}, {}
    for arm in experiment.arms:
        data = bench.work / "data" / data_key(experiment, arm)
        rows = MANIFEST.read(data / "manifest.parquet").to_pylist()
        regs[arm] = counts(data)["reg"]
        captions[arm] = {row["caption"] for row in rows if row["is_reg"]}
    assert regs["none"] == 0
    assert regs["booru"] > 0
    assert regs["transparent"] == 1
    assert captions["transparent"] == {""}
    assert captions["self-made"] <= captions["booru"]
    assert len(list((bench.work / "results").iterdir())) == 4
    assert len(list((bench.work / "base").glob("*.json"))) == 1  # the base draws once for all
    found = json.loads(bench.result_file(experiment, "none", 1).read_text(encoding="utf-8"))
    assert found["steps"] == 2
    assert found["bytes"] > 1000
    assert 0 <= found["recall"] <= 1
    assert 0 <= found["signature"] <= 1
    assert found["style"] is None
    before = stamps(bench.work)
    run_all(bench, {"regularization": experiment})
    assert stamps(bench.work) == before


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_and_a_broken_one_starts_anew(bench: Bench) -> None:
    experiment = small("style-text-encoder")
    arm = "U-Net only"
    bench.run(experiment, arm, 1)
    file = bench.result_file(experiment, arm, 1)
    first = json.loads(file.read_text(encoding="utf-8"))
    assert 0 <= first["style"] <= 1
    assert first["signature"] is None
    run = RunFolder(bench.work / first["run"])
    tensors, _ = read_adapter(run.adapter)
    for broken in (False, True):  # after its last state; with that state cut short
        file.unlink()
        run.result.unlink()
        if broken:
            run.states()[-1].write_bytes(b"cut")
        bench.run(experiment, arm, 1)
        again = json.loads(file.read_text(encoding="utf-8"))
        same, _ = read_adapter(run.adapter)
        assert tensors.keys() == same.keys()
        assert all((tensors[name] == same[name]).all() for name in tensors)
        assert again["recall"] == first["recall"]
        assert again["style"] == first["style"]


def test_the_same_training_in_two_experiments_is_one(tmp_path: Path, model: Path) -> None:
    bench = Bench.open(tmp_path, model)
    all_of_them = load_all()
    runs = [
        (bench.result_file(experiment, arm, seed), name)
        for name, experiment in all_of_them.items()
        for arm in experiment.arms
        for seed in experiment.seeds
    ]
    assert len({file for file, _ in runs}) == 42  # of 57
    first = {
        bench.result_file(all_of_them[name], arm, 1)
        for name, arm in (("blocks", "all"), ("rank", "16"), ("regularization", "none"))
    }
    assert len(first) == 1
    other = Bench.open(tmp_path, model, steps=7)
    assert other.result_file(all_of_them["rank"], "16", 1) not in first


def test_arms_are_trained_at_the_size_of_the_base_model_or_less() -> None:
    for name, experiment in load_all().items():
        sizes = [experiment.train_of(arm).latents.resolution for arm in experiment.arms]
        assert sizes[0] == SIDE, f"{name}: set latents.resolution in bases/*.toml to {SIDE}"
        assert max(sizes) == SIDE


def test_captions_are_of_the_arm_whose_images_a_query_finds() -> None:
    experiment = load_all()["regularization"]
    assert prep_recipe(experiment, "self-made").sets["plain"].folder == "self-made"
    alone = experiment.model_copy(
        update={"arms": {name: experiment.arms[name] for name in ("none", "self-made")}}
    )
    message = (
        '"self-made" pictures are drawn by the captions of an arm whose regularization images'
        " come from a query, and no arm has such: add one"
    )
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        data_key(alone, "self-made")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"learnt": "hta"}, 'x: the demo\'s world has no tag "hta"'),
        ({"figures": ("watched",)}, 'x: figures name "watched", but ask.watch names no tag'),
    ],
)
def test_what_cannot_be_read_is_said_before_anything_is_trained(
    changes: dict[str, Any], says: str
) -> None:
    experiment = load_all()["blocks"].model_copy(update=changes)
    with pytest.raises(RecipeError, match=f"^{re.escape(says)}$"):
        check(experiment, "x")
    with pytest.raises(RecipeError, match=r"^no experiment nought in .*: there are blocks, "):
        load_all(only=["nought"])
