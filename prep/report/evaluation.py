"""What `train evaluate` read in the run's pictures, in words that need no other page."""

from collections.abc import Mapping
from typing import Any

from prep.report.html import Html, element, missing, section
from prep.report.run import Run
from schemas.figures import MEANINGS

TITLE = "Read back by the tagger"
FIGURES = ("recall", "signature", "unasked")
KINDS = {"base": "base", "adapter": "adapter", "real": "real", "by chance": "shuffled"}


def evaluation(run: Run | None) -> Html:
    """Show the figures of base and adapter beside what is possible and what is chance."""
    found = run.evaluation if run else None
    if run is None or found is None:
        wanted = f"train evaluate {run.recipe.out}" if run else "train evaluate"
        note = missing(f"Not measured yet: `{wanted}` draws pictures and has the tagger read them.")
        return section("evaluation", TITLE, "", note)
    lead = (
        "The dataset's tagger says which tags it sees in drawn pictures; beside that stand what it"
        " sees in real pictures with these tags, and what it would see by chance: the drawn ones,"
        " read against other prompts."
    )
    head = element(
        "tr", element("td"), (element("th", name, scope="col", class_="number") for name in KINDS)
    )
    rows = (
        element(
            "tr",
            element(
                "th", MEANINGS[name].short, element("small", MEANINGS[name].better), scope="row"
            ),
            (
                element("td", _figure(found.get(kind), name), class_="number")
                for kind in KINDS.values()
            ),
        )
        for name in FIGURES
    )
    table = element("table", element("thead", head), element("tbody", rows), class_="figures")
    return section("evaluation", TITLE, lead, element("div", table, class_="scroll"))


def _figure(kind: Any, name: str) -> str:
    """One figure as people read it; a dash where there was nothing to be read."""
    value = kind.get(name) if isinstance(kind, Mapping) else None
    if not isinstance(value, int | float):
        return "–"
    return f"{value:.2f}" if name == "unasked" else f"{value:.0%}"
