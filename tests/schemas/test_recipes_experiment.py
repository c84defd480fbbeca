"""Experiments as files: those that ship are whole, and what is wrong in one is said."""

import re
from pathlib import Path

import pytest

from schemas.errors import RecipeError
from schemas.recipes.experiment import ExperimentRecipe, load_experiment, merged

RECIPES = Path(__file__).parents[2] / "train" / "recipes" / "experiments"
SHIPPED = sorted(RECIPES.glob("*.toml"))

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


def test_the_experiments_that_ship_are_the_seven_of_the_notes() -> None:
    assert [path.stem for path in SHIPPED] == [
        *("blocks", "captions", "rank", "regularization", "resolution", "style-text-encoder"),
        "tag-left-out",
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_arm_that_ships_is_a_whole_recipe_unlike_the_others(path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.question.endswith("?")
    assert experiment.notes
    assert len(set(experiment.seeds)) >= 3
    arms = [(experiment.prep_of(arm), experiment.train_of(arm)) for arm in experiment.arms]
    texts = [f"{prep!r} {train!r}" for prep, train in arms]
    assert len(set(texts)) == len(arms)
    first = next(iter(experiment.arms.values()))
    assert first.prep == first.train == {}  # the same training in every experiment on one base


def test_an_arm_is_laid_over_the_experiment_table_by_table(write: Path) -> None:
    experiment = load_experiment(write)
    assert list(experiment.arms) == ["one", "two"]
    assert experiment.train_of("one").adapter.blocks == "all"
    two = experiment.train_of("two", {"seed": 7}).adapter
    assert (two.dim, two.blocks) == (8, "unet")
    assert experiment.train_of("two", {"seed": 7}).seed == 7
    assert experiment.prep_of("two") == experiment.prep_of("one")


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
            '{path} line 4: "figures.0" is "best"; it can be "signature", "kept", "unasked", ',
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
        broken.train_of("two")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    message = f"{path} cannot be read: No such file or directory"
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        load_experiment(path)
