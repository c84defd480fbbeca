"""`train compare`: trained, drawn and read once, stopped and gone on, and told what failed.

The real trainer, tagger and pages, on a base model that knows no picture.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from schemas.command import run as run_command
from schemas.experiment_results import ExperimentResult, read_result
from train.adapter_file import read_adapter
from train.cli import app
from train.run_folder import RunFolder

Write = Callable[..., Path]
PAIR = "[arms.all]\n[arms.weak]\ndraw.strength = 0.5\n"


def compare(folder: Path, *words: Path | str) -> int:
    return run_command(app, ["compare", *map(str, words), "--data", str(folder), "--device", "cpu"])


def results(folder: Path, name: str = "x") -> ExperimentResult:
    return read_result(folder / f"experiments/{name}.json")


def stamps(folder: Path) -> dict[Path, int]:
    """When each file below was written, but for pages, which are made of the rest."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".html")
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
def test_every_arm_is_trained_drawn_and_read_once(
    folder: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = '[arms.early]\ndraw.checkpoint = 1\n[arms.cycles]\ncommand = "relora"\n'
    path = write(PAIR + arms, figures='figures = ["signature", "validation"]')
    with (folder / "train.toml").open("a", encoding="utf-8") as file:
        file.write("[validate]\nshare = 0.1\nimages = 1\ntimesteps = [500]\n")
    assert compare(folder, path) == 0
    page = folder.resolve() / "experiments/x.html"
    out, err = capsys.readouterr()
    assert out == f"x: One run each: not decided.\n{page}\n"
    assert "2 of 4: x, weak, seed 1\n" in err
    assert page.is_file()
    assert (folder / "experiments/index.html").is_file()
    found = results(folder)
    every, weak, early, cycles = (arm.runs[0] for arm in found.arms)
    assert len(list((folder / "experiments/runs").glob("*-seed1"))) == 2
    assert every.folder == weak.folder == early.folder != cycles.folder
    assert len({run.pictures for run in (every, weak, early, cycles)}) == 4
    assert [len(run.losses) for run in (every, cycles)] == [2, 2]
    assert [step for step, _ in every.validation] == [0, 1, 2]
    assert [step for step, _ in cycles.validation] == [0, 1, 1, 2]
    losses = [run.figures["validation"] for run in (every, weak, early, cycles)]
    assert losses == [every.validation[2][1], None, every.validation[1][1], cycles.validation[3][1]]
    assert [one.figure for one in found.differences if one.arm == "early"] == [
        "signature", "validation",
    ]  # fmt: skip
    assert [one.figure for one in found.differences if one.arm == "weak"] == ["signature"]
    assert found.prompts == ("akari", "akari, smile", "hat")
    assert found.real["signature"] is not None
    assert found.real["signature"] > 0.9
    assert found.real["watched"] is not None
    assert set(every.figures) > {"signature", "kept", "obeyed", "unasked", "watched"}
    assert set(every.recall) == {"smile", "hat"}
    assert every.seconds > 0
    assert every.memory == weak.memory > 2**20
    assert 0 < cycles.memory <= every.memory
    assert every.images == cycles.images == 2
    assert every.bytes == RunFolder(folder / every.folder).adapter.stat().st_size
    with Image.open(folder / weak.pictures / "02-seed1.png") as picture:
        told = picture.text["parameters"]  # type: ignore[attr-defined]
    assert told.splitlines()[0] == f"akari, smile <lora:{Path(weak.folder).name}:0.5>"
    before = stamps(folder)
    assert compare(folder, path) == 0
    assert stamps(folder) == before
    other = write("[arms.one]\n[arms.half]\ndraw.strength = 0.5\n", name="again")
    assert compare(folder, other) == 0
    new = {path.relative_to(folder).as_posix() for path in stamps(folder).keys() - before.keys()}
    assert new == {"experiments/again.json"}


@pytest.mark.slow
def test_a_stop_anywhere_changes_nothing_in_the_end(
    compared: Path, tmp_path: Path, write: Write
) -> None:
    folder, path = shutil.copytree(compared, tmp_path / "moved"), write(PAIR)
    first = results(folder)
    run = RunFolder(folder / first.arms[0].runs[0].folder)
    tensors, _ = read_adapter(run.adapter)
    pictures = folder / first.arms[1].runs[0].pictures
    drawn = [file.read_bytes() for file in sorted(pictures.glob("*.png"))]
    for broken in (False, True):  # behind its last state; with that state cut short
        run.result.unlink()
        if broken:
            run.states()[-1].write_bytes(b"cut")
        (pictures / "03-seed1.png").unlink()
        next(pictures.glob("read-*.json")).unlink()
        assert compare(folder, path) == 0
        same, _ = read_adapter(run.adapter)
        assert all((tensors[name] == same[name]).all() for name in tensors)
        assert [file.read_bytes() for file in sorted(pictures.glob("*.png"))] == drawn
        assert [a.runs[0].figures for a in results(folder).arms] == [
            a.runs[0].figures for a in first.arms
        ]


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_count(
    compared: Path, tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(compared, tmp_path / "moved")
    path, fine = write("[arms.all]\n[arms.wild]\ntrain.adapter.dim = 4"), write(PAIR, name="fine")
    (folder / "experiments/x.json").unlink()
    assert compare(folder, path, "--dry-run", "--json") == 0
    wild = folder / "experiments/runs" / json.loads(capsys.readouterr().out)[1]["training"]
    wild.mkdir(parents=True)
    (wild / "notes.txt").write_text("mine", encoding="utf-8")
    assert compare(folder, path, fine) == 1
    out, err = capsys.readouterr()
    assert out == f"fine: One run each: not decided.\n{folder}/experiments/fine.html\n"
    why = f"{wild} holds other things than a run: name another folder in `out`"
    assert err.splitlines()[-1] == f"train: 1 failed: x, wild, seed 1: {why}"
    assert not (folder / "experiments/x.json").exists()
    assert results(folder, "fine").seeds == (1,)


def test_a_dry_run_lists_what_is_to_do_and_does_nothing(
    folder: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(folder, write(PAIR), "--seeds", "2", "--dry-run") == 0
    out, _ = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["experiment", "arm", "seed", "state", "training"],
        *(["x", arm, seed, "to", "train"] for seed in "12" for arm in ("all", "weak")),
        [],
        *(["4", "runs,", "2", "trainings", "to", "do"],),
    ]
    assert not (folder / "experiments").exists()
    assert compare(folder, write(PAIR), "--seeds", "5,6", "--dry-run", "--json") == 0
    planned = json.loads(capsys.readouterr().out)
    assert [(one["arm"], one["seed"], one["state"]) for one in planned] == [
        (arm, seed, "to train") for seed in (5, 6) for arm in ("all", "weak")
    ]


@pytest.mark.parametrize(
    ("lines", "words", "says"),
    [
        (
            {"ask": 'ask = { pictures = 1, prompts = ["qzx"] }'},
            [],
            "x: the tagger tagger knows none of the tags that ask.prompts asks for: ask for others,"
            " or read with another tagger",
        ),
        ({"ask": 'ask.watch = "qzx"'}, [], 'x: ask.watch: the tagger knows no tag "qzx"'),
        (
            {"ask": 'ask.signature = ["qzx"]'},
            [],
            'x: ask.signature: the tagger knows no tag "qzx"',
        ),
        (
            {"figures": 'figures = ["style"]'},
            [],
            'x: figures name "style", which cannot be read here: it needs a reader of styles, which'
            " only the demo's world has",
        ),
        (
            {"ask": 'ask = { pictures = 1, prompts = ["hat"] }', "figures": 'figures = ["obeyed"]'},
            [],
            'x: figures name "obeyed", which cannot be read here: it needs prompts with tags beside'
            " the trigger",
        ),
        ({}, ["--seeds", "few"], "--seeds few: give how many, such as 5, or which, such as 4,5"),
        ({}, ["--seeds", "4,4"], "--seeds 4,4: give each of them once"),
        (
            {"train": 'train.sets = ["nobody"]'},
            [],
            'x, arm all: sets names "nobody", which data {folder}/manifest.parquet does not hold:'
            " it holds main, plain",
        ),
    ],
)
def test_what_cannot_be_read_or_trained_is_said_before_any_training(
    folder: Path,
    write: Write,
    capsys: pytest.CaptureFixture[str],
    lines: dict[str, str],
    words: list[str],
    says: str,
) -> None:
    assert compare(folder, write(PAIR, **lines), *words) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"train: {says.format(folder=folder)}"
    assert not (folder / "experiments").exists()


def test_files_of_one_name_and_none_at_all_are_refused(
    folder: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(PAIR)
    (path.parent / "more").mkdir()
    other = path.parent / "more/x.toml"
    other.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert compare(folder, path, other) == 2
    assert compare(folder) == 2
    assert compare(path.parent, path) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "train: two experiments are named x: their results are one file"
    assert second == "train: no experiment: name a file, such as rank.toml"
    assert re.fullmatch(r"train: .* has no prep\.toml, over which experiments are laid: .*", third)
