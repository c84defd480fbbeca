"""The arms side by side: what is read in their pictures, beside base and real; what each took."""

from collections.abc import Sequence
from statistics import fmean

from prep.report.html import Html, count, element, missing, section
from prep.report.training import duration
from schemas.experiment_results import Arm, ExperimentResult, Figures
from schemas.figures import meaning
from schemas.intervals import Interval

TITLE = "The arms"
COSTS = ("training", "adapter")
BESIDE = (
    " The base model is read by the same prompts; what is read in real pictures is what a figure"
    " could be."
)


def arms(result: ExperimentResult) -> Html:
    """Show the figures of every arm, and what it took to train."""
    names = result.read
    if not any(arm.runs for arm in result.arms):
        return section("arms", TITLE, "", missing("No arm is trained yet."))
    lead = "Means over training seeds, beneath them the 95 % interval of the mean."
    if len(result.seeds) == 1:
        lead = "One training seed each: no interval can be told."
    head = element(
        "tr",
        element("th", "arm", scope="col"),
        (_head(result, name) for name in names),
        (element("th", name, scope="col", class_="number") for name in COSTS),
    )
    references = [
        _reference("base model", result.base, names),
        _reference("real pictures", {**result.real, "kept": None}, names),  # they are no model
    ]
    table = element(
        "table",
        element("thead", head),
        element("tbody", (_row(result, arm, names) for arm in result.arms)),
        element("tbody", references, class_="references"),
        class_="arms",
    )
    return section(
        "arms", TITLE, lead + BESIDE, element("div", table, class_="scroll"),
        _meanings(result, names),
    )  # fmt: skip


def _head(result: ExperimentResult, name: str) -> Html:
    title = result.title(name)
    return element(
        "th",
        element("b", title) if name in result.figures else title,
        element("small", meaning(name).better),
        scope="col",
        class_="number",
    )


def _row(result: ExperimentResult, arm: Arm, names: Sequence[str]) -> Html:
    decided = {one.figure for one in result.differences if one.arm == arm.name and one.decided}
    facts = [count(arm.images - arm.regularization, "image")]
    if arm.regularization:
        facts.append(f"{arm.regularization:,} for regularization")
    if seen := max((run.images for run in arm.runs), default=0):
        facts.append(f"{seen:,} seen")
    return element(
        "tr",
        element("th", arm.name, element("small", ", ".join(facts)), scope="row"),
        (_cell(arm.mean(name), name, name in decided) for name in names),
        _training(arm),
        _adapter(arm),
    )


def _cell(found: Interval | None, name: str, decided: bool) -> Html:
    told = meaning(name)
    value = told.shown(found.mean if found else None)
    spread = None
    if found and found.low is not None and found.high is not None:
        spread = element("small", f"{told.shown(found.low)} to {told.shown(found.high)}")
    kind = "number decided" if decided else "number"
    return element("td", element("b", value) if decided else value, spread, class_=kind)


def _training(arm: Arm) -> Html:
    """How long it took, and the most memory; 0 is not known."""
    seconds = fmean([run.seconds for run in arm.runs] or [0])
    memory = max((run.memory for run in arm.runs), default=0)
    return element(
        "td",
        duration(seconds) if seconds else "–",
        element("small", f"{memory / 1e6:,.0f} MB of memory") if memory else None,
        class_="number",
    )


def _adapter(arm: Arm) -> Html:
    size = max((run.bytes for run in arm.runs), default=0)
    told = f"{size / 1e6:,.1f} MB" if size >= 1e7 else f"{size / 1e3:,.0f} kB"
    return element("td", told if size else "–", class_="number")


def _reference(title: str, figures: Figures, names: Sequence[str]) -> Html:
    return element(
        "tr",
        element("th", title, scope="row"),
        (element("td", meaning(name).shown(figures.get(name)), class_="number") for name in names),
        (element("td") for _ in COSTS),
    )


def _meanings(result: ExperimentResult, names: Sequence[str]) -> Html:
    pairs = (
        element(
            "div",
            element(
                "dt",
                result.title(name),
                element("small", " decides") if name in result.figures else None,
            ),
            element("dd", meaning(name).text),
        )
        for name in names
    )
    return element("dl", pairs, class_="meanings")
