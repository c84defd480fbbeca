"""The whole page: head, then the sections as the chain runs. Nothing in it asks for anything."""

from collections.abc import Sequence
from pathlib import Path

from prep import seals
from prep.caption import before_rules, collapsed
from prep.dataset import Dataset
from prep.lint.finding import Finding
from prep.report.buckets import buckets
from prep.report.captions import captions
from prep.report.drops import fetched
from prep.report.evaluation import evaluation
from prep.report.findings import findings
from prep.report.frequencies import tags
from prep.report.funnel import described, funnel, levels, sets_table
from prep.report.grid import Grid, grid
from prep.report.html import Html, element, legend, marked, missing, section, together
from prep.report.pairs import cooccurrence
from prep.report.pictures import Images
from prep.report.run import Run
from prep.report.training import training
from schemas.errors import KirokuError
from schemas.experiment_results import FOLDER

STYLE = Path(__file__).parent / "page.css"
EXPERIMENTS = f"{FOLDER}/index.html"  # the log of what was compared on the dataset
NAV = {
    "fetched": "fetched",
    "tags": "tags",
    "pairs": "pairs",
    "captions": "captions",
    "lint": "amiss",
    "buckets": "buckets",
    "training": "training",
    "grid": "pictures",
    "evaluation": "read back",
}


def page(
    dataset: Dataset,
    run: Run | None,
    shown: Grid | None,
    why_no_grid: str = "",
    found: Sequence[Finding] | None = None,
) -> str:
    """Return the page of a dataset as far as it has come.

    `found`: what lint finds; None where there are no captions.
    `shown`: the run's pictures; without them `why_no_grid` says what is wanted.
    """
    images = Images.of(dataset)
    body = together(
        _head(dataset, run),
        element(
            "main",
            fetched(dataset, images),
            _tags_and_captions(dataset, images),
            findings(found),
            buckets(dataset),
            training(run),
            grid(shown, why_no_grid),
            evaluation(run),
        ),
        element("footer", element("p", marked("Made by kiroku: `prep report` makes it anew."))),
    )
    return document(f"{name_of(dataset)} · kiroku", body)


def document(title: str, body: Html, style: str = "", script: str = "") -> str:
    """Return a whole page in the reports' style, which asks nobody for anything.

    `style` is laid over theirs; `script` runs when the page is read.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(STYLE.read_text(encoding="utf-8") + style)),
    )
    code = element("script", Html(script)) if script else None
    return f"<!DOCTYPE html>\n{element('html', head, element('body', body, code), lang='en')}\n"


def name_of(dataset: Dataset) -> str:
    """Return what a person calls the dataset: its folder's name."""
    return dataset.root.resolve().name or str(dataset.root.resolve())


def _head(dataset: Dataset, run: Run | None) -> Html:
    found = levels(dataset, run)
    trigger = dataset.recipe.caption.trigger
    reg = tuple(dataset.sets("reg"))
    key = legend(("learnt", "to learn"), ("reg", "for regularization"))
    links = (element("li", element("a", text, href=f"#{target}")) for target, text in NAV.items())
    aside = None
    if (dataset.root / EXPERIMENTS).is_file():
        aside = element("li", element("a", "experiments", href=EXPERIMENTS), class_="aside")
    return element(
        "header",
        element("p", "kiroku · dataset report", class_="kicker"),
        element("h1", name_of(dataset)),
        element("p", "called by ", element("code", trigger), class_="trigger") if trigger else None,
        element("nav", element("ul", links, aside), aria_label="sections"),
        section(
            "chain",
            "From posts to training",
            described(found),
            (funnel(found, reg), key if reg else None) if found else None,
            sets_table(dataset, found),
        ),
    )


def _tags_and_captions(dataset: Dataset, images: Images) -> Html:
    note = ""
    if seals.read_seal(dataset.root, "caption") is None:
        note = "No captions yet: `prep caption` makes them, or `prep run` all that is wanted."
    else:
        try:
            rows, before = before_rules(dataset)
        except KirokuError as error:
            note = f"{error}."
    if note:
        return together(
            section("tags", "Tags", "", missing(note)),
            section("pairs", "Tags that go together", "", missing(note)),
            section("captions", "Captions, before and after the rules", "", missing(note)),
        )
    features = collapsed(dataset)
    return together(
        tags(dataset, rows, before, features),
        cooccurrence(dataset),
        captions(dataset, images, rows, before, features),
    )
