"""The datasets that experiments train on: the real chain on the embedded booru, each made once."""

import shutil
from pathlib import Path

from bench_base_model import opened
from PIL import Image

from prep import chain
from prep.dataset import Dataset
from prep.demo.booru import running
from prep.demo.model import SIDE
from prep.demo.recipes import POSTS, SEED, SIZE, TAGGER, world
from schemas import progress
from schemas.errors import RecipeError
from schemas.files import fingerprint, write_json, write_text
from schemas.recipes.experiment import ExperimentRecipe
from schemas.recipes.load import PREP_FILE
from schemas.recipes.prep import PrepRecipe
from schemas.recipes.write import to_toml
from schemas.tables import MANIFEST

DONE = "done.json"  # written last
TRANSPARENT, SELF_MADE = "transparent", "self-made"  # folders of pictures that are made here
DRAWING = (20, 4.0)  # steps and guidance of the pictures that the base model makes
FIRST = 10_000  # seed of the first of them: none that pictures are read back at
AT_ONCE = 8


def prep_recipe(experiment: ExperimentRecipe, arm: str, site: str = "") -> PrepRecipe:
    """prep.toml of an arm, for the embedded booru at `site` and the demo's tagger."""
    fetch = {"requests_per_second": 10.0, "files_per_second": 50.0}
    changes = {"fetch": fetch | ({"site": site} if site else {})}
    return experiment.prep_of(arm, changes | {"tag": {"taggers": [TAGGER.as_posix()]}})


def data_key(experiment: ExperimentRecipe, arm: str) -> str:
    """What names the dataset of an arm: all that shapes it but the base model."""
    recipe = prep_recipe(experiment, arm).model_dump(mode="json", by_alias=True, exclude={"tag"})
    made = [part.folder for part in prep_recipe(experiment, arm).sets.values() if part.folder]
    twin = data_key(experiment, _twin(experiment)) if SELF_MADE in made else ""
    return fingerprint(recipe, POSTS, SEED, SIZE, SIDE, twin)


def dataset_of(experiment: ExperimentRecipe, arm: str, work: Path, model: Path) -> Path:
    """The dataset folder of an arm, made if it is not there; `work` is of one base model."""
    folder = work / "data" / data_key(experiment, arm)
    if (folder / DONE).is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)  # a kill left a part of it
    for part in prep_recipe(experiment, arm).sets.values():
        if part.folder == TRANSPARENT:
            _transparent(folder / TRANSPARENT)
        elif part.folder == SELF_MADE:
            twin = dataset_of(experiment, _twin(experiment), work, model)
            _self_made(folder / SELF_MADE, model, _reg_captions(twin))
    with running(world()) as site:
        write_text(folder / PREP_FILE, to_toml(prep_recipe(experiment, arm, site.url)))
        chain.run(Dataset.open(folder))
    write_json(folder / DONE, counts(folder))
    return folder


def counts(folder: Path) -> dict[str, int]:
    """How many images a dataset has to learn, and how many for regularization."""
    regs = MANIFEST.read(folder / "manifest.parquet").column("is_reg").to_pylist()
    return {"images": regs.count(False), "reg": regs.count(True)}


def _twin(experiment: ExperimentRecipe) -> str:
    """The arm whose regularization images a site gives: its captions are drawn by."""
    for arm in experiment.arms:
        sets = prep_recipe(experiment, arm).sets.values()
        if any(part.role == "reg" and part.query for part in sets):
            return arm
    raise RecipeError(
        f'"{SELF_MADE}" pictures are drawn by the captions of an arm whose regularization images'
        " come from a query, and no arm has such: add one"
    )


def _reg_captions(dataset: Path) -> list[str]:
    table = MANIFEST.read(dataset / "manifest.parquet").sort_by("md5")
    return [row["caption"] for row in table.to_pylist() if row["is_reg"]]


def _transparent(folder: Path) -> None:
    """One picture with nothing on it and no tags; the recipe repeats it."""
    folder.mkdir(parents=True)
    Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0)).save(folder / "nothing.png")


def _self_made(folder: Path, model: Path, captions: list[str]) -> None:
    """What the base model draws by each caption, with the caption beside it."""
    folder.mkdir(parents=True)
    painter, (steps, guidance) = opened(model), DRAWING
    with progress.task("draw regularization images", len(captions), "pictures") as advance:
        for start in range(0, len(captions), AT_ONCE):
            texts = captions[start : start + AT_ONCE]
            seeds = range(FIRST + start, FIRST + start + len(texts))
            made = painter.draw_batch(texts, "", seeds, (SIDE, SIDE), steps, guidance)
            for seed, text, picture in zip(seeds, texts, made, strict=True):
                picture.save(folder / f"{seed}.png")
                write_text(folder / f"{seed}.txt", text)
            advance(len(texts))
