"""Which of the tags that were asked for are read, arm by arm: where arms differ most first."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from prep.report.html import Html, element, missing, section, together
from schemas.experiment_results import Arm, ExperimentResult
from schemas.tags import rendered

TITLE = "Tag by tag"
FEW = 24  # tags that are shown at once; the others unfold


def recall(result: ExperimentResult) -> Html:
    """Show the share of pictures in which each tag is read that was asked for."""
    means = {arm.name: _means(arm) for arm in result.arms}
    tags = sorted(
        {tag for found in means.values() for tag in found},
        key=lambda tag: (-_range([found[tag] for found in means.values() if tag in found]), tag),
    )
    if not tags:
        return section("recall", TITLE, "", missing("No tag by itself was read back."))
    lead = (
        "The share of the pictures asked to show a tag in which it is read, mean over training"
        " seeds; first the tags in which the arms differ most. Beside them, how often the base"
        " model shows it, and how often it is read in real pictures that have it."
    )
    rows = [
        element(
            "tr",
            element("th", rendered(tag, escape=False), scope="row"),
            (_cell(found.get(tag)) for found in means.values()),
            (_cell(found.get(tag)) for found in (result.base_recall, result.real_recall)),
        )
        for tag in tags
    ]
    parts = [_table(tuple(means), rows[:FEW])]
    if rest := rows[FEW:]:
        unfold = element("summary", f"{len(rest)} more, in which the arms differ less")
        parts.append(element("details", unfold, _table(tuple(means), rest)))
    return section("recall", TITLE, lead, together(parts))


def _table(arms: Sequence[str], rows: Sequence[Html]) -> Html:
    head = element(
        "tr",
        element("th", "tag", scope="col"),
        (element("th", name, scope="col", class_="number") for name in (*arms, "base", "real")),
    )
    table = element("table", element("thead", head), element("tbody", rows), class_="recall")
    return element("div", table, class_="scroll")


def _means(arm: Arm) -> Mapping[str, float]:
    tags = dict.fromkeys(tag for run in arm.runs for tag in run.recall)
    return {tag: fmean(run.recall[tag] for run in arm.runs if tag in run.recall) for tag in tags}


def _range(values: Sequence[float]) -> float:
    return max(values) - min(values)


def _cell(value: float | None) -> Html:
    """A share, on a ground as strong as it is."""
    if value is None:
        return element("td", "–", class_="number")
    return element("td", f"{value:.2f}", class_="number share", style=f"--share:{value:.0%}")
