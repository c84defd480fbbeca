"""The resolved recipe as TOML, the log and the states of a run."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from schemas.errors import DiskError, ModelError
from train.outputs import Log
from train.run_folder import RunFolder, State, load_state, save_state, trim_log
from train.validation import Validation


def state(step: int) -> State:
    return State(
        step=step,
        seconds=1.5,
        adapter={"a": torch.randn(3)},
        optimizer={"state": {0: {"exp_avg": torch.randn(3)}}, "param_groups": [{"lr": 1.0}]},
        average=[torch.randn(3)],
        scale={},
        counts=torch.zeros((2, 4), dtype=torch.int64),
        marks={"a": 1.0},
        broken=2,
        broken_in_a_row=1,
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
    assert (back.marks, back.broken, back.broken_in_a_row) == ({"a": 1.0}, 2, 1)


def test_a_broken_state_is_said_to_be_broken(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    save_state(folder, state(3))
    path = folder.states()[0]
    path.write_bytes(path.read_bytes()[:200])
    message = f"{path} is broken: --overwrite starts the run anew"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        load_state(folder)


def test_a_disk_without_room_for_the_states_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "first")
    folder.check_room(1000, 0)
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(DiskError) as caught:
        folder.check_room(free, free)
    assert re.sub(r"[\d.,]+ MB", "SOME MB", str(caught.value)) == (
        f"{folder.path} needs about SOME MB for the states of the run and SOME MB are free: free"
        " some, or name a folder elsewhere in `out`"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device without room")
def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log.symlink_to("/dev/full")
    with pytest.raises(DiskError) as caught, Log(folder, 0) as log:
        log.validation(1, Validation(1.0, {100: 1.0}))
    assert str(caught.value) == (
        f"no space left to write {folder.log}: free some, then run the command again"
    )


def test_the_log_is_cut_back_to_the_state(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    lines = ['{"step": 1, "loss": 2.0}', '{"step": 2, "loss": 1.0}', '{"step": 3, "lo']
    folder.log.write_text("\n".join(lines), encoding="utf-8")
    trim_log(folder, 2)
    assert folder.log.read_text(encoding="utf-8") == "\n".join(lines[:2]) + "\n"
    trim_log(folder, 1)
    assert folder.log.read_text(encoding="utf-8") == lines[0] + "\n"
