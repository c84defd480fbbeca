"""`train merge` as it is typed."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.command import run
from train.cli import app

Capture = pytest.CaptureFixture[str]


def test_a_dry_run_lists_what_is_found_and_writes_nothing(
    bases: dict[str, Path], tmp_path: Path, make_adapter: Any, capsys: Capture
) -> None:
    base = bases["sd15 file"]
    path = make_adapter("a.safetensors", "sd15", blocks="M00,OUT03-05,TE")
    before = sorted(tmp_path.iterdir())
    words = ["merge", str(base), f"{path}:0.5:TE,OUT03-04=2,OUT06", "--dry-run"]
    assert run(app, words) == 0
    out, err = capsys.readouterr()
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0].startswith("sd15.safetensors SD1.5, single file ")
    assert lines[1:] == [
        "a.safetensors lora at 0.5 66 of 66 modules",
        "a.safetensors counts 0.5 in TE; 0 in M00, OUT05; 1 in OUT03-04",
    ]
    assert err == ""
    assert run(app, [*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["matches"][0]["factors"]["OUT04"] == 1.0
    assert sorted(tmp_path.iterdir()) == before


def test_the_result_is_named(
    bases: dict[str, Path], tmp_path: Path, make_adapter: Any, capsys: Capture
) -> None:
    path = make_adapter("a.safetensors", "sd15", blocks="M00")
    out = tmp_path / "out.safetensors"
    assert run(app, ["merge", str(bases["sd15 file"]), str(path), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert out.is_file()


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        (
            ["BASE", "none.safetensors:0.8"],
            "none.safetensors:0.8 is missing: give a file or folder, and behind it :strength and"
            " :blocks, such as azusa.safetensors:0.8:OUT03-06",
            1,
        ),
        (
            ["BASE", "BASE:0,8", "--dry-run"],
            'BASE:0,8: "0,8" is no strength: give a number behind the first colon, and blocks'
            " behind the second",
            2,
        ),
        (
            ["BASE", "--dry-run"],
            "nothing to merge into BASE: name adapters or checkpoints behind it",
            2,
        ),
        (
            ["BASE", "BASE"],
            "where to? give --out, or --dry-run to see what would be merged",
            2,
        ),
        (
            ["BASE:0.5", "BASE", "--dry-run"],
            "BASE:0.5 is merged into and counts whole: give no strength with it",
            2,
        ),
    ],
)
def test_what_cannot_be_merged_is_one_sentence(
    words: list[str], message: str, status: int, bases: dict[str, Path], capsys: Capture
) -> None:
    base = str(bases["sd15 file"])
    assert run(app, ["merge", *(word.replace("BASE", base) for word in words)]) == status
    assert capsys.readouterr().err == f"train: {message.replace('BASE', base)}\n"
