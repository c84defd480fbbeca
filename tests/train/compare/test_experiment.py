"""What an experiment's arms become over a dataset's recipes, and what is refused beforehand."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from prep.dataset import Dataset
from prep.variant import Variants
from schemas.errors import DatasetError, KirokuError
from schemas.recipes.experiment import ExperimentRecipe
from train.compare.experiment import Experiment, open_experiment, seeds_of
from train.compare.training import Training

Write = Callable[..., Path]
PAIR = "[arms.one]\n[arms.two]\ntrain.adapter.dim = 4"


def opened(path: Path, folder: Path) -> Experiment:
    datasets = Variants(Dataset.open(folder), folder / "experiments/data")
    return open_experiment(path, folder, datasets)


def test_an_arm_is_laid_over_the_experiment_and_that_over_the_dataset(
    folder: Path, write: Write
) -> None:
    path = write(
        "[train.optimizer]\nlr = 0.5\n"
        '[arms.one]\n[arms."8, few"]\ncommand = "relora"\ntrain.adapter = { dim = 8 }\n'
        'train.sets = ["main"]\ndraw.strength = 0.5\n'
    )
    one, eight = opened(path, folder).arms
    assert one.recipe.adapter.blocks == eight.recipe.adapter.blocks == "OUT03-06"
    assert (one.recipe.optimizer.lr, one.recipe.adapter.dim, eight.recipe.adapter.dim) == (
        0.5,
        2,
        8,
    )
    assert one.changes == ""
    assert eight.changes.splitlines() == [
        'command = "relora"',
        "train.adapter.dim = 8",
        'train.sets = ["main"]',
        "draw.strength = 0.5",
    ]
    assert tomllib.loads(eight.changes)["train"] == {"adapter": {"dim": 8}, "sets": ["main"]}
    assert one.data == eight.data == folder
    assert one.trigger == "akari"


def test_pictures_are_drawn_as_the_recipe_says_but_for_what_is_asked(
    folder: Path, write: Write
) -> None:
    section = opened(
        write(PAIR, ask="ask = { pictures = 2, seed = 7, steps = 9, watch = 'hat' }"), folder
    ).section
    assert (section.seeds, section.steps, section.size, section.guidance) == (
        (7, 8),
        9,
        (64, 64),
        1,
    )


def test_an_arm_with_other_captions_has_a_dataset_of_its_own(folder: Path, write: Write) -> None:
    path = write('[arms.one]\n[arms.two]\nprep.caption.drop.tags = ["smile"]')
    one, two = opened(path, folder).arms
    assert one.data == folder
    assert two.data.parent == folder / "experiments/data"
    assert not two.data.exists()
    recipe = Training(opened(path, folder), two, 1).arm.recipe_from(folder)
    assert recipe.model.path == "../../../model"
    assert (two.data / recipe.model.path).resolve() == (folder / "model").resolve()


def test_trainings_are_named_by_what_they_follow_from(folder: Path, write: Write) -> None:
    path = write(PAIR + "\n[arms.weak]\ndraw.strength = 0.5")
    experiment = opened(path, folder)
    one, two, weak = (Training(experiment, arm, 1) for arm in experiment.arms)
    assert one.key == weak.key
    assert one.key != two.key
    other = opened(write(PAIR, name="y", seeds="seeds = [5]"), folder)
    assert Training(other, other.arms[0], 1).folder == one.folder
    text = (folder / "train.toml").read_text(encoding="utf-8")
    text = text.replace('"model"', '"./model/"').replace("[64, 64]", "[8, 8]")
    (folder / "train.toml").write_text(text, encoding="utf-8")
    moved = opened(path, folder)
    assert Training(moved, moved.arms[0], 1).key == one.key  # the same bytes; not its own samples


def test_seeds_may_be_more_or_others(folder: Path, write: Write) -> None:
    recipe = opened(write(PAIR, seeds="seeds = [3, 5]"), folder).recipe
    assert isinstance(recipe, ExperimentRecipe)
    assert seeds_of(recipe, None) == (3, 5)
    assert [seeds_of(recipe, count) for count in (1, 2, 4)] == [(3,), (3, 5), (3, 5, 6, 7)]
    assert seeds_of(recipe, (9, 8)) == (9, 8)


@pytest.mark.parametrize(
    ("arms", "lines", "says"),
    [
        ("[arms.one]\n[arms.two]", {}, "{path}: the arms one and two are the same"),
        (
            "[arms.one]\n[arms.two]\ntrain.adapter.dim = 2",
            {},
            "{path}: the arms one and two are th",
        ),
        (
            "[arms.one]\n[arms.two]\ntrain.adapter.dmi = 2",
            {},
            '{path}: arm two, train: unknown key "adapter.dmi"; did you mean "dim"?',
        ),
        (
            "[arms.one]\n[arms.two]\nprep.capton.drop.tags = []",
            {},
            '{path}: over {folder}/prep.toml: unknown key "capton"; did you mean "caption"?',
        ),
        (
            '[arms.one]\n[arms.two]\nprep.caption.trigger = "akane"',
            {},
            '{path}: the trigger is "akari" in arm one and "akane" in arm two: all are asked the'
            " same prompts, so it must be one",
        ),
        (
            PAIR,
            {"figures": 'figures = ["watched"]', "ask": "ask.pictures = 1"},
            '{path}: figures name "watched", but ask.watch names no tag',
        ),
        (
            PAIR,
            {"figures": 'figures = ["validation"]'},
            '{path}: figures name "validation", but validate.share is 0 in arm one: no image is'
            " held out to measure the loss on",
        ),
        (
            PAIR,
            {"ask": "ask.size = [64, 60]"},
            "{path}: ask.size is [64, 60]: both must be multiples of 8",
        ),
        (
            "[arms.one]\n[arms.two]\ndraw.checkpoint = 9",
            {},
            "{path}: arm two: draw.checkpoint = 9, but steps.total is 2",
        ),
        (
            "[train]\nsave.every = 0\n[arms.one]\n[arms.two]\ndraw.checkpoint = 1",
            {},
            "{path}: arm two: draw.checkpoint = 1, but save.every = 0 keeps none of that step",
        ),
        (
            "[train]\nsteps.total = 9\n[arms.one]\n[arms.two]\ndraw.checkpoint = 2",
            {},
            "{path}: arm two: draw.checkpoint = 2, but save.keep = 3 lets go of it: set 7 or more",
        ),
        (
            "train.steps = { total = 0, epochs = 1 }\n[arms.one]\n[arms.two]\ndraw.checkpoint = 1",
            {},
            "{path}: arm two: draw.checkpoint = 1, but how many steps steps.epochs makes is not"
            " known beforehand: set steps.total",
        ),
        (
            '[arms.one]\n[arms.two]\ncommand = "relora"\ndraw.checkpoint = 1',
            {},
            "{path}: arm two: draw.checkpoint is for plain training: what cycles add up to is kept"
            " at their end alone",
        ),
        (
            '[arms.one]\n[arms.two]\ncommand = "relora"\ntrain.adapter.kind = "dora"',
            {},
            "{path}: arm two draws with the sum of its cycles, but cycles of dora are no one"
            " adapter: `train merge` merges them in turn",
        ),
        (
            '[arms.one]\n[arms.two]\ndraw.model = "none"',
            {},
            "{path}: arm two, draw.model: model.path none is missing: give a .safetensors or .ckpt"
            " file, a diffusers folder, or a Hub id (owner/name)",
        ),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    folder: Path, write: Write, arms: str, lines: dict[str, str], says: str
) -> None:
    path = write(arms, **lines)
    text = says.format(path=path, folder=folder)
    with pytest.raises(KirokuError, match=f"^{re.escape(text)}"):
        opened(path, folder)
    assert not (folder / "experiments").exists()


def test_another_kind_of_base_cannot_be_drawn_on(folder: Path, sdxl: Path, write: Write) -> None:
    path = write(f'[arms.one]\n[arms.two]\ndraw.model = "{sdxl.as_posix()}"')
    text = (
        f"{path}: arm two: draw.model {sdxl} is an sdxl model, and the adapter is trained on an"
        " sd15 model"
    )
    with pytest.raises(KirokuError, match=f"^{re.escape(text)}$"):
        opened(path, folder)


def test_a_folder_without_recipes_is_said(folder: Path, write: Write) -> None:
    datasets = Variants(Dataset.open(folder), folder / "experiments/data")
    (folder / "train.toml").unlink()
    text = (
        f"{folder} has no train.toml, over which experiments are laid: name a dataset folder with"
        " --data, or make one with `prep init`"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(text)}$"):
        open_experiment(write(PAIR), folder, datasets)
