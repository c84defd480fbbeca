"""The losses of all arms over each other, and beneath them those on the images held out."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from prep.report.charts import Line, Point, chart, smoothed
from prep.report.html import Html, element, missing, section, together
from schemas.experiment_results import Arm, ExperimentResult

TITLE = "Losses over each other"
WINDOW = 0.1  # of the steps, over which a loss is averaged
COLOURS, DASHES = 7, 6  # of comparison.css: together they tell 42 arms apart


@dataclass(frozen=True)
class Curve:
    """The mean loss over training seeds of the arms that share these trainings."""

    arms: tuple[str, ...]
    loss: Sequence[Point]
    validation: Sequence[Point]


def curves(result: ExperimentResult) -> Html:
    """Show the loss of every arm in one chart."""
    found = _curves(result.arms)
    if not any(len(one.loss) > 1 for one in found):
        return section("losses", TITLE, "", missing("The course of the losses is not known."))
    lead = (
        "Each line is the mean over an arm's training seeds, smoothed over a tenth of the steps. A"
        " lower loss need not mean better pictures."
    )
    loss = [Line(smoothed(one.loss, WINDOW), _kind(at)) for at, one in enumerate(found) if one.loss]
    held = [Line(one.validation, _kind(at)) for at, one in enumerate(found) if one.validation]
    return section(
        "losses",
        TITLE,
        lead,
        _legend(found),
        element("figure", chart(loss, "step")),
        together(element("h3", "On the images held out"), element("figure", chart(held, "step")))
        if held
        else None,
    )


def _curves(arms: Sequence[Arm]) -> list[Curve]:
    """One for each training: arms that only draw otherwise share theirs."""
    sharing: dict[object, list[Arm]] = defaultdict(list)
    for arm in arms:
        sharing[tuple((run.folder, run.losses) for run in arm.runs)].append(arm)
    return [
        Curve(
            tuple(arm.name for arm in same),
            _mean([run.losses for run in same[0].runs]),
            _mean([run.validation for run in same[0].runs]),
        )
        for same in sharing.values()
    ]


def _mean(lines: Sequence[Sequence[Point]]) -> list[Point]:
    """The mean of several lines at each step that one of them has."""
    values: dict[float, list[float]] = defaultdict(list)
    for line in lines:
        for step, value in line:
            values[step].append(value)
    return [(step, fmean(values[step])) for step in sorted(values)]


def _kind(at: int) -> str:
    return f"arm colour-{at % COLOURS} dash-{at % DASHES}"


def _legend(found: Sequence[Curve]) -> Html:
    """What each line stands for, and where it ends."""
    return element(
        "ul",
        (
            element(
                "li",
                element(
                    "svg",
                    element("path", d="M0 5H48", class_=_kind(at)),
                    viewBox="0 0 48 10",
                    aria_hidden="true",
                ),
                element("span", ", ".join(one.arms)),
                element("small", _end(one)),
            )
            for at, one in enumerate(found)
        ),
        class_="lines",
    )


def _end(one: Curve) -> str:
    told = f"ends at {smoothed(one.loss, WINDOW)[-1][1]:.4f}" if one.loss else "no losses"
    return f"{told}, held out {one.validation[-1][1]:.4f}" if one.validation else told
