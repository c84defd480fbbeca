"""An experiment over a dataset's own recipes: its arms as they will be trained, all checked."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from schemas.errors import DatasetError, ModelError, RecipeError
from schemas.recipes.experiment import ArmSection, ExperimentRecipe, load_experiment
from schemas.recipes.load import PREP_FILE, TRAIN_FILE, load_train
from schemas.recipes.train import ModelSection, SampleSection, TrainRecipe
from schemas.recipes.write import inline_key, inline_value
from schemas.tags import canonical
from train.compare.datasets import Datasets
from train.model import find_model
from train.relora import no_sum
from train.sample import check_size

INDEX = "index"  # the page of all experiments
PATHS = ("path", "vae", "tokenizer")  # keys of [model]


@dataclass(frozen=True)
class Arm:
    """One of the things that are compared."""

    name: str
    section: ArmSection
    prep: Mapping[str, Any]  # over the dataset's prep.toml
    data: Path  # the folder of its dataset, made or not
    trigger: str
    recipe: TrainRecipe  # as R has it, so that paths start there; seed and out are each run's

    @property
    def changes(self) -> str:
        """What differs from the experiment, a key of TOML a line."""
        given = self.section.model_dump(mode="json", exclude_defaults=True)
        return "\n".join(_lines(given))

    @property
    def drawn_on(self) -> ModelSection:
        """The base that its pictures are drawn on."""
        other = self.section.draw.model
        return self.recipe.model.model_copy(update={"path": other} if other else {})

    def recipe_from(self, root: Path) -> TrainRecipe:
        """Return the recipe with paths that start at the arm's dataset instead of at `root`."""
        if self.data == root:
            return self.recipe
        away = Path(os.path.relpath(root, self.data))

        def placed(path: str) -> str:
            there = path and (root / Path(path).expanduser()).exists()
            inside = there and not Path(path).expanduser().is_absolute()
            return (away / path).as_posix() if inside else path

        model = self.recipe.model.model_copy(
            update={key: placed(getattr(self.recipe.model, key)) for key in PATHS}
        )
        start = placed(self.recipe.adapter.start)
        adapter = self.recipe.adapter.model_copy(update={"start": start})
        return self.recipe.model_copy(update={"model": model, "adapter": adapter})


@dataclass(frozen=True)
class Experiment:
    """A question, and the trainings that are to answer it, on the dataset in `root`."""

    name: str
    root: Path
    recipe: ExperimentRecipe
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]  # that were asked for now

    @property
    def trigger(self) -> str:
        """What calls the adapters, the same in all arms."""
        return self.arms[0].trigger

    @property
    def watch(self) -> str:
        """The tag that is looked for, in canonical form."""
        return canonical(self.recipe.ask.watch)

    @property
    def section(self) -> SampleSection:
        """How pictures are drawn; their prompts are the measure's."""
        ask = self.recipe.ask
        changes = {"size": ask.size, "steps": ask.steps, "guidance": ask.guidance}
        seeds = tuple(range(ask.seed, ask.seed + ask.pictures))
        return self.arms[0].recipe.sample.model_copy(
            update={key: value for key, value in changes.items() if value is not None}
            | {"seeds": seeds, "prompts": ()}
        )


def open_experiment(
    path: Path, root: Path, datasets: Datasets, seeds: Sequence[int] | int | None = None
) -> Experiment:
    """Read an experiment over the recipes in `root`; seeds: which, or how many, to train now.

    Nothing is made. Raises RecipeError or ModelError where anything in it cannot be.
    """
    recipe = load_experiment(path)
    own = _own_train(root)
    try:
        arms = tuple(_arm(recipe, name, own, root, datasets) for name in recipe.arms)
        experiment = Experiment(path.stem, root, recipe, arms, seeds_of(recipe, seeds))
        _check(experiment)
    except (RecipeError, ModelError) as error:
        raise type(error)(f"{path}: {error}") from None
    return experiment


def seeds_of(recipe: ExperimentRecipe, given: Sequence[int] | int | None) -> tuple[int, ...]:
    """Return the seeds asked for: the experiment's, the first of them and on, or those given."""
    if given is None:
        return recipe.seeds
    if isinstance(given, int):
        return (*recipe.seeds, *range(max(recipe.seeds) + 1, max(recipe.seeds) + 1 + given))[:given]
    return tuple(given)


def check_dataset(root: Path) -> None:
    """Raise DatasetError where a folder lacks the recipes that experiments are laid over."""
    for name in (PREP_FILE, TRAIN_FILE):
        if not (root / name).is_file():
            raise DatasetError(
                f"{root} has no {name}, over which experiments are laid: name a dataset folder with"
                " --data, or make one with `prep init`"
            )


def _own_train(root: Path) -> dict[str, Any]:
    """What train.toml of the dataset says. Raises DatasetError where it has none, RecipeError."""
    check_dataset(root)
    path = root / TRAIN_FILE
    load_train(path)  # a bad one is told with its line
    return tomllib.loads(path.read_text(encoding="utf-8-sig"))


def _arm(
    recipe: ExperimentRecipe, name: str, own: Mapping[str, Any], root: Path, datasets: Datasets
) -> Arm:
    trained = recipe.train_of(name, own)
    # compared pictures are drawn afterwards, and drawing is no part of a training's time
    sample = trained.sample.model_copy(update={"prompts": ()})
    changes = recipe.prep_changes(name)
    return Arm(
        name=name,
        section=recipe.arms[name],
        prep=changes,
        data=datasets.folder_of(changes),
        trigger=datasets.recipe_of(changes).caption.trigger,
        recipe=trained.model_copy(update={"sample": sample}),
    )


def _check(experiment: Experiment) -> None:
    """Raise RecipeError or ModelError for what recipes alone show to be wrong."""
    recipe, arms = experiment.recipe, experiment.arms
    if experiment.name == INDEX:
        raise RecipeError("index.html lists all experiments: name the file otherwise")
    for one, other in combinations(arms, 2):
        if _made(one) == _made(other):
            raise RecipeError(f"the arms {one.name} and {other.name} are the same")
    first, *rest = arms
    for arm in rest:
        if arm.trigger != first.trigger:
            raise RecipeError(
                f'the trigger is "{first.trigger}" in arm {first.name} and "{arm.trigger}" in arm'
                f" {arm.name}: all are asked the same prompts, so it must be one"
            )
    check_size(experiment.section.size, "ask.size")
    if "watched" in recipe.figures and not recipe.ask.watch:
        raise RecipeError('figures name "watched", but ask.watch names no tag')
    for arm in arms:
        if "validation" in recipe.figures and not arm.recipe.validation.share:
            raise RecipeError(
                f'figures name "validation", but validate.share is 0 in arm {arm.name}: no image is'
                " held out to measure the loss on"
            )
        _check_draw(arm, experiment.root)


def _check_draw(arm: Arm, root: Path) -> None:
    """Raise RecipeError or ModelError where what an arm draws with will not be there."""
    recipe, draw = arm.recipe, arm.section.draw
    if arm.section.command == "relora":
        if why := no_sum(recipe):
            raise RecipeError(f"arm {arm.name} draws with the sum of its cycles, but {why}")
        if draw.checkpoint:
            raise RecipeError(
                f"arm {arm.name}: draw.checkpoint is for plain training: what cycles add up to is"
                " kept at their end alone"
            )
    elif draw.checkpoint and (why := _not_kept(recipe, draw.checkpoint)):
        raise RecipeError(f"arm {arm.name}: draw.checkpoint = {draw.checkpoint}, but {why}")
    trained_on = find_model(recipe.model, root)
    if draw.model:
        try:
            other = find_model(arm.drawn_on.model_copy(update={"kind": ""}), root)
        except ModelError as error:
            raise ModelError(f"arm {arm.name}, draw.model: {error}") from None
        if other.kind != trained_on.kind:
            raise RecipeError(
                f"arm {arm.name}: draw.model {draw.model} is an {other.kind} model, and the adapter"
                f" is trained on an {trained_on.kind} model"
            )


def _not_kept(recipe: TrainRecipe, step: int) -> str:
    """Why no adapter of this step will be there; "" where one will."""
    every, keep, total = recipe.save.every, recipe.save.keep, recipe.steps.total
    if not total:
        return "how many steps steps.epochs makes is not known beforehand: set steps.total"
    if step > total:
        return f"steps.total is {total}"
    if step == total:
        return ""
    if not every or step % every:
        return f"save.every = {every} keeps none of that step"
    later = (total - 1) // every - step // every
    if later >= keep:
        return f"save.keep = {keep} lets go of it: set {later + 1} or more"
    return ""


def _made(arm: Arm) -> tuple[Any, ...]:
    return (arm.data, arm.recipe, arm.section.command, arm.section.draw)


def _lines(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Nested tables as dotted keys."""
    lines = []
    for key, value in values.items():
        name = f"{prefix}{inline_key(key)}"
        if isinstance(value, Mapping) and value:
            lines += _lines(value, f"{name}.")
        else:
            lines.append(f"{name} = {inline_value(value)}")
    return lines


def laid_over(recipe: ExperimentRecipe) -> str:
    """Return what an experiment has in common, over the dataset's recipes, a key a line."""
    common = {"prep": recipe.prep, "train": recipe.train}
    return "\n".join(_lines({name: table for name, table in common.items() if table}))
