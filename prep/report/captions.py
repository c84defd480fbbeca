"""Captions before and after the rules: which tags went and why, which came, which changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.caption import known
from prep.captions.columns import BOORU, TAGGER, Tags
from prep.captions.columns import Images as Rows
from prep.captions.rules import Fitted, rules_of
from prep.captions.sources import taken
from prep.dataset import Dataset
from prep.report.drops import spread
from prep.report.html import Html, count, element, section, together
from prep.report.pictures import Images
from schemas.tables import CAPTIONS
from schemas.tags import canonical, rendered

LEARNT, REG = 6, 2  # images of each role that are shown
THUMBNAIL = 150  # pixels, longest side
ORIGIN = {BOORU: "booru", TAGGER: "tagger", BOORU | TAGGER: "both"}
WHY = {  # what a rule says of a tag that it takes away
    "source": "the recipe takes no tags from there",
    "drop": "a rule drops it",
    "collapse": "the trigger stands for it",
    "implied": "another tag implies it",
}


@dataclass(frozen=True)
class Word:
    """A tag on one side of the rules."""

    text: str
    fate: str = ""  # "removed", "added", "renamed"; "" for one that stays
    note: str = ""  # where it is from, and what became of it


@dataclass(frozen=True)
class Example:
    """An image, its tags as the sources give them, and its caption as trained."""

    set: str
    md5: str
    is_reg: bool
    before: tuple[Word, ...]
    after: tuple[Word, ...]


def captions(
    dataset: Dataset, pictures: Images, rows: Rows, before: Tags, found: Sequence[str]
) -> Html:
    """Show a few images with their tags before and after the rules."""
    lead = "What the sources say of an image, and what training reads of it."
    legend = element(
        "p",
        element("s", "removed", class_="removed"), " ",
        element("span", "renamed", class_="renamed"), " ",
        element("span", "added", class_="added"), " ",
        element("span", "from the tagger alone", class_="tagger"),
        class_="legend words",
    )  # fmt: skip
    cards = (_card(one, pictures) for one in examples(dataset, rows, before, found))
    return section(
        "captions", "Captions, before and after the rules", lead, legend,
        element("div", cards, class_="cards"),
    )  # fmt: skip


def examples(dataset: Dataset, rows: Rows, before: Tags, found: Sequence[str]) -> list[Example]:
    """Return the words of a few images; which rule took a tag is found by running the rules."""
    learnt = spread(np.flatnonzero(~rows.is_reg).tolist(), LEARNT)
    shown = learnt + spread(np.flatnonzero(rows.is_reg).tolist(), REG)
    told = before.where(np.isin(before.image, np.array(shown, np.int64)))
    gone = _gone(dataset, rows, told, found)
    after = _after(dataset, rows, shown)
    made = []
    for place in shown:
        key = rows.sets[place], rows.md5s[place]
        if key in after:
            held = told.where(told.image == place)
            words = tuple(_before(dataset, held, gone.get(place, {})))
            names = {held.names[code] for code in held.tag.tolist()}
            became = tuple(_word(tag, names) for tag in after[key])
            made.append(Example(*key, bool(rows.is_reg[place]), words, became))
    return made


def _gone(
    dataset: Dataset, rows: Rows, tags: Tags, found: Sequence[str]
) -> Mapping[int, Mapping[str, str]]:
    """By image and canonical name: the rule that took the tag away."""
    gone: dict[int, dict[str, str]] = {}

    def step(name: str, earlier: Tags, later: Tags) -> Tags:
        for image, tag in _pairs(earlier) - _pairs(later):
            gone.setdefault(image, {})[tag] = name
        return later

    recipe = dataset.recipe.caption
    tags = step("source", tags, taken(tags, recipe.source, recipe.few))
    for name, rule in rules_of(recipe, Fitted(found), known(dataset)).items():
        tags = step(name, tags, rule(tags, rows, 0))
    return gone


def _pairs(tags: Tags) -> set[tuple[int, str]]:
    names = (tags.names[code] for code in tags.tag.tolist())
    return set(zip(tags.image.tolist(), names, strict=True))


def _before(dataset: Dataset, tags: Tags, gone: Mapping[str, str]) -> list[Word]:
    present = known(dataset).present
    renames = dataset.recipe.caption.rename
    renamed = {present(canonical(a)): canonical(b) for a, b in renames.items()}
    words = []
    for code, source in zip(tags.tag.tolist(), tags.source.tolist(), strict=True):
        name = tags.names[code]
        rule, origin = gone.get(name, ""), ORIGIN[source]
        fate = "renamed" if rule in ("rename", "aliases") else "removed" if rule else ""
        new = renamed.get(name, name) if rule == "rename" else present(name)
        why = f"now {rendered(new, escape=False)}" if fate == "renamed" else ""
        note = "; ".join(filter(None, (f"from {origin}", why or WHY.get(rule, rule))))
        words.append(Word(rendered(name, escape=False), fate, note))
    return words


def _after(
    dataset: Dataset, rows: Rows, shown: Sequence[int]
) -> Mapping[tuple[str, str], list[Mapping[str, Any]]]:
    table = dataset.table(CAPTIONS)
    wanted = table.filter(pc.is_in(table["md5"], pa.array([rows.md5s[place] for place in shown])))
    return {(row["set"], row["md5"]): row["tags"] for row in wanted.to_pylist()}


def _word(tag: Mapping[str, Any], before: set[str]) -> Word:
    if not {"rename", "aliases"}.isdisjoint(tag["rules"]):
        return Word(tag["text"], "renamed", "another tag's new name")
    if canonical(tag["tag"]) not in before:
        return Word(tag["text"], "added", f"by the rule {', '.join(tag['rules']) or tag['source']}")
    return Word(tag["text"], "", f"from {tag['source']}" if tag["source"] != "rule" else "")


def _card(one: Example, pictures: Images) -> Html:
    fates = Counter(word.fate for word in one.before)
    fates["added"] = sum(word.fate == "added" for word in one.after)
    changes = (f"{fates[fate]} {fate}" for fate in ("removed", "renamed", "added") if fates[fate])
    told = ", ".join((count(len(one.before), "tag"), *changes))
    role = ", for regularization" if one.is_reg else ""
    return element(
        "article",
        element("figure", pictures.thumbnail(one.md5, THUMBNAIL)),
        element(
            "div",
            element("small", f"{one.set}{role} · {told}", class_="told"),
            element("h4", "Sources"), _words(one.before),
            element("h4", "Caption"), _words(one.after),
        ),
    )  # fmt: skip


def _words(words: Sequence[Word]) -> Html:
    shown = []
    for place, word in enumerate(words):
        alone = "tagger" if word.note.startswith("from tagger") else ""
        kind = " ".join(filter(None, (word.fate, alone)))
        shown.append(
            element(
                "s" if word.fate == "removed" else "span", word.text,
                class_=kind or None, title=word.note or None,
            )
        )  # fmt: skip
        shown.append(Html(", " if place < len(words) - 1 else ""))
    return element("p", together(shown), class_="words")
