"""experiments/<name>.json: what an experiment has come to, of the runs that are there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from schemas.errors import DataError
from schemas.experiment_results import (
    Arm as ArmResult,
)
from schemas.experiment_results import (
    ExperimentResult,
    Figures,
    Run,
    read_result,
    write_result,
)
from schemas.tables import MANIFEST
from train.compare import FOLDER, curves
from train.compare.drawing import Drawing, of_base, of_training
from train.compare.experiment import Arm, Experiment, laid_over
from train.compare.statistics import Runs, compare, verdict
from train.compare.training import Training, hashes
from train.measure import Measure
from train.read_back import Reading

ORDER = ("signature", "kept", "recall", "unasked", "obeyed", "style", "watched", "validation")


def result_file(experiment: Experiment) -> Path:
    """Return where an experiment's results lie."""
    return experiment.root / FOLDER / f"{experiment.name}.json"


def keep_result(experiment: Experiment, measure: Measure) -> ExperimentResult | None:
    """Write what there is, if it is not what is written; None where no seed is whole yet."""
    found = result_of(experiment, measure)
    if found is not None and found != _kept(result_file(experiment)):
        write_result(result_file(experiment), found)
    return found


def result_of(experiment: Experiment, measure: Measure) -> ExperimentResult | None:
    """Return what has come of the seeds that every arm has been trained and read with."""
    wanted = tuple(dict.fromkeys([*experiment.recipe.seeds, *experiment.seeds]))
    done = tuple(
        seed
        for seed in wanted
        if all(_is_read(Training(experiment, arm, seed), measure) for arm in experiment.arms)
    )
    if not done:
        return None
    base = of_base(experiment, experiment.arms[0], measure)
    arms = tuple(_arm(experiment, arm, done, measure) for arm in experiment.arms)
    names = experiment.recipe.figures
    values: dict[str, Runs] = {
        arm.name: {name: [run.figures[name] for run in arm.runs] for name in names} for arm in arms
    }
    differences = compare(values, names)
    of_base_, real = _reading(base, measure), measure.of_real()
    return ExperimentResult(
        name=experiment.name,
        question=experiment.recipe.question,
        notes=experiment.recipe.notes,
        figures=names,
        watch=experiment.watch,
        seeds=done,
        asked_seeds=len(wanted),
        arms=arms,
        base=_figures(of_base_, of_base_),
        base_recall=_rounded(of_base_.recall),
        base_pictures=_inside(base.folder, experiment.root),
        real=_figures(real, None),
        real_recall=_rounded(real.recall),
        differences=tuple(differences),
        verdict=verdict(arms[0].name, differences, len(done)),
        prompts=base.section.prompts,
        picture_seeds=base.section.seeds,
        size=base.section.size,
        settings=tuple(_settings(experiment, measure)),
    )


def _is_read(training: Training, measure: Measure) -> bool:
    return training.finished and of_training(training, measure).reading(measure) is not None


def _arm(experiment: Experiment, arm: Arm, seeds: Sequence[int], measure: Measure) -> ArmResult:
    rows = MANIFEST.read(arm.data / arm.recipe.data).select(["set", "is_reg"]).to_pylist()
    trained = [row for row in rows if not arm.recipe.sets or row["set"] in arm.recipe.sets]
    return ArmResult(
        name=arm.name,
        changes=arm.changes,
        images=len(trained),
        regularization=sum(row["is_reg"] for row in trained),
        runs=tuple(_run(Training(experiment, arm, seed), measure) for seed in seeds),
    )


def _run(training: Training, measure: Measure) -> Run:
    arm, root = training.arm, training.experiment.root
    drawn = of_training(training, measure)
    base = _reading(of_base(training.experiment, arm, measure), measure)
    held_out = curves.validation(training.runs)
    reading = _reading(drawn, measure)
    return Run(
        seed=training.seed,
        figures=_figures(reading, base) | {"validation": _last(arm, held_out)},
        recall=_rounded(reading.recall),
        seconds=round(training.seconds, 1),
        memory=training.memory,
        bytes=training.adapter.stat().st_size,
        images=training.images,
        losses=curves.losses(training.runs),
        validation=held_out,
        folder=_inside(training.folder.path, root),
        pictures=_inside(drawn.folder, root),
        device=training.device,
    )


def _last(arm: Arm, held_out: curves.Points) -> float | None:
    """The loss on held-out images of what is drawn with; None of what was never measured."""
    draw = arm.section.draw
    if draw.model or draw.strength != 1:
        return None
    losses = [loss for step, loss in held_out if not draw.checkpoint or step <= draw.checkpoint]
    return losses[-1] if losses else None


def _figures(reading: Reading, base: Reading | None) -> Figures:
    """A reading's figures, and recall as a share of the base's; None: there is no base to keep."""
    own, before = reading.figures.get("recall"), base.figures.get("recall") if base else None
    kept = own / before if own is not None and before else None
    values = {**reading.figures, "kept": kept}
    return {
        name: value if value is None else round(value, 4)
        for name in ORDER
        if (value := values.get(name)) is not None or name in values
    }


def _reading(drawing: Drawing, measure: Measure) -> Reading:
    found = drawing.reading(measure)
    assert found is not None, f"{drawing.folder} is read before results are made"
    return found


def _rounded(recall: Mapping[str, float]) -> dict[str, float]:
    return {tag: round(share, 4) for tag, share in recall.items()}


def _settings(experiment: Experiment, measure: Measure) -> list[tuple[str, str]]:
    """What the first arm was made with, and how all were drawn and read."""
    recipe, section = experiment.arms[0].recipe, experiment.section
    model, _ = hashes(recipe.model, experiment.root)
    length = (
        f"{recipe.steps.total}" if recipe.steps.total else f"those of {recipe.steps.epochs} epochs"
    )
    rows = [
        ("base model", f"{Path(recipe.model.path).name} ({model[:8]})"),
        ("adapter", f"{recipe.adapter.kind}, rank {recipe.adapter.dim}, alpha"
            f" {recipe.adapter.alpha:g}, blocks {recipe.adapter.blocks}"),
        ("optimizer", f"{recipe.optimizer.name} at {recipe.optimizer.lr:g},"
            f" {recipe.optimizer.schedule}"),
        ("steps", f"{length} of {recipe.steps.batch * recipe.steps.accumulate} images,"
            f" {recipe.steps.precision}"),
        ("training size", ", ".join(f"{side} px" for side in recipe.latents.resolutions)),
        ("drawn", f"{section.steps} steps, guidance {section.guidance:g}, {section.sampler}"),
        *measure.settings,
        ("torch", torch.__version__),
    ]  # fmt: skip
    if common := laid_over(experiment.recipe):
        rows.append(("over the dataset's recipes", common))
    return [(name, value) for name, value in rows if value]


def _inside(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _kept(path: Path) -> ExperimentResult | None:
    try:
        return read_result(path)
    except DataError:
        return None
