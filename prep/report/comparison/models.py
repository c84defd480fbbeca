"""Who has drawn an experiment's pictures, and where each of them lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from prep.report.comparison.seeds import Shown
from prep.report.pictures import encoded, whole
from schemas.experiment_results import ExperimentResult


@dataclass(frozen=True)
class Model:
    """The base or an arm, and the folder of its pictures by training seed (the base's: None)."""

    name: str
    folders: Mapping[int | None, str]


def models_of(result: ExperimentResult, shown: Shown) -> list[Model]:
    """Return the base, where it has drawn, and the arms."""
    base = [Model("base", {None: result.base_pictures})] if result.base_pictures else []
    drawn: list[dict[int | None, str]] = [
        {run.seed: run.pictures for run in arm.runs if run.pictures and run.seed in shown.training}
        for arm in result.arms
    ]
    return base + [Model(arm.name, own) for arm, own in zip(result.arms, drawn, strict=True)]


def path_of(folder: str, number: int, seed: int) -> str:
    """Return where the picture of a prompt lies, from the dataset's folder; the first has 1."""
    return f"{folder}/{number:02}-seed{seed}.png"


def paths_of(result: ExperimentResult, shown: Shown) -> list[str]:
    """Return where all pictures lie that are shown, there or not."""
    return [
        path_of(folder, number, seed)
        for model in models_of(result, shown)
        for folder in model.folders.values()
        for number in range(1, len(result.prompts) + 1)
        for seed in shown.pictures
    ]


def uris_of(paths: Sequence[str], root: Path, budget: int) -> dict[str, str]:
    """Return the pictures that are there as data URIs, within a budget of bytes for all."""
    files = {path: root / PurePosixPath(path) for path in dict.fromkeys(paths)}
    there = [path for path, file in files.items() if whole(file)]
    return dict(zip(there, encoded([files[path] for path in there], budget), strict=True))
