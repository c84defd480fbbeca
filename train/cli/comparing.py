"""`train compare`: its words; who makes its datasets, reads its pictures and writes its pages."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from train.cli.words import Device, Flag

if TYPE_CHECKING:
    from train.compare.compare import MeasureOf


def compare(
    *experiments: Path,
    data: Path = Path(),
    seeds: Annotated[str, Parameter(show_default=False)] = "",
    device: Device = "auto",
    dry_run: Flag = False,
    json: Flag = False,
) -> None:
    """Train what experiments compare, draw and read it back, and say in one sentence what came.

    Every arm is trained with every seed, over the dataset's own recipes. What is done is kept under
    experiments/ and never done twice; ctrl-C stops after the step in progress, and the same command
    goes on. Each experiment has a page there, and index.html lists them all.

    Parameters
    ----------
    experiments
        The experiments' files: a question, and arms that differ.
    data
        The dataset's folder, with prep.toml and train.toml.
    seeds
        Of training, instead of those of the files: how many, --seeds 5, or which, --seeds 4,5.
    device
        Where to train and draw; auto takes a CUDA device where there is one.
    dry_run
        Check everything and list the runs, done or to do, with the hours they take as far as
        finished ones tell. Nothing is trained or written.
    json
        Print the results, or the runs of a dry run, as JSON.
    """
    from prep.cli.opened import opened as opened_dataset
    from prep.report.comparison import write_pages
    from prep.variant import Variants
    from schemas.errors import Failure
    from train.cli import show_compare
    from train.compare import FOLDER
    from train.compare.compare import compare as compared
    from train.compare.compare import opened, planned_runs
    from train.compare.experiment import check_dataset

    root = data.resolve()
    check_dataset(root)
    datasets = Variants(opened_dataset(root), root / FOLDER / "data")
    asked = opened(experiments, root, datasets, _measure_of(device), _seeds(seeds))
    if dry_run:
        show_compare.runs(planned_runs(asked, device), json)
        return
    found = compared(asked, datasets, device=device, written=lambda: write_pages(root))
    show_compare.results(found.results, root / FOLDER, json)
    if found.failed:
        raise Failure(f"{len(found.failed)} failed: {'; '.join(found.failed)}")


def _measure_of(device: Device) -> "MeasureOf":
    """Pictures are read by the dataset's own, its tagger and thresholds."""
    from schemas.tags import canonical
    from train.compare.experiment import Experiment
    from train.measure import DatasetMeasure, Said, dataset_measure

    def measure_of(experiment: Experiment) -> DatasetMeasure:
        ask = experiment.recipe.ask
        return dataset_measure(
            *(experiment.root / experiment.arms[0].recipe.data, device),
            signature=[canonical(tag) for tag in ask.signature],
            prompts=ask.prompts or None,
            watch=experiment.watch,
            trigger=experiment.trigger,
            said=Said("ask.prompts", "ask.signature", "ask.watch"),
        )

    return measure_of


def _seeds(text: str) -> tuple[int, ...] | int | None:
    """How many seeds, or which; None: those of the files. Raises UsageError."""
    from schemas.errors import UsageError

    parts = [part.strip() for part in text.split(",")]
    if text == "":
        return None
    if not all(part.isdecimal() for part in parts) or parts == ["0"]:
        raise UsageError(f"--seeds {text}: give how many, such as 5, or which, such as 4,5")
    numbers = tuple(map(int, parts))
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"--seeds {text}: give each of them once")
    return numbers if len(numbers) > 1 else numbers[0]
