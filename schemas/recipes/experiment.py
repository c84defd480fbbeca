"""An experiment as a file: a question, what it is asked of, and the arms that differ.

question = "Does a character need every block?"
learnt = "akari_(hoshizora_academy)"        what the adapter learns
base = "bases/character.toml"               tables that this file's own are laid over
figures = ["signature", "kept"]             what decides

[prep]  [train]                             over the dataset's prep.toml and train.toml
[ask]                                       what is drawn, and how
[arms.all]                                  the first arm is what the others are held against
[arms.few]
train.adapter.blocks = "OUT03-06"           over [train]; prep.* over [prep]
[arms.weak]
draw.strength = 0.6                         the same training, drawn otherwise
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from schemas.errors import RecipeError
from schemas.recipes.load import checked, place_of
from schemas.recipes.section import Section
from schemas.recipes.train import TrainRecipe

Figure = Literal[
    "signature", "kept", "recall", "unasked", "obeyed", "style", "watched", "validation"
]


class AskSection(Section):
    """What is drawn to be read back: the same for every arm and seed."""

    prompts: tuple[str, ...] = ()
    """drawn beside the trigger alone; those without it measure what the base could do before;
    without any: those that `train evaluate` takes from the dataset"""
    signature: tuple[str, ...] = ()
    """tags that the trigger stands for; without any: those that the dataset collapses into it"""
    watch: str = ""
    """a tag that is looked for in pictures of the trigger alone"""
    pictures: int = Field(8, ge=1)
    """of each prompt"""
    seed: int = Field(1, ge=0)
    """of the first picture; the next has the next"""
    size: tuple[int, int] | None = None
    """width and height; left out, as these below: as train.toml's [sample] has it"""
    steps: int | None = Field(None, ge=1)
    """denoising steps"""
    guidance: float | None = Field(None, ge=0)
    """classifier-free guidance"""


class DrawSection(Section):
    """How what was trained is drawn with: arms that differ in nothing else share a training."""

    checkpoint: int = Field(0, ge=0)
    """the step of a kept adapter; 0: the finished one"""
    strength: float = 1.0
    """of the adapter"""
    model: str = ""
    """another base than was trained on, as model.path of train.toml"""


class ArmSection(Section):
    """What is different in one arm."""

    command: Literal["train", "relora"] = "train"
    """`train relora` trains in cycles, by [relora] of train.toml"""

    prep: dict[str, Any] = Field(default_factory=dict)
    """keys of prep.toml, over the experiment's"""
    train: dict[str, Any] = Field(default_factory=dict)
    """keys of train.toml, over the experiment's"""
    draw: DrawSection = DrawSection()
    """how pictures are drawn"""


class ExperimentRecipe(Section):
    """A question, and the trainings that are to answer it."""

    question: str
    """in one sentence"""
    notes: str = ""
    """what was said of it before"""
    learnt: str = ""
    """the tag of what the adapter learns, for a reader that knows its drawings"""
    base: str = ""
    """a file whose tables this one's are laid over, from this file's folder"""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((1, 2, 3), min_length=1)
    """of training: every arm is trained with each"""
    figures: tuple[Figure, ...] = Field(("signature", "kept"), min_length=1)
    """what decides; each is one more comparison to correct for"""
    prep: dict[str, Any] = Field(default_factory=dict)
    """keys of prep.toml, over the dataset's; `sets.plain = false` leaves that set out"""
    train: dict[str, Any] = Field(default_factory=dict)
    """keys of train.toml, over the dataset's"""
    ask: AskSection = AskSection()
    arms: dict[str, ArmSection]
    """the first is what the others are held against"""

    @field_validator("seeds", "figures")
    @classmethod
    def _each_once(cls, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if twice := [one for one in given if given.count(one) > 1]:
            raise ValueError(f"{twice[0]} stands there twice")
        return given

    @field_validator("arms")
    @classmethod
    def _two_at_least(cls, given: dict[str, ArmSection]) -> dict[str, ArmSection]:
        if len(given) < 2:
            raise ValueError(
                f"{len(given) or 'no'} arm is nothing to compare: write two or more, such as"
                " [arms.one] and [arms.two]"
            )
        return given

    def prep_changes(self, arm: str) -> dict[str, Any]:
        """Return the keys of prep.toml that an arm has otherwise than the dataset."""
        return merged(self.prep, self.arms[arm].prep)

    def train_of(self, arm: str, under: Mapping[str, Any]) -> TrainRecipe:
        """Return train.toml of an arm, over the dataset's. Raises RecipeError."""
        values = merged(under, merged(self.train, self.arms[arm].train))
        return checked(TrainRecipe, values, lambda _: f"arm {arm}, train")


def load_experiment(path: Path) -> ExperimentRecipe:
    """Read an experiment and, if it names one, its base. Raises RecipeError."""
    text, values = _read(path)
    if base := values.get("base"):
        values = merged(_read(path.parent / str(base))[1], values)
    return checked(ExperimentRecipe, values, lambda where: place_of(path, text, where))


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `over` laid over `under`: tables key by key, anything else replaced whole."""
    found = dict(under)
    for key, value in over.items():
        below = found.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        found[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return found


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        return text, tomllib.loads(text)
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: not TOML: {error}") from None
