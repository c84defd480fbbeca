"""A run as the report shows it, read from its folder: recipe, curve, result, what was seen."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prep.dataset import Dataset
from schemas.errors import DatasetError
from schemas.recipes.load import load_train
from schemas.recipes.train import TrainRecipe
from schemas.tables import read_parquet


@dataclass(frozen=True)
class Run:
    """One training; `finished` is False while it is under way or was stopped."""

    path: Path
    recipe: TrainRecipe
    losses: tuple[tuple[int, float], ...]  # step, loss
    validation: tuple[tuple[int, float], ...]  # step, loss on the images held out
    seconds: float
    images: int  # seen, repeats counted
    finished: bool

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """What `train evaluate` has read in its pictures, if it was run."""
        path = self.path / "evaluate.json"
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def find_run(dataset: Dataset, folder: Path | None = None) -> Run | None:
    """Return the run in `folder`, or that of train.toml; None when train.toml's has not begun.

    Raises DatasetError when `folder` is given and holds no run.
    """
    if folder is not None:
        if not (folder / "recipe.toml").is_file():
            raise DatasetError(f"{folder} holds no run: name the folder that `train` has made")
        return read_run(folder)
    if not dataset.train_file.is_file():
        return None
    out = dataset.root / load_train(dataset.train_file).out
    return read_run(out) if (out / "recipe.toml").is_file() else None


def read_run(folder: Path) -> Run:
    """Return the run of a folder, finished or not."""
    steps = _lines(folder / "log.jsonl")
    losses = tuple((line["step"], line["loss"]) for line in steps if "loss" in line)
    last: dict[str, Any] = next((line for line in reversed(steps) if "loss" in line), {})
    return Run(
        path=folder.resolve(),
        recipe=load_train(folder / "recipe.toml"),
        losses=losses,
        validation=tuple(
            (line["step"], line["validation_loss"]) for line in steps if "validation_loss" in line
        ),
        seconds=last.get("seconds", 0.0),
        images=last.get("images", 0),
        finished=(folder / "result.json").is_file(),
    )


def seen(run: Run) -> tuple[Counter[str], Counter[str]] | None:
    """Return how many images of each set a finished run has seen, and why others were left out."""
    path = run.path / "exposures.parquet"
    if not path.is_file():
        return None
    rows = read_parquet(path).select(["set", "seen", "left_out"]).to_pylist()
    return (
        Counter(row["set"] for row in rows if row["seen"]),
        Counter(row["left_out"].partition(": ")[0] for row in rows if row["left_out"]),
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a kill may have cut the last line
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            found.append(entry)
    return found
