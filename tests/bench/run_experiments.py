"""Runs the experiments of `train/recipes/experiments`: every arm with every seed, read back.

    python tests/bench/run_experiments.py [--only NAME ...] [--work DIR] [--model FOLDER]
                                          [--steps N]

Datasets are made by the real chain on the embedded booru, adapters by `train`. What is finished is
never done again: killed, it goes on where it was; arms of several experiments that are the same
training are trained once.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from experiment_data import data_key, dataset_of
from experiment_reading import FRESH, Measure, measure_of

from prep.demo.model import ASSETS, SIDE
from prep.demo.vocabulary import WORDS
from schemas import progress
from schemas.errors import KirokuError, ModelError, RecipeError
from schemas.files import fingerprint, write_json, write_text
from schemas.recipes.experiment import ExperimentRecipe, load_experiment
from schemas.recipes.train import ModelSection, TrainRecipe
from schemas.tags import canonical
from train import train
from train.finished import open_run
from train.model import find_model
from train.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "train" / "recipes" / "experiments"
WORK = ROOT / "demo" / "experiments"
FIGURES = ("recall", "signature", "unasked", "obeyed", "style")


@dataclass
class Bench:
    """Where experiments are run, and with what. `work` is of one base model."""

    work: Path
    model: Path
    steps: int = 0  # of every training; 0: those of the recipes
    fresh: int = FRESH  # drawings that thresholds are fitted to
    _measures: dict[str, Measure] = field(default_factory=dict, init=False)

    @classmethod
    def open(cls, work: Path, model: Path, **options: Any) -> "Bench":
        """A bench in the part of `work` that is this model's. Raises ModelError."""
        found = find_model(ModelSection(path=str(model.resolve())), Path())
        whole = fingerprint(found.sha256(), found.vae_sha256())[:8]
        return cls(work.resolve() / whole, model.resolve(), **options)

    def train_recipe(self, experiment: ExperimentRecipe, arm: str, seed: int) -> TrainRecipe:
        """train.toml of a run, its folder named for all that it follows from."""
        changes: dict[str, Any] = {"seed": seed, "model": {"path": str(self.model)}}
        if self.steps:
            changes["steps"] = {"total": self.steps}
        recipe = experiment.train_of(arm, changes)
        name = f"{fingerprint(recipe.model_dump(mode='json', by_alias=True))}-seed{seed}"
        return recipe.model_copy(update={"out": f"runs/{name}"})

    def result_file(self, experiment: ExperimentRecipe, arm: str, seed: int) -> Path:
        """Where the figures of a run lie; another experiment that asks the same finds them."""
        recipe = self.train_recipe(experiment, arm, seed)
        parts = data_key(experiment, arm), recipe.out, self.asked(experiment, arm)
        return self.work / "results" / f"{fingerprint(*parts)}-seed{seed}.json"

    def base_file(self, experiment: ExperimentRecipe, arm: str) -> Path:
        """Where the figures of the base model lie, for what an experiment asks."""
        return self.work / "base" / f"{self.asked(experiment, arm)}.json"

    def asked(self, experiment: ExperimentRecipe, arm: str) -> str:
        """What names the pictures that are asked for, and how they are read."""
        trigger = experiment.prep_of(arm).caption.trigger
        ask = experiment.ask.model_dump(mode="json", exclude={"watch"})
        precision = self.train_recipe(experiment, arm, 0).steps.precision
        return fingerprint(ask, experiment.learnt, trigger, precision, self.fresh, SIDE)

    def run(self, experiment: ExperimentRecipe, arm: str, seed: int) -> None:
        """Train and read back one run, as far as it is not done yet."""
        file = self.result_file(experiment, arm, seed)
        if file.is_file():
            return
        data = dataset_of(experiment, arm, self.work, self.model)
        recipe = self.train_recipe(experiment, arm, seed)
        run = RunFolder(data / recipe.out)
        trained(recipe, data, run)
        result = json.loads(run.result.read_text(encoding="utf-8"))
        measure = self._measure(experiment, arm)
        opened = open_run(run.path, "auto", root=data)
        base = self.base_file(experiment, arm)
        if not base.is_file():
            reading = measure.of_run(opened, None, base.with_suffix(""))
            of_real = measure.of_real()
            right = measure.probe_accuracy
            values = {"base": reading, "real": of_real}
            write_json(base, {k: asdict(v) for k, v in values.items()} | {"probe": right})
        reading = measure.of_run(opened, run.adapter, run.path / "read")
        write_json(
            file,
            {
                **asdict(reading),
                "seed": seed,
                "seconds": result["seconds"],
                "loss": result["loss"],
                "steps": result["steps"],
                "seen": result["images"],
                "bytes": run.adapter.stat().st_size,
                "threads": torch.get_num_threads(),
                "cores": os.cpu_count(),
                "device": opened.painter.device.type,
                "run": str(run.path.relative_to(self.work)),
            },
        )

    def _measure(self, experiment: ExperimentRecipe, arm: str) -> Measure:
        key = self.asked(experiment, arm)
        if key not in self._measures:
            prompts = self.work / "prompts" / f"{key}.txt"
            write_text(prompts, "\n".join(experiment.ask.prompts) + "\n")
            vae = find_model(ModelSection(path=str(self.model)), Path()).vae()
            trigger = experiment.prep_of(arm).caption.trigger
            self._measures[key] = measure_of(
                *(experiment.learnt, trigger, experiment.ask, prompts, self.work, vae, self.fresh)
            )
        return self._measures[key]


def trained(recipe: TrainRecipe, data: Path, run: RunFolder) -> None:
    """Train, go on, or leave a finished run alone; a broken state is started anew."""
    if run.result.is_file():
        return
    if run.states():
        try:
            train(recipe, data, resume=True)
            return
        except ModelError as error:
            progress.say(f"{error}; starting anew")
    train(recipe, data, overwrite=run.path.is_dir())


def check(experiment: ExperimentRecipe, name: str) -> None:
    """Raise RecipeError where arms are not asked the same, or a figure has nothing to read."""
    triggers = {experiment.prep_of(arm).caption.trigger for arm in experiment.arms}
    if len(triggers) > 1:
        raise RecipeError(f"{name}: the arms have several triggers, but are asked the same prompts")
    if "watched" in experiment.figures and not experiment.ask.watch:
        raise RecipeError(f'{name}: figures name "watched", but ask.watch names no tag')
    for tag in filter(None, (experiment.learnt, experiment.ask.watch)):
        if canonical(tag) not in WORDS:
            raise RecipeError(f'{name}: the demo\'s world has no tag "{tag}"')


def run_all(bench: Bench, experiments: Mapping[str, ExperimentRecipe]) -> list[str]:
    """Every run of every experiment, seed by seed, so that a stop leaves whole comparisons.

    A run that fails is told and left out; return those runs. The next time they are tried again.
    """
    runs = [
        (seed, name, arm)
        for seed in sorted({seed for one in experiments.values() for seed in one.seeds})
        for name, experiment in experiments.items()
        if seed in experiment.seeds
        for arm in experiment.arms
    ]
    failed = []
    for number, (seed, name, arm) in enumerate(runs, 1):
        told = f"{name}, {arm}, seed {seed}"
        progress.say(f"{number} of {len(runs)}: {told}")
        try:
            bench.run(experiments[name], arm, seed)
        except KirokuError as error:
            progress.say(f"{told} failed: {error}")
            failed.append(told)
    return failed


def load_all(folder: Path = RECIPES, only: Sequence[str] = ()) -> dict[str, ExperimentRecipe]:
    """Every experiment by its file's name, or those of `only`. Raises RecipeError."""
    there = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if unknown := [name for name in only if name not in there]:
        raise RecipeError(f"no experiment {unknown[0]} in {folder}: there are {', '.join(there)}")
    found = {name: load_experiment(there[name]) for name in only or there}
    for name, experiment in found.items():
        check(experiment, name)
    return found


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", default=[], help="an experiment's name")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--model", type=Path, default=ASSETS)
    parser.add_argument("--steps", type=int, default=0, help="of every training")
    given = parser.parse_args()
    progress.show()
    experiments = load_all(only=given.only)
    bench = Bench.open(given.work, given.model, steps=given.steps)
    if failed := run_all(bench, experiments):
        raise SystemExit(f"{len(failed)} runs failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
