"""The log of experiments: every question that was asked of a dataset, with what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from prep.report.comparison.models import models_of, path_of, uris_of
from prep.report.comparison.seeds import Shown
from prep.report.comparison.verdict import verdict
from prep.report.html import Html, count, element, missing, section, together
from prep.report.page import document
from schemas.errors import DataError
from schemas.experiment_results import ExperimentResult

STYLE = Path(__file__).parent / "comparison.css"
BUDGET = 60_000  # bytes of an experiment's pictures in the log
MOST = 6  # of its pictures


@dataclass(frozen=True)
class Entry:
    """An experiment of the log: its results, its page, and when its results were written."""

    result: ExperimentResult
    page: Path
    time: float  # seconds since the epoch

    @property
    def date(self) -> str:
        """The day on which its results were written, in local time."""
        return f"{datetime.fromtimestamp(self.time):%Y-%m-%d}"


def index(root: Path, entries: Sequence[Entry], broken: Sequence[tuple[Path, DataError]]) -> str:
    """Return the page, in the order of the entries. root: the dataset's folder."""
    name = root.resolve().name
    told = f"{count(len(entries), 'question')} asked of {name}, the newest first."
    log = element("div", (_entry(entry, root) for entry in entries), class_="log")
    nothing = missing("No experiment yet: `train compare EXPERIMENT.toml` makes one.")
    body = together(
        element(
            "header",
            element("p", "kiroku · experiments", class_="kicker"),
            element("h1", name),
            element("p", told, class_="trigger") if entries else None,
        ),
        element("main", log if entries else nothing, _broken(broken)),
        element("footer", element("p", "Made by kiroku.")),
    )
    return document(f"{name} · experiments · kiroku", body, STYLE.read_text(encoding="utf-8"))


def _entry(entry: Entry, root: Path) -> Html:
    result = entry.result
    return element(
        "article",
        element("p", f"{entry.date} · {result.name}", class_="kicker"),
        element("h2", element("a", result.question, href=quote(entry.page.name))),
        verdict(result),
        element("p", "Arms: ", "; ".join(arm.name for arm in result.arms), class_="settings"),
        _thumbnails(result, root),
    )


def _thumbnails(result: ExperimentResult, root: Path) -> Html | None:
    """The first picture of base and arms, of the first seeds."""
    shown = Shown(result.seeds[:1], result.picture_seeds[:1])
    first = {
        path_of(folder, 1, seed): model.name
        for model in models_of(result, shown)[:MOST]
        for folder in model.folders.values()
        for seed in shown.pictures
    }
    uris = uris_of(list(first), root, BUDGET)
    pictures = [
        element("li", element("img", src=uri, alt=""), element("small", first[path]))
        for path, uri in uris.items()
    ]
    return element("ul", pictures, class_="thumbnails") if pictures else None


def _broken(broken: Sequence[tuple[Path, DataError]]) -> Html | None:
    if not broken:
        return None
    told = (str(error).replace(str(path), path.name) for path, error in broken)
    return section(
        "broken", "Not read", "", element("ul", (element("li", line) for line in told))
    )  # fmt: skip
