"""The page of one experiment: question, verdict, what was seen, and what was done exactly."""

from pathlib import Path

from prep.report.comparison.arms import arms
from prep.report.comparison.curves import curves
from prep.report.comparison.done import done
from prep.report.comparison.forest import forest
from prep.report.comparison.recall import recall
from prep.report.comparison.rows import rows
from prep.report.comparison.seeds import choose, rules
from prep.report.comparison.verdict import verdict
from prep.report.html import Html, element, marked, together
from prep.report.page import document
from schemas.experiment_results import ExperimentResult

HERE = Path(__file__).parent
STYLE, ZOOM = HERE / "comparison.css", HERE / "zoom.js"
LONG = 90  # characters of a question that is set smaller
NAV = {
    "differences": "differences",
    "arms": "arms",
    "pictures": "pictures",
    "losses": "losses",
    "recall": "tags",
    "done": "what was done",
}


def page(result: ExperimentResult, root: Path, date: str) -> str:
    """Return the page. root: the dataset's folder, where its pictures lie; date: as it is shown."""
    shown = choose(result)
    body = together(
        _head(result, date),
        element(
            "main",
            forest(result),
            arms(result),
            rows(result, shown, root),
            curves(result),
            recall(result),
            done(result),
        ),
        element("footer", element("p", marked("Made by kiroku: `train compare` makes it anew."))),
    )
    style = STYLE.read_text(encoding="utf-8") + rules(shown)
    script = ZOOM.read_text(encoding="utf-8")
    return document(f"{result.name} · kiroku", body, style, script)


def _head(result: ExperimentResult, date: str) -> Html:
    links = (element("li", element("a", text, href=f"#{target}")) for target, text in NAV.items())
    back = element("li", element("a", "all experiments", href="index.html"), class_="aside")
    size = "long" if len(result.question) > LONG else None
    return element(
        "header",
        element("p", f"kiroku · experiment {result.name} · {date}", class_="kicker"),
        element("h1", result.question, class_=size),
        verdict(result),
        _notes(result),
        element("nav", element("ul", links, back), aria_label="sections"),
    )


def _notes(result: ExperimentResult) -> Html | None:
    if not result.notes:
        return None
    return element("p", element("b", "What was said before: "), result.notes, class_="notes")
