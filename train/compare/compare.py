"""`train compare`: every arm with every seed, trained, drawn and read as far as it is not yet."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from schemas.errors import DatasetError, KirokuError, RecipeError, UsageError
from schemas.experiment_results import ExperimentResult
from schemas.progress import say
from train.compare.datasets import Datasets
from train.compare.drawing import of_base, of_training
from train.compare.experiment import Experiment, open_experiment
from train.compare.results import keep_result
from train.compare.training import Training
from train.measure import Measure

MeasureOf = Callable[[Experiment], Measure]
NEEDS = {
    "signature": "a trigger, and tags that it stands for",
    "kept": "prompts without the trigger",
    "recall": "prompts without the trigger",
    "unasked": "prompts without the trigger",
    "obeyed": "prompts with tags beside the trigger",
    "watched": "a trigger",
    "style": "a reader of styles, which only the demo's world has",
}


@dataclass(frozen=True)
class Compared:
    """What a comparison came to: the results that there are, and which runs failed and why."""

    results: tuple[ExperimentResult, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class PlannedRun:
    """One arm with one seed, and what is left to do for it."""

    experiment: str
    arm: str
    seed: int
    training: str  # the name of its folder; "" before its dataset is made
    state: str  # "done", "to read", "to go on", "to train"
    seconds: float | None  # that training took or, by other seeds, will take; None: not known


@dataclass(frozen=True)
class Asked:
    """An experiment, and how its pictures are read."""

    experiment: Experiment
    measure: Measure


def opened(
    paths: Sequence[Path],
    root: Path,
    datasets: Datasets,
    measure_of: MeasureOf,
    seeds: Sequence[int] | int | None = None,
) -> list[Asked]:
    """Return the experiments of these files, all checked; nothing is made.

    root: the dataset's folder. measure_of: how an experiment's pictures are read, asked once each.
    seeds: of training, which or how many; left out: those of the files. Raises a KirokuError for
    what is wrong in an experiment.
    """
    if not paths:
        raise UsageError("no experiment: name a file, such as rank.toml")
    found = [open_experiment(path, root.resolve(), datasets, seeds) for path in paths]
    names = [experiment.name for experiment in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two experiments are named {twice[0]}: their results are one file")
    return [Asked(experiment, checked_measure(experiment, measure_of)) for experiment in found]


def compare(
    asked: Sequence[Asked],
    datasets: Datasets,
    *,
    device: str = "auto",
    written: Callable[[], object] = lambda: None,
) -> Compared:
    """Do what is not done yet, seed by seed, so that a stop leaves whole comparisons.

    written: called whenever results were written. A run that fails is told and left out, and is
    tried again the next time. Raises a KirokuError, before any training, for what stands against
    one.
    """
    for one in asked:
        for arm in one.experiment.arms:
            datasets.made(arm.prep)
    preflight(asked, device)
    failed, results = [], {}
    runs = list(_in_order(asked))
    for number, (training, measure) in enumerate(runs, 1):
        told = _told(training)
        say(f"{number} of {len(runs)}: {told}")
        try:
            run(training, measure, device)
        except KirokuError as error:
            say(f"{told} failed: {error}")
            failed.append(f"{told}: {error}")
        except KeyboardInterrupt:
            say("stopped: the same command goes on where it was")
            raise
        if training.arm is training.experiment.arms[-1]:
            found = keep_result(training.experiment, measure)
            if found is not None:
                results[training.experiment.name] = found
                written()
    return Compared(tuple(results.values()), tuple(failed))


def planned_runs(asked: Sequence[Asked], device: str = "auto") -> list[PlannedRun]:
    """Return every run in the order in which `compare` would do it; raises what it would raise.

    Nothing is made. Datasets that are not made yet are not looked at.
    """
    preflight(asked, device)
    found = [
        PlannedRun(
            training.experiment.name,
            training.arm.name,
            training.seed,
            training.folder.name if training.has_data else "",
            _state(training, measure),
            training.seconds if training.finished else None,
        )
        for training, measure in _in_order(asked)
    ]
    known = {(one.experiment, one.arm): one.seconds for one in found if one.seconds is not None}
    return [
        replace(one, seconds=known.get((one.experiment, one.arm))) if one.seconds is None else one
        for one in found
    ]


def preflight(asked: Sequence[Asked], device: str) -> None:
    """Raise what trainings would raise before their first step, those that have not begun."""
    seen = set()
    for experiment in (one.experiment for one in asked):
        for arm in experiment.arms:
            training = Training(experiment, arm, experiment.seeds[0])
            if not training.has_data or training.key in seen or training.folder.path.is_dir():
                continue
            seen.add(training.key)
            try:
                training.plan(device, measure=False)
            except KirokuError as error:
                raise type(error)(f"{experiment.name}, arm {arm.name}: {error}") from error


def checked_measure(experiment: Experiment, measure_of: MeasureOf) -> Measure:
    """Return an experiment's measure. Raises RecipeError where it cannot read what decides."""
    try:
        measure = measure_of(experiment)
    except (DatasetError, RecipeError) as error:
        raise type(error)(f"{experiment.name}: {error}") from None
    able = {"validation", *measure.figures}
    for name in experiment.recipe.figures:
        if name not in able:
            raise RecipeError(
                f'{experiment.name}: figures name "{name}", which cannot be read here: it needs'
                f" {NEEDS[name]}"
            )
    return measure


def run(training: Training, measure: Measure, device: str) -> None:
    """Train, draw and read one run, and the base that it is drawn on, as far as it is not done."""
    experiment, arm = training.experiment, training.arm
    of_base(experiment, arm, measure).read(measure, device, "base model")
    training.train(device)
    training.rehearse(device)
    of_training(training, measure).read(measure, device, _told(training))


def _state(training: Training, measure: Measure) -> str:
    if not training.finished:
        begun = training.has_data and training.folder.path.is_dir()
        return "to go on" if begun else "to train"
    return "to read" if of_training(training, measure).reading(measure) is None else "done"


def _in_order(asked: Sequence[Asked]) -> Iterator[tuple[Training, Measure]]:
    """Every run: seeds outermost."""
    for seed in dict.fromkeys(seed for one in asked for seed in one.experiment.seeds):
        for one in asked:
            if seed in one.experiment.seeds:
                for arm in one.experiment.arms:
                    yield Training(one.experiment, arm, seed), one.measure


def _told(training: Training) -> str:
    return f"{training.experiment.name}, {training.arm.name}, seed {training.seed}"
