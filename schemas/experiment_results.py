"""What an experiment came to, as `train compare` leaves it: experiments/<name>.json.

Everything that its page shows but the pictures themselves, which lie in the dataset's folder.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from schemas.errors import DataError
from schemas.figures import MEANINGS, meaning
from schemas.files import write_text
from schemas.intervals import LEVEL, Interval, interval
from schemas.recipes.section import Section

FOLDER = "experiments"  # of a dataset: results, their pages, and what they were made of
Figures = dict[str, float | None]  # by a figure's name; None: nothing was there to be read


class Run(Section):
    """One arm, trained with one seed and read back."""

    seed: int
    figures: Figures
    recall: dict[str, float]
    """of each tag that prompts ask for: the share of their pictures in which it is read"""
    seconds: float
    """of training"""
    memory: int
    """bytes of tensors at most while training, on the CPU as a rehearsal counts them; 0: unknown"""
    bytes: int
    """of the adapter's file"""
    images: int
    """seen in training, repeats counted"""
    losses: tuple[tuple[int, float], ...]
    """step and loss, thinned to what a curve shows"""
    validation: tuple[tuple[int, float], ...] = ()
    """step and loss on the images held out"""
    folder: str
    """of the run, from the dataset's folder, with "/" """
    pictures: str
    """the folder of the pictures drawn, from the dataset's: 01-seed1.png is the first prompt's"""
    device: str = ""


class Arm(Section):
    """One of the things that are compared."""

    name: str
    changes: str
    """what differs from the experiment's recipes, as TOML's dotted keys; "" where nothing does"""
    images: int
    """of its dataset"""
    regularization: int = 0
    """images among the dataset's that are for regularization"""
    runs: tuple[Run, ...]
    """in the order of the experiment's seeds"""

    def mean(self, figure: str) -> Interval | None:
        """Return the mean of a figure over the runs; None where a run lacks it."""
        values = [run.figures.get(figure) for run in self.runs]
        known = [value for value in values if value is not None]
        return (
            interval(known, meaning(figure).grain) if known and len(known) == len(values) else None
        )


class Difference(Section):
    """One arm held against the first by one figure, paired by training seed."""

    arm: str
    figure: str
    mean: float
    low: float | None = None
    high: float | None = None
    """the 95 % interval; None where one seed tells none"""
    p: float | None = None
    """two-sided, corrected for all comparisons of the experiment"""

    @property
    def decided(self) -> bool:
        """Whether the difference would be this large by chance in fewer than 1 of 20 cases."""
        return self.p is not None and self.p < 1 - LEVEL


class ExperimentResult(Section):
    """A question, what was tried, and what came of it."""

    name: str
    question: str
    notes: str = ""
    """what was said of it before"""
    figures: tuple[str, ...]
    """that decide"""
    watch: str = ""
    """the tag that the figure "watched" looks for"""
    seeds: tuple[int, ...]
    """of training: those that every arm has been trained with"""
    asked_seeds: int
    """how many the experiment wants"""
    arms: tuple[Arm, ...]
    """the first is what the others are held against"""
    base: Figures
    """what is read in the base model's own pictures"""
    base_recall: dict[str, float] = Field(default_factory=dict)
    base_pictures: str = ""
    real: Figures
    """what is read in real pictures: what each figure could be"""
    real_recall: dict[str, float] = Field(default_factory=dict)
    differences: tuple[Difference, ...]
    verdict: str
    """one sentence"""
    prompts: tuple[str, ...]
    picture_seeds: tuple[int, ...]
    size: tuple[int, int]
    settings: tuple[tuple[str, str], ...]
    """what was done exactly: name and value, in the order they are shown"""

    @property
    def read(self) -> tuple[str, ...]:
        """The figures that every run of some arm has: those that decide, then the others."""
        names = dict.fromkeys((*self.figures, *MEANINGS))
        return tuple(name for name in names if any(arm.mean(name) for arm in self.arms))

    def title(self, figure: str) -> str:
        """Return what a figure is called: "watched" by its tag."""
        return self.watch if figure == "watched" and self.watch else figure

    @property
    def trained_with(self) -> str:
        """The training seeds, and how many are still missing, for people."""
        seeds = ", ".join(map(str, self.seeds)) or "none yet"
        return seeds + f" ({self.missing_seeds} more not yet trained)" * bool(self.missing_seeds)

    @property
    def devices(self) -> list[str]:
        """What it was trained on, as far as that is known."""
        return sorted({run.device for arm in self.arms for run in arm.runs if run.device})

    @property
    def missing_seeds(self) -> int:
        """How many training seeds are still to be trained."""
        return max(0, self.asked_seeds - len(self.seeds))


def undecided(seeds: int) -> str:
    """Return what is said of a difference that rests on too few training seeds."""
    return f"{'one run' if seeds == 1 else 'two runs'} each: not decided"


def read_result(path: Path) -> ExperimentResult:
    """Read an experiment's results. Raises DataError where they are broken."""
    try:
        return ExperimentResult.model_validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        why = str(error.strerror)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        rule = first["msg"][:1].lower() + first["msg"][1:]
        why = f"{where}: {rule}" if where else rule
    raise DataError(f"{path} cannot be read as an experiment's results: {why}")


def write_result(path: Path, result: ExperimentResult) -> None:
    """Write results, whole or not at all."""
    write_text(path, result.model_dump_json(indent=1) + "\n")
