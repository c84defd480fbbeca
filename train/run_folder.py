"""A run's folder: what lies where, when it may be used, and the state from which it goes on.

recipe.toml            the resolved recipe
after.json             of a cycle: the adapters that were merged into the model before it
log.jsonl              a line per step: step, loss, lr, seconds, images; now and then how far
                       each block moved; what was not finite; a line per validation
tensorboard/           the same curves
samples/               a grid per sampled step, and its pictures
checkpoints/           adapters of earlier steps
state/                 weights, optimizer and step, whole: what --resume reads
exposures.parquet      how often each image was seen, what was cut and dropped of its captions, how
                       often it was mirrored and recolored, and how many of these exposures were in
                       steps that changed nothing
<name>.safetensors     the adapter
result.json            written last: the run is finished
evaluate/              pictures that `train evaluate` drew, a grid per adapter
evaluate.json          what the tagger read in them
"""

import io
import json
import os
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from schemas.errors import DatasetError, DiskError, ModelError, RecipeError
from schemas.files import write_bytes, write_json, write_text
from schemas.recipes.train import TrainRecipe
from schemas.recipes.write import to_toml

MEASURED = ("validate.images", "validate.timesteps")
# recipe keys, and whole sections, that do not shape the weights
WITHOUT_EFFECT = ("out", "data", "sample", "save", "loss.skip_nonfinite", *MEASURED)


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name: its folder's."""
        return self.path.name

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def exposures(self) -> Path:
        return self.path / "exposures.parquet"

    @property
    def adapter(self) -> Path:
        return self.path / f"{self.name}.safetensors"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluate.json"

    @property
    def evaluated(self) -> Path:
        return self.path / "evaluate"

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Raise DatasetError when the folder cannot be used in this way. Changes nothing."""
        used = self.path.is_dir() and any(self.path.iterdir())
        if resume and overwrite:
            raise DatasetError("--resume goes on and --overwrite starts anew: give one of them")
        if self.path.is_file():
            raise DatasetError(f"{self.path} is a file: name another folder in `out`")
        if resume and self.result.is_file():
            raise DatasetError(f"{self.path} holds a finished run: there is nothing to resume")
        if resume and not self.states():
            raise DatasetError(f"{self.path} holds no state to resume: leave --resume out")
        if resume or not used:
            return
        if not self.recipe.is_file():
            raise DatasetError(
                f"{self.path} holds other things than a run: name another folder in `out`"
            )
        if not overwrite:
            kind = "a finished run" if self.result.is_file() else "a run that was not finished"
            on = self.states() and not self.result.is_file()
            way = "--resume goes on with it, " if on else ""
            raise DatasetError(
                f"{self.path} holds {kind}: {way}--overwrite throws it away and starts anew,"
                " another `out` keeps both"
            )

    def check_room(self, weights: int, averages: int) -> None:
        """Raise DiskError where the disk cannot hold two states, one written beside the other.

        weights: how many numbers are trained, for which most optimizers keep two more. averages:
        numbers of the moving average.
        """
        there = next(place for place in (self.path, *self.path.parents) if place.exists())
        free, needed = shutil.disk_usage(there).free, 2 * 4 * (3 * weights + averages)
        if free < needed:
            raise DiskError(
                f"{self.path} needs about {needed / 1e6:,.1f} MB for the states of the run and"
                f" {free / 1e6:,.1f} MB are free: free some, or name a folder elsewhere in `out`"
            )

    @property
    def after(self) -> Path:
        return self.path / "after.json"

    def merged(self) -> list[Path]:
        """Return the adapters that were merged into the model before this run, in order."""
        if not self.after.is_file():
            return []
        names = json.loads(self.after.read_text(encoding="utf-8"))
        return [(self.path / name).resolve() for name in names]

    def begin(self, recipe: TrainRecipe, merged: Sequence[Path] = ()) -> None:
        """Make the folder anew, with the resolved recipe and what it goes on from."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.recipe, to_toml(recipe, comments=False))
        if merged:
            # from here, so that a run may be moved with what went before it
            names = [Path(os.path.relpath(path, self.path)).as_posix() for path in merged]
            write_json(self.after, names)

    def states(self) -> list[Path]:
        """Return the states, the newest last."""
        return sorted(self.state.glob("*.pt"))


@dataclass(frozen=True)
class State:
    """Everything that a run goes on from; batches, noise and shuffles follow from the step."""

    step: int
    seconds: float
    adapter: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, Any]
    average: Sequence[torch.Tensor]  # of the weights; empty where none is kept
    scale: Mapping[str, Any]  # of the loss
    counts: torch.Tensor  # int64 [rows, n]: captions.COUNTED of each image so far
    marks: Mapping[str, float]  # of the adapter as the run began: see train.unchanged
    broken: int  # steps so far that were not finite and changed nothing
    broken_in_a_row: int  # of these the last ones, with none between them and the next step
    recipe: Mapping[str, Any]
    manifest: str
    model: str
    batches: str  # hashes of what the steps follow from


def save_state(folder: RunFolder, state: State) -> None:
    """Write the state, whole or not at all, then let go of the older ones."""
    written = io.BytesIO()
    torch.save(vars(state), written)
    path = folder.state / f"{state.step:08}.pt"
    write_bytes(path, written.getvalue())
    for older in folder.states():
        if older != path:
            older.unlink()


def load_state(folder: RunFolder) -> State:
    """Return the newest state. Raises ModelError when it is broken."""
    path = folder.states()[-1]
    try:
        return State(**torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, TypeError, EOFError, pickle.UnpicklingError):
        raise ModelError(f"{path} is broken: --overwrite starts the run anew") from None


def check_same(
    folder: RunFolder, state: State, recipe: TrainRecipe, manifest: str, model: str
) -> None:
    """Raise RecipeError, saying what changed, unless the state belongs to these inputs."""
    changes = changed_keys(state.recipe, recipe.model_dump(mode="json", by_alias=True))
    if state.manifest != manifest:
        changes.append("the manifest has changed")
    if state.model != model:
        changes.append("the model's files have changed")
    refuse_changes(folder, changes)


def refuse_changes(folder: RunFolder, changes: Sequence[str]) -> None:
    """Raise RecipeError, saying what changed since the folder was begun, if anything did."""
    if changes:
        raise RecipeError(
            f"{folder.path} cannot go on with other inputs ({'; '.join(changes)}): put them back,"
            " or name another folder in `out`"
        )


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what is told of each key that shapes the weights and differs between two recipes."""
    old, new = _flat(before), _flat(now)
    return [
        f"{key} was {json.dumps(old.get(key))}, now {json.dumps(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
        and not {key, key.split(".")[0]}.intersection(WITHOUT_EFFECT)
    ]


def trim_log(folder: RunFolder, step: int) -> None:
    """Drop the log's lines after `step`: they will be lived through again."""
    if not folder.log.is_file():
        return
    kept = []
    for line in folder.log.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            continue  # a kill may have cut the last line
    write_text(folder.log, "".join(kept))


def logged_losses(folder: RunFolder) -> list[float]:
    """Return the loss of every step in the log."""
    if not folder.log.is_file():
        return []
    entries = map(json.loads, folder.log.read_text(encoding="utf-8").splitlines())
    return [entry["loss"] for entry in entries if "loss" in entry]


def write_result(folder: RunFolder, result: Mapping[str, Any]) -> None:
    """Mark the run as finished."""
    write_json(folder.result, dict(result))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
