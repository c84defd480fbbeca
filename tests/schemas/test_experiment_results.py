"""What an experiment came to, as a file."""

from pathlib import Path

import pytest

from schemas.errors import DataError
from schemas.experiment_results import (
    Arm,
    Difference,
    ExperimentResult,
    Run,
    read_result,
    write_result,
)


def result() -> ExperimentResult:
    run = Run(
        seed=1,
        figures={"signature": 0.5, "kept": None},
        recall={"hat": 1.0},
        seconds=1.5,
        memory=0,
        bytes=12,
        images=8,
        losses=((1, 0.5), (2, 0.25)),
        folder="experiments/runs/ab-seed1",
        pictures="experiments/pictures/ab-seed1",
    )
    return ExperimentResult(
        name="rank",
        question="Which rank?",
        figures=("signature",),
        seeds=(1,),
        asked_seeds=3,
        arms=(
            Arm(name="16", changes="", images=4, runs=(run,)),
            Arm(name="8", changes="train.adapter.dim = 8", images=4, runs=(run,)),
        ),
        base={"signature": 0.0},
        real={"signature": 1.0},
        differences=(Difference(arm="8", figure="signature", mean=0.0),),
        verdict="One run each: not decided.",
        prompts=("hat",),
        picture_seeds=(1, 2),
        size=(64, 64),
        settings=(("steps", "2"),),
    )


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_result(tmp_path / "rank.json", result())
    assert read_result(tmp_path / "rank.json") == result()


def test_broken_results_are_told(tmp_path: Path) -> None:
    path = tmp_path / "rank.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError) as told:
        read_result(path)
    begins = f"{path} cannot be read as an experiment's results: "
    assert str(told.value) == f"{begins}name: field required"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"results: invalid JSON: EOF while parsing an object"):
        read_result(path)
    path.unlink()
    with pytest.raises(DataError) as told:
        read_result(path)
    assert str(told.value) == f"{begins}No such file or directory"
