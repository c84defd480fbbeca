"""`train evaluate`: a run's adapters draw, the dataset's tagger reads, and figures come of it."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from schemas.errors import DeviceError, UsageError
from schemas.files import write_json
from schemas.progress import Advance, task
from schemas.recipes.train import SampleSection
from schemas.tags import split
from train import read_back
from train.finished import Checkpoint, OpenedRun, open_run
from train.measure import DatasetMeasure, Said, dataset_measure
from train.prompts import prompt_lines
from train.read_back import Bools, Figures
from train.sample import draw_grid, picture_files

PICTURES = 8  # of each prompt


@dataclass(frozen=True)
class PromptResult:
    """One prompt: the mean share of its pictures in which its tags are read; None: asks none."""

    prompt: str
    asked: tuple[str, ...]
    trigger: bool
    base: float | None
    adapter: float | None
    ceiling: float | None


@dataclass(frozen=True)
class TagResult:
    """One tag, over the prompts without the trigger that ask for it."""

    tag: str
    threshold: float  # probability from which it counts as read
    base: float
    adapter: float
    ceiling: float | None


@dataclass(frozen=True)
class CheckpointResult:
    """The figures of one adapter that the run has kept."""

    step: int
    recall: float | None
    signature: float | None
    unasked: float | None


@dataclass(frozen=True)
class Evaluation:
    """What was read; every figure by the same thresholds. `evaluate.json` has the same fields."""

    base: Figures
    adapter: Figures  # the last adapter, at strength 1
    ceiling: float | None  # recall on real pictures
    floor: float | None  # recall of base and adapter under shuffled prompts
    real: Figures  # of real pictures: what each figure could be
    shuffled: Figures  # of base and adapter under shuffled prompts: what chance makes of each
    signature_tags: tuple[str, ...]
    prompts: tuple[PromptResult, ...]
    tags: tuple[TagResult, ...]  # the weakest first
    checkpoints: tuple[CheckpointResult, ...]
    tagger: str
    real_pictures: int
    seeds: tuple[int, ...]
    size: tuple[int, int]
    steps: int
    guidance: float
    grids: tuple[str, ...]  # file names in the run's folder `evaluate`


def evaluate(
    run: Path,
    *,
    pictures: int = PICTURES,
    prompts: Path | None = None,
    tagger: str = "",
    signature: str = "",
    checkpoints: bool = False,
    size: tuple[int, int] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 1,
    data: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> Evaluation:
    """Draw with a run's base model and adapter, and read what is drawn with a tagger.

    pictures: of each prompt, at the seeds from `seed` on. prompts: a file, a prompt a line, instead
    of those chosen from the dataset. tagger: a folder or Hub id, instead of the dataset's first.
    signature: comma-separated tags that the trigger stands for, instead of those found.
    checkpoints: draw with every kept adapter, not the last alone. size, steps, guidance: instead of
    those of the recipe's samples. data: where the recipe's paths start, if the run was moved.

    Leaves evaluate.json and the pictures in the run's folder. Raises a KirokuError for whatever
    stands against it.
    """
    opened = open_run(run, device, root=data)
    changes = {"size": size, "steps": steps, "guidance": guidance}
    section = opened.recipe.sample.model_copy(
        update={key: value for key, value in changes.items() if value is not None}
        | {"seeds": tuple(range(seed, seed + pictures))}
    )
    if any(side < 8 or side % 8 for side in section.size):
        width, height = section.size
        raise UsageError(f"--size {width} {height}: both must be multiples of 8")
    measure = dataset_measure(
        *(opened.root / opened.recipe.data, device),
        tagger=tagger,
        signature=split(signature),
        prompts=None if prompts is None else prompt_lines(prompts),
        said=Said("--prompts" if prompts is None else str(prompts)),
    )
    section = section.model_copy(
        update={"prompts": tuple(prompt.text for prompt in measure.prompts)}
    )
    last = opened.checkpoints[-1]
    models = [None, *(opened.checkpoints if checkpoints else [last])]
    try:
        read = _drawn_and_read(opened, section, models, measure)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            "the device's memory is too small to draw this: make --size smaller"
        ) from error
    found = _evaluation(measure, models, read, section)
    write_json(opened.folder.evaluation, asdict(found))
    return found


def _drawn_and_read(
    opened: OpenedRun,
    section: SampleSection,
    models: Sequence[Checkpoint | None],
    measure: DatasetMeasure,
) -> list[list[Bools]]:
    """Return what is read in each model's pictures of each prompt, [pictures, labels]."""
    folder = opened.folder
    # the old figures are of the old pictures
    folder.evaluation.unlink(missing_ok=True)
    shutil.rmtree(folder.evaluated, ignore_errors=True)
    total = len(models) * len(section.prompts) * len(section.seeds)
    with task("evaluate", total, "pictures") as advance:
        return [_read(opened, section, model, measure, advance) for model in models]


def _read(
    opened: OpenedRun,
    section: SampleSection,
    model: Checkpoint | None,
    measure: DatasetMeasure,
    drawn: Advance,
) -> list[Bools]:
    name = _grid_name(model)
    folder = opened.folder.evaluated / name
    shown = f"step {model.step}" if model else "base model"
    title = f"{opened.folder.path.resolve().name}, {shown}"
    with opened.at(model.path if model else None):
        draw_grid(opened.painter, section, opened.recipe.model, folder, title=title, drawn=drawn)
    return measure.read(picture_files(folder, section))


def _grid_name(model: Checkpoint | None) -> str:
    return f"step-{model.step:08}" if model else "base"


def _evaluation(
    measure: DatasetMeasure,
    models: Sequence[Checkpoint | None],
    read: Sequence[list[Bools]],
    section: SampleSection,
) -> Evaluation:
    real, asked, signature = measure.pictures.real, measure.prompts, measure.signature
    figures = [read_back.figures(real, asked, found, signature) for found in read]
    shuffled = [
        read_back.shuffled_figures(real, asked, found, signature) for found in (read[0], read[-1])
    ]
    of_real = read_back.real_figures(real, asked, signature, measure.pictures.taught)
    return Evaluation(
        base=figures[0],
        adapter=figures[-1],
        ceiling=of_real.recall,
        floor=read_back.mean(one.recall for one in shuffled),
        real=of_real,
        shuffled=Figures(
            recall=read_back.mean(one.recall for one in shuffled),
            signature=read_back.mean(one.signature for one in shuffled),
            unasked=read_back.mean(one.unasked for one in shuffled),
        ),
        signature_tags=tuple(signature),
        prompts=_prompt_results(measure, read[0], read[-1]),
        tags=_tag_results(measure, read[0], read[-1]),
        checkpoints=tuple(
            CheckpointResult(step=model.step, **asdict(found))
            for model, found in zip(models, figures, strict=True)
            if model is not None
        ),
        tagger=measure.tagger.name,
        real_pictures=len(real.read),
        seeds=section.seeds,
        size=section.size,
        steps=section.steps,
        guidance=section.guidance,
        grids=tuple(f"{_grid_name(model)}.png" for model in models),
    )


def _prompt_results(
    measure: DatasetMeasure, base: list[Bools], adapter: list[Bools]
) -> tuple[PromptResult, ...]:
    real = measure.pictures.real
    results = []
    for prompt, before, after in zip(measure.prompts, base, adapter, strict=True):
        results.append(
            PromptResult(
                prompt=prompt.text,
                asked=prompt.asked,
                trigger=prompt.trigger,
                base=read_back.mean(read_back.shares(real, prompt.asked, before)),
                adapter=read_back.mean(read_back.shares(real, prompt.asked, after)),
                ceiling=read_back.mean(map(real.ceiling, prompt.asked)),
            )
        )
    return tuple(results)


def _tag_results(
    measure: DatasetMeasure, base: list[Bools], adapter: list[Bools]
) -> tuple[TagResult, ...]:
    """The tags of the prompts without the trigger; first those furthest below their ceiling."""
    real, asked = measure.pictures.real, measure.prompts
    results = []
    for tag in sorted(
        {tag for prompt in asked if read_back.is_prior(prompt) for tag in prompt.asked}
    ):
        places = [n for n, p in enumerate(asked) if read_back.is_prior(p) and tag in p.asked]
        (before,), (after,) = (
            read_back.shares(real, [tag], np.concatenate([found[place] for place in places]))
            for found in (base, adapter)
        )
        threshold = float(measure.pictures.thresholds[real.columns[tag]])
        results.append(TagResult(tag, threshold, before, after, real.ceiling(tag)))
    return tuple(
        sorted(results, key=lambda one: one.adapter - (1 if one.ceiling is None else one.ceiling))
    )
