"""The differences between arms and the first one: a forest plot for each figure that decides."""

from collections.abc import Sequence

from prep.report.charts import ticks
from prep.report.html import Html, element, legend, missing, section
from schemas.experiment_results import Difference, ExperimentResult, undecided
from schemas.figures import meaning

WIDTH, HEIGHT = 100, 10  # of a row's own units; the page stretches them
TITLE = "What makes a difference"


def forest(result: ExperimentResult) -> Html:
    """Show each arm's difference from the first, with its interval, by each figure."""
    first = result.arms[0].name
    if not result.differences:
        why = "There is nothing to compare: no figure was read in every run."
        return section("differences", TITLE, "", missing(why))
    panels = [
        _panel(result, figure, [one for one in result.differences if one.figure == figure])
        for figure in dict.fromkeys(one.figure for one in result.differences)
    ]
    lead = (
        f"Each arm against {first}, training seed by training seed: a dot for the mean difference,"
        " a bar for its 95 % interval. It is decided when chance alone would give it less than once"
        " in twenty times, all comparisons of this experiment taken together."
    )
    key = legend(("decided", "decided"), ("undecided", "not decided"))
    return section("differences", TITLE, lead, key, element("div", panels, class_="forests"))


def _panel(result: ExperimentResult, figure: str, found: Sequence[Difference]) -> Html:
    told = meaning(figure)
    ends = [abs(end) for one in found for end in (one.mean, one.low, one.high) if end is not None]
    half = ticks(0, max(*ends, 10**-told.digits))[-1]
    caption = element(
        "figcaption",
        element("b", result.title(figure)),
        element("span", ": ".join(filter(None, (told.text, told.better)))),
    )
    axis = element(
        "li",
        element("span"),
        element(
            "span",
            *(element("i", _signed(f"{end:+g}") if end else "0") for end in (-half, 0, half)),
        ),
        class_="axis",
    )
    rows = (_row(one, half, _described(one, told.digits, len(result.seeds))) for one in found)
    return element("figure", caption, element("ol", rows, axis), class_="forest")


def _row(one: Difference, half: float, told: Sequence[str]) -> Html:
    return element(
        "li",
        element("span", one.arm, class_="name"),
        _drawing(one, half),
        element(
            "span", element("b", told[0]), " ", element("small", ", ".join(told[1:])), class_="told"
        ),
        class_="decided" if one.decided else "undecided",
    )


def _described(one: Difference, digits: int, seeds: int) -> list[str]:
    """A difference in words: its mean, its interval, how sure, and whether it decides."""
    mean = _signed(f"{one.mean:+.{digits}f}")
    if one.p is None or one.low is None or one.high is None:
        return [mean, undecided(seeds)]
    return [
        mean,
        _signed(f"{one.low:+.{digits}f} to {one.high:+.{digits}f}"),
        "p < 0.001" if one.p < 0.001 else f"p = {one.p:.3f}",
        "decided" if one.decided else "not decided",
    ]


def _signed(number: str) -> str:
    """A number whose minus is as wide as a plus."""
    return number.replace("-", "−")


def _drawing(one: Difference, half: float) -> Html:
    def at(value: float) -> str:
        return f"{(value / half + 1) * WIDTH / 2:.2f}"

    middle = HEIGHT / 2
    spread = None
    if one.low is not None and one.high is not None:
        spread = element("path", d=f"M{at(one.low)} {middle}H{at(one.high)}", class_="spread")
    return element(
        "svg",
        element("path", d=f"M{WIDTH / 2} 0V{HEIGHT}", class_="zero"),
        spread,
        *(element("path", d=f"M{at(one.mean)} {middle}h0", class_=name) for name in ("dot", "eye")),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
