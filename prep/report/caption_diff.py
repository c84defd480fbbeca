"""The page of `prep caption --diff`: rule by rule what captions would become, with pictures."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prep.dataset import Dataset
from prep.diff import told
from prep.diff.counts import Example, Group, Word
from prep.diff.diff import Diff, Feature
from prep.report.html import Html, count, element, marked, section, together
from prep.report.page import document, name_of
from prep.report.pictures import Images
from schemas.files import write_text
from schemas.tags import rendered

PAGE = "reports/caption_diff.html"
ROWS = 100  # kinds of change for each rule
SIDE = 150  # pixels of a picture, longest side
PICTURES = 12  # opening one takes time
CLASSES = {"added": "added", "removed": "removed", "": None}  # of a word, by its change


def caption_diff(dataset: Dataset, found: Diff) -> Path:
    """Write the page, and return its path."""
    path = dataset.root / PAGE
    write_text(path, document(f"{name_of(dataset)} · captions", _body(dataset, found)))
    return path


def _body(dataset: Dataset, found: Diff) -> Html:
    pictures = _pictures(dataset, found.examples)
    lines = [element("li", element("code", line)) for line in told.recipe_lines(found.recipe or ())]
    rules = [_rule(found, rule, groups, pictures) for rule, groups in told.by_rule(found)]
    if found.stored is None:
        rules = [section("first", "What captions would be", "", _cards(found.examples, pictures))]
    return together(
        element(
            "header",
            element("p", "kiroku · what captions would become", class_="kicker"),
            element("h1", name_of(dataset)),
            element("p", told.summary(found), class_="trigger"),
            element("p", "Since they were made prep.toml has changed:") if lines else None,
            element("ul", lines) if lines else None,
        ),
        element("main", rules, _features(dataset, found.features)),
        element("footer", element("p", marked("Made by kiroku: `prep caption --diff`."))),
    )


def _rule(found: Diff, rule: str, groups: Sequence[Group], pictures: Images) -> Html:
    head = element("tr", [element("th", title) for title in ("change", "images", "by", "such as")])
    body = element("tbody", (_row(group) for group in groups[:ROWS]))
    table = element("table", element("thead", head), body)
    more = f"and {len(groups) - ROWS:,} more: {found.path.name} has all"
    return section(
        f"rule-{rule}",
        rule,
        f"{count(found.by_rule[rule], 'caption')} would change by it.",
        element("div", table, class_="scroll"),
        element("p", element("small", more)) if len(groups) > ROWS else None,
        element("h3", "Some of them"),
        _cards([one for one in found.examples if one.rule == rule], pictures),
    )


def _row(group: Group) -> Html:
    text = f"{told.SIGNS.get(group.change, '→')} {told.change_of(group)}"
    change = element("span", text, class_=CLASSES.get(group.change, "renamed"))
    return element(
        "tr",
        element("td", change, class_="words"),
        element("td", f"{group.images:,}", class_="number"),
        element("td", element("code", group.why) if group.why else None),
        element("td", element("code", ", ".join(md5[:8] for md5 in group.first))),
    )


def _cards(examples: Sequence[Example], pictures: Images) -> Html:
    return element("div", (_card(one, pictures) for one in examples), class_="cards")


def _card(one: Example, pictures: Images) -> Html:
    then = element("h4", "Then"), _words(one.after)
    now = (element("h4", "Now"), _words(one.before)) if one.before else None
    return element(
        "article",
        element("figure", pictures.thumbnail(one.md5, SIDE)),
        element("div", element("small", f"{one.set} · {one.md5}", class_="told"), now, then),
    )


def _words(words: Sequence[Word]) -> Html:
    shown = [
        element(
            "s" if word.change == "removed" else "span", word.text,
            class_=CLASSES.get(word.change, "renamed"),
            title=f"{word.change} by {word.rule}" if word.change else None,
        )
        for word in words
    ]  # fmt: skip
    parted = [part for word in shown for part in (Html(", "), word)][1:]
    return element("p", together(parted), class_="words")


def _features(dataset: Dataset, features: Sequence[Feature]) -> Html | None:
    if not features:
        return None
    head = [element("th", title) for title in ("feature", "share", "images", "")]
    rows = (
        element(
            "tr",
            element("td", rendered(one.tag, escape=False)),
            element("td", f"{one.share:.2f}", class_="number"),
            element("td", f"{one.images:,}", class_="number"),
            element("td", told.note_of(one)),
        )
        for one in features
    )
    share = dataset.recipe.caption.collapse.share
    return section(
        "features", "What the trigger stands for",
        f"Captions leave out what {share:.0%} of the images have: `caption.collapse.share`.",
        element("table", element("thead", element("tr", head)), element("tbody", rows)),
    )  # fmt: skip


def _pictures(dataset: Dataset, examples: Sequence[Example]) -> Images:
    """Where the first images that are shown lie, so that not all of a dataset are asked for."""
    wanted = pa.array(list(dict.fromkeys(one.md5 for one in examples))[:PICTURES], pa.string())
    rows = dataset.images.columns("path")
    rows = rows.filter(pc.is_in(rows["md5"], value_set=wanted))
    paths = dict(zip(rows["md5"].to_pylist(), rows["path"].to_pylist(), strict=True))
    return Images(dataset.root, paths, {})
