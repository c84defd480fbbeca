"""Experiments as files: those that ship are whole, and what is wrong in one is said."""

import re
from pathlib import Path

import pytest

from schemas.errors import RecipeError
from schemas.recipes.experiment import ExperimentRecipe, load_experiment, merged

RECIPES = Path(__file__).parents[2] / "train" / "recipes" / "experiments"
SHIPPED = sorted(RECIPES.glob("*.toml"))

OWN = {"model": {"path": "own"}}  # of a dataset's train.toml
SMALL = """
question = "Which?"
learnt = "hat"
figures = ["kept"]
prep.sets.main = { query = "hat" }
train.model.path = "model"
train.adapter = { dim = 8, blocks = "all" }
ask.prompts = ["smile"]
[arms.one]
[arms.two]
train.adapter.blocks = "unet"
"""


@pytest.fixture
def write(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def test_the_experiments_that_ship_are_the_eight_of_the_notes() -> None:
    assert [path.stem for path in SHIPPED] == [
        *("blocks", "captions", "rank", "regularization", "relora", "resolution"),
        *("style-text-encoder", "tag-left-out"),
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_arm_that_ships_is_a_whole_recipe_unlike_the_others(path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.question.endswith("?")
    assert experiment.notes
    assert len(set(experiment.seeds)) >= 3
    texts = [
        f"{experiment.prep_changes(arm)} {experiment.train_of(arm, OWN)!r} {section.command}"
        for arm, section in experiment.arms.items()
    ]
    assert len(set(texts)) == len(texts)
    first = next(iter(experiment.arms.values()))
    if first.command == "train":  # the same training in every experiment on one base
        assert first.prep == first.train == {}


def test_an_arm_is_laid_over_the_experiment_table_by_table(write: Path) -> None:
    experiment = load_experiment(write)
    assert list(experiment.arms) == ["one", "two"]
    assert experiment.train_of("one", OWN).adapter.blocks == "all"
    two = experiment.train_of("two", {**OWN, "seed": 7, "adapter": {"alpha": 3}})
    assert (two.adapter.dim, two.adapter.blocks, two.adapter.alpha) == (8, "unet", 3)
    assert (two.seed, two.model.path) == (7, "model")
    assert experiment.prep_changes("two") == {"sets": {"main": {"query": "hat"}}}


def test_a_base_gives_what_the_experiment_does_not_say(write: Path) -> None:
    over = write.with_name("over.toml")
    over.write_text('base = "small.toml"\nseeds = [5]\n[arms.three]\n', encoding="utf-8")
    experiment = load_experiment(over)
    assert experiment.seeds == (5,)
    assert list(experiment.arms) == ["one", "two", "three"]
    assert experiment.question == "Which?"


def test_lists_are_replaced_whole_and_nothing_given_is_changed() -> None:
    under = {"a": {"b": [1, 2], "c": 3}, "d": 4}
    assert merged(under, {"a": {"b": []}}) == {"a": {"b": [], "c": 3}, "d": 4}
    assert under == {"a": {"b": [1, 2], "c": 3}, "d": 4}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ("figures =", "figuers ="),
            '{path} line 4: unknown key "figuers"; did you mean "figures"?',
        ),
        (
            ("ask.prompts", "ask.promts"),
            '{path} line 8: unknown key "ask.promts"; did you mean "pro',
        ),
        (
            ('"kept"', '"best"'),
            '{path} line 4: "figures.0" is "best"; it can be "signature", "kept", "recall", ',
        ),
        (
            ("[arms.two]", "[arms.one.train.x]"),
            "{path}: arms: 1 arm is nothing to compare: write two or more, such as",
        ),
        (("train.model", "seeds = [1, 1]\ntrain.model"), "{path} line 6: seeds: 1 stands there tw"),
        (("smile", "smile\n"), "{path}: not TOML: "),
    ],
)
def test_what_is_wrong_in_the_file_is_one_sentence(
    write: Path, change: tuple[str, str], says: str
) -> None:
    write.write_text(SMALL.replace(*change), encoding="utf-8")
    with pytest.raises(RecipeError, match=f"^{re.escape(says.format(path=write))}"):
        load_experiment(write)


def test_what_is_wrong_in_an_arm_names_the_arm(write: Path) -> None:
    write.write_text(SMALL + "train.adapter.dim = 0\n", encoding="utf-8")
    broken: ExperimentRecipe = load_experiment(write)
    message = 'arm two, train: "adapter.dim" is 0; it must be 1 or more'
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        broken.train_of("two", OWN)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    message = f"{path} cannot be read: No such file or directory"
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        load_experiment(path)
