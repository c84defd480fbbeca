"""The resolved recipe as TOML, the log and the states of a run."""

import re
from pathlib import Path

import pytest
import torch

from schemas.errors import ModelError
from train.run_folder import RunFolder, State, load_state, save_state, trim_log


def state(step: int) -> State:
    return State(
        step=step,
        seconds=1.5,
        adapter={"a": torch.randn(3)},
        optimizer={"state": {0: {"exp_avg": torch.randn(3)}}, "param_groups": [{"lr": 1.0}]},
        average=[torch.randn(3)],
        scale={},
        counts=torch.zeros((2, 3), dtype=torch.int64),
        recipe={"seed": 1},
        manifest="m",
        model="n",
        batches="b",
    )


def test_only_the_newest_state_stays_and_comes_back_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for step in (9, 10, 100):
        save_state(folder, state(step))
    saved = state(1000)
    save_state(folder, saved)
    assert [path.name for path in folder.states()] == ["00001000.pt"]
    back = load_state(folder)
    assert torch.equal(back.adapter["a"], saved.adapter["a"])
    first = back.optimizer["state"][0]["exp_avg"]
    assert torch.equal(first, saved.optimizer["state"][0]["exp_avg"])
    assert (back.step, back.seconds, back.recipe) == (1000, 1.5, {"seed": 1})


def test_a_broken_state_is_said_to_be_broken(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    save_state(folder, state(3))
    path = folder.states()[0]
    path.write_bytes(path.read_bytes()[:200])
    message = f"{path} is broken: --overwrite starts the run anew"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        load_state(folder)


def test_the_log_is_cut_back_to_the_state(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    lines = ['{"step": 1, "loss": 2.0}', '{"step": 2, "loss": 1.0}', '{"step": 3, "lo']
    folder.log.write_text("\n".join(lines), encoding="utf-8")
    trim_log(folder, 2)
    assert folder.log.read_text(encoding="utf-8") == "\n".join(lines[:2]) + "\n"
    trim_log(folder, 1)
    assert folder.log.read_text(encoding="utf-8") == lines[0] + "\n"
