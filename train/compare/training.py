"""One arm with one seed: named by all that it follows from, and trained once."""

import json
import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from schemas.errors import ModelError, RecipeError
from schemas.files import fingerprint, sha256_of, write_json
from schemas.progress import say
from schemas.recipes.train import ModelSection, TrainRecipe
from schemas.tables import MANIFEST
from train.compare import FOLDER
from train.compare.experiment import Arm, Experiment
from train.data import read_manifest, sha256_of_rows
from train.loop import train
from train.model import find_model
from train.preflight import Plan, plan
from train.relora import plan as plan_cycles
from train.relora import relora
from train.run_folder import RunFolder

# what shapes neither the weights nor what is kept of them; paths stand for the bytes there
LEFT_OUT: dict[str, Any] = {"out": True, "data": True, "seed": True, "sample": True}


@dataclass(frozen=True)
class Training:
    """One training."""

    experiment: Experiment
    arm: Arm
    seed: int

    @cached_property
    def key(self) -> str:
        """Names the training, whatever its seed, arm and experiment."""
        return key_of(self.arm, self.experiment.root)

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.experiment.root / FOLDER / "runs" / f"{self.key}-seed{self.seed}")

    @property
    def recipe(self) -> TrainRecipe:
        """The recipe, from the folder of the dataset that it is trained on."""
        recipe = self.arm.recipe_from(self.experiment.root)
        out = Path(os.path.relpath(self.folder.path, self.arm.data)).as_posix()
        return recipe.model_copy(update={"seed": self.seed, "out": out})

    @property
    def finished(self) -> bool:
        return self.has_data and self.folder.result.is_file() and self.adapter.is_file()

    @property
    def has_data(self) -> bool:
        """Whether its dataset has been made, without which it has no key."""
        return (self.arm.data / self.arm.recipe.data).is_file()

    @property
    def seconds(self) -> float:
        """How long a finished one took."""
        return sum(float(told["seconds"]) for told in self._told())

    @property
    def images(self) -> int:
        """What a finished one has seen, repeats counted."""
        return sum(int(told["images"]) for told in self._told())

    @property
    def memory(self) -> int:
        """Bytes of tensors at most, as CUDA or else a rehearsal counted them; 0: not known."""
        told = max(int(told.get("memory", 0)) for told in self._told())
        if told or not self._rehearsal.is_file():
            return told
        return int(json.loads(self._rehearsal.read_text(encoding="utf-8"))["memory"])

    @property
    def device(self) -> str:
        return str(self._told()[-1].get("device", ""))

    @property
    def runs(self) -> list[RunFolder]:
        """Itself, or its cycles in order."""
        if self.arm.section.command == "train":
            return [self.folder]
        told = json.loads(self.folder.result.read_text(encoding="utf-8"))
        return [RunFolder(self.folder.path / cycle["name"]) for cycle in told["cycles"]]

    @property
    def adapter(self) -> Path:
        """The file that is drawn with."""
        step, folder = self.arm.section.draw.checkpoint, self.folder
        if step in (0, self.arm.recipe.steps.total):
            return folder.adapter
        return folder.checkpoints / f"{folder.name}-{step:08}.safetensors"

    @property
    def _rehearsal(self) -> Path:
        """What a step takes, counted once for all seeds."""
        return self.folder.path.with_name(f"{self.key}.json")

    def _told(self) -> list[dict[str, Any]]:
        return [json.loads(run.result.read_text(encoding="utf-8")) for run in self.runs]

    def train(self, device: str) -> None:
        """Train, go on, or leave a finished one alone; a broken state is begun anew.

        Raises a KirokuError for whatever stands against it, KeyboardInterrupt when it is stopped.
        """
        if self.finished:
            return
        if self.folder.result.is_file():
            say(f"{self.adapter} is gone: training anew")
            self._train(device, overwrite=True)
            return
        cycles = self.arm.section.command == "relora"
        if self.folder.recipe.is_file() if cycles else self.folder.states():
            try:
                self._train(device, resume=True)
                return
            except (ModelError, RecipeError) as error:
                say(f"{error}; starting anew")
        self._train(device, overwrite=self.folder.path.is_dir())

    def plan(self, device: str, *, measure: bool) -> Plan:
        """Return what training would do anew, of the first cycle where there are several.

        measure: take a few steps, to tell memory and hours. Raises what training would raise.
        """
        recipe, data = self.recipe, self.arm.data
        if self.arm.section.command == "relora":
            recipe = plan_cycles(recipe, data, overwrite=True)[0].recipe
        return plan(recipe, data, overwrite=True, device=device, measure=measure)

    def rehearse(self, device: str) -> None:
        """Count the memory of a step of a finished training, where it could not tell it itself."""
        if self.memory:
            return
        found = self.plan(device, measure=True)
        assert found.cost is not None
        write_json(self._rehearsal, {"memory": found.cost.memory.total})

    def _train(self, device: str, *, resume: bool = False, overwrite: bool = False) -> None:
        recipe, data = self.recipe, self.arm.data
        if self.arm.section.command == "relora":
            relora(recipe, data, resume=resume, overwrite=overwrite, device=device)
        elif train(recipe, data, resume=resume, overwrite=overwrite, device=device).stop_asked:
            raise KeyboardInterrupt


def key_of(arm: Arm, root: Path) -> str:
    """Return 16 hex digits that name an arm's training, but for the seed."""
    recipe = arm.recipe
    values = recipe.model_dump(mode="json", by_alias=True, exclude=LEFT_OUT)
    if arm.section.command == "train":
        values.pop("relora")
    else:
        values["steps"] = {k: v for k, v in values["steps"].items() if k not in ("total", "epochs")}
    values["model"] = model_key(recipe.model, root)
    if recipe.adapter.start:
        values["adapter"]["start"] = sha256_of(root / recipe.adapter.start)
    return fingerprint(arm.section.command, values, _rows(arm.data / recipe.data))


def model_key(section: ModelSection, root: Path) -> list[Any]:
    """Return what names a base as a recipe uses it: its bytes, and the keys beside its paths."""
    values = section.model_dump(mode="json", exclude={"path": True, "vae": True, "kind": True})
    values["tokenizer"] = bool(section.tokenizer)
    return [values, *hashes(section, root)]


@cache
def hashes(section: ModelSection, root: Path) -> tuple[str, str]:
    """Return the SHA-256 of a base and of the VAE that it is used with."""
    model = find_model(section, root)
    return model.sha256(), model.vae_sha256()


def _rows(manifest: Path) -> str:
    return _rows_at(manifest, manifest.stat().st_mtime_ns if manifest.is_file() else 0)


@cache
def _rows_at(manifest: Path, time: int) -> str:
    return sha256_of_rows(MANIFEST.sorted(read_manifest(manifest)))
