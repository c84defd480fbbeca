"""`prep demo --compare`: the shipped experiments, on datasets of the demo's own.

DIR/compare/character/      a dataset with prep.toml and train.toml, made by the chain
    rank.toml               the experiment: a shipped one, with what this dataset is asked
    transparent/ self-made/ pictures that an experiment names as regularization
    experiments/            what `train compare` makes, its pages among it
DIR/compare/style/          the same for experiments about a manner of drawing
DIR/compare/everything/     and about a large set
DIR/compare/read/           what pictures are read by
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

import train as package
from prep import chain
from prep.cli.demo import port_of
from prep.cli.demo_measure import FRESH, demo_measure
from prep.dataset import Dataset
from prep.demo import recipes
from prep.demo.booru import running
from prep.demo.model import ASSETS, SIDE
from prep.init import write_recipes
from prep.report.comparison import write_pages
from prep.variant import Variants
from schemas.errors import Failure, RecipeError, UsageError
from schemas.files import write_text
from schemas.progress import task
from schemas.recipes.experiment import ExperimentRecipe, load_experiment, merged
from schemas.recipes.load import PREP_FILE, TRAIN_FILE, load_train
from schemas.recipes.prep import PrepRecipe
from schemas.recipes.train import SampleSection, TrainRecipe
from schemas.recipes.write import inline_value
from schemas.tables import MANIFEST
from train.compare import FOLDER as MADE
from train.compare.compare import compare, opened
from train.compare.datasets import Datasets
from train.compare.experiment import Experiment
from train.device import find_device
from train.measure import Measure
from train.model import find_model
from train.precision import autocast
from train.sample import at_once, write_png
from train.sampling import painter_with

SHIPPED = Path(package.__file__).parent / "recipes" / "experiments"
SUBJECTS = Path(__file__).parents[1] / "demo" / "experiments"
USUAL = ("blocks", "rank", "regularization")  # where none is named: all would take many hours
FOLDER = "compare"  # of the demo
TRANSPARENT, SELF_MADE = "transparent", "self-made"
DRAWING = SampleSection(prompts=(), size=(SIDE, SIDE), steps=20, guidance=4.0)
FIRST = 10_000  # seed of the first picture that the base model makes: none that is read back


@dataclass(frozen=True)
class Subject:
    """What experiments are made on: a dataset of the demo's world, and what is asked of it."""

    name: str
    root: Path
    values: Mapping[str, Any]  # of its file: experiments, learnt, [prep], [train], [ask]

    @classmethod
    def of(cls, name: str, folder: Path) -> "Subject":
        text = (SUBJECTS / f"{name}.toml").read_text(encoding="utf-8")
        return cls(name, folder / FOLDER / name, tomllib.loads(text))

    def write(self, site: str, model: Path) -> None:
        """Write the two recipes where they are not there yet."""
        if (self.root / PREP_FILE).is_file():
            return
        usual = recipes.prep_recipe(site).model_dump(mode="json", by_alias=True)
        own = {"fetch": usual["fetch"], "tag": usual["tag"]}
        prep = PrepRecipe.model_validate(merged(self.values["prep"], own))
        train = merged(self.values["train"], {"model": {"path": model.as_posix()}})
        write_recipes(self.root, prep, TrainRecipe.model_validate(train))

    def experiment(self, shipped: Path) -> Path:
        """Return the shipped experiment as a file over this dataset, written if it is not there."""
        path = self.root / shipped.name
        if not path.is_file():
            asked = [f"{key} = {inline_value(value)}" for key, value in self.values["ask"].items()]
            lines = [
                "# what is asked of the shipped experiment below, on this dataset",
                f"base = {inline_value(shipped.as_posix())}",
                f"learnt = {inline_value(self.values['learnt'])}",
                *("", "[ask]", *asked),
            ]
            write_text(path, "\n".join(lines) + "\n")
        return path


def demo_compare(
    folder: Path,
    names: Sequence[str] = (),
    *,
    seeds: int | None = None,
    model: Path = ASSETS,
    fresh: int = FRESH,
) -> list[Path]:
    """Run shipped experiments, USUAL where none is named; return their pages and the log of all.

    What is done is never done again: killed, it goes on. seeds: of training, how many; None: as
    many as the experiments want. model: the base. fresh: drawings that thresholds are fitted to.
    Raises UsageError, or Failure where a training failed; the others are done then.
    """
    wanted = _by_subject(names or USUAL, folder)
    failed: list[str] = []
    written: list[Path] = []
    with running(recipes.world(), port_of(_begun(folder))) as site:
        for subject, shipped in wanted:
            subject.write(site.url, model)
            paths = [subject.experiment(path) for path in shipped]
            dataset = Dataset.open(subject.root)
            chain.run(dataset)
            datasets = Variants(dataset, subject.root / MADE / "data")
            for path in paths:
                _make_pictures(load_experiment(path), subject.root, datasets)
            asked = opened(
                *(paths, subject.root, datasets),
                lambda experiment: _measure(experiment, folder, fresh),
                seeds,
            )
            compared = compare(asked, datasets, written=partial(write_pages, subject.root))
            written += write_pages(subject.root)
            failed += compared.failed
    if failed:
        raise Failure(f"{len(failed)} runs failed, run it again for these: {'; '.join(failed)}")
    return written


def _by_subject(names: Sequence[str], folder: Path) -> list[tuple[Subject, list[Path]]]:
    """The experiments of these names, by what they are made on. Raises UsageError."""
    there = {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}
    if unknown := [name for name in names if name not in there]:
        raise UsageError(f"--compare {unknown[0]}: the experiments are {', '.join(there)}")
    wanted = dict.fromkeys(names)
    subjects = [Subject.of(path.stem, folder) for path in sorted(SUBJECTS.glob("*.toml"))]
    found = [
        (subject, [there[name] for name in wanted if name in subject.values["experiments"]])
        for subject in subjects
    ]
    return [(subject, paths) for subject, paths in found if paths]


def _begun(folder: Path) -> Path:
    """A dataset that knows its booru by a port already, if there is one."""
    there = sorted(path.parent for path in (folder / FOLDER).glob(f"*/{PREP_FILE}"))
    return there[0] if there else folder


def _measure(experiment: Experiment, folder: Path, fresh: int) -> Measure:
    model = find_model(experiment.arms[0].recipe.model, experiment.root)
    return demo_measure(experiment, model, folder / FOLDER / "read", fresh)


def _make_pictures(experiment: ExperimentRecipe, root: Path, datasets: Datasets) -> None:
    """Make the folders of pictures that arms name and nobody has.

    Raises RecipeError where nothing tells what to draw.
    """
    changes = [experiment.prep_changes(arm) for arm in experiment.arms]
    named = {part.folder for one in changes for part in datasets.recipe_of(one).sets.values()}
    if TRANSPARENT in named:
        _transparent(root / TRANSPARENT)
    if SELF_MADE in named:
        queried = (one for one in changes if _asks_for_reg(datasets.recipe_of(one)))
        if (twin := next(queried, None)) is None:
            raise RecipeError(
                f'"{SELF_MADE}" pictures are drawn by the captions of an arm whose regularization'
                " images come from a query, and no arm has such: add one"
            )
        _self_made(root, _reg_captions(datasets.made(twin)))


def _asks_for_reg(recipe: PrepRecipe) -> bool:
    return any(part.role == "reg" and part.query for part in recipe.sets.values())


def _reg_captions(dataset: Path) -> list[str]:
    table = MANIFEST.read(dataset / "manifest.parquet").sort_by("md5")
    return [row["caption"] for row in table.to_pylist() if row["is_reg"]]


def _transparent(folder: Path) -> None:
    """One picture with nothing on it and no tags; the recipe repeats it."""
    path = folder / "nothing.png"
    if not path.is_file():
        write_png(path, Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0)), "")


def _self_made(root: Path, captions: Sequence[str]) -> None:
    """What the base model draws by each caption, with the caption beside it."""
    recipe, folder = load_train(root / TRAIN_FILE), root / SELF_MADE
    files = [folder / f"{FIRST + number}.png" for number in range(len(captions))]
    missing = [number for number, file in enumerate(files) if not file.is_file()]
    if not missing:
        return
    step, device = at_once(DRAWING.size), find_device("auto", "drawing")
    precision = recipe.steps.precision
    painter = painter_with(find_model(recipe.model, root), (), DRAWING, precision, device)
    first = missing[0] // step * step  # by whole batches: each is drawn as ever
    with (
        autocast(device, precision),
        task("draw regularization images", len(files) - first, "pictures") as advance,
    ):
        for start in range(first, len(files), step):
            texts, places = captions[start : start + step], files[start : start + step]
            seeds = range(FIRST + start, FIRST + start + len(texts))
            drawn = painter.draw_batch(
                *(texts, DRAWING.negative, seeds),
                *(DRAWING.size, DRAWING.steps, DRAWING.guidance),
            )
            for place, text, picture in zip(places, texts, drawn, strict=True):
                write_text(place.with_suffix(".txt"), text)
                write_png(place, picture, "")
            advance(len(texts))
