"""How often each tag stands at the sources and in the captions, and what the collapse took."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.columns import BOORU, KINDS, TAGGER, Images, Tags
from prep.dataset import Dataset
from prep.report.html import Html, count, element, legend, missing, section, together
from schemas.tables import CAPTIONS
from schemas.tags import SENTENCE, canonical, rendered

# how many tags of each category are shown at most, in the order of the page
SHOWN = {
    "trigger": 1, "character": 4, "copyright": 3, "general": 26, "quality": 4, "artist": 3,
    "meta": 3, "year": 2, "rating": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Frequency:
    """A tag, and how many of the images to learn from have it."""

    name: str  # canonical, as captions have it after renaming
    category: str
    booru: int
    tagger: int
    caption: int
    was: str = ""  # canonical, before it was renamed

    @property
    def most(self) -> int:
        """The greatest of its counts."""
        return max(self.booru, self.tagger, self.caption)


def frequencies(dataset: Dataset, images: Images, before: Tags) -> list[Frequency]:
    """Return the tags of the images to learn from, the most frequent first."""
    learnt = before.where(~images.is_reg[before.image])
    renamed = {canonical(a): canonical(b) for a, b in dataset.recipe.caption.rename.items()}
    names = [renamed.get(name, name) for name in learnt.names]
    booru, tagger = (_counts(learnt, names, source) for source in (BOORU, TAGGER))
    codes, first = np.unique(learnt.tag, return_index=True)
    kinds = {
        names[code]: KINDS[learnt.category[place]]
        for code, place in zip(codes.tolist(), first.tolist(), strict=True)
    }
    captions: Counter[str] = Counter()
    for name, kind, number in _in_captions(dataset):
        captions[canonical(name)] += number
        kinds[canonical(name)] = kind
    there = {learnt.names[code] for code in codes.tolist()}
    was = {new: old for old, new in renamed.items() if old in there}
    found = [
        Frequency(name, kind, booru[name], tagger[name], captions[name], was.get(name, ""))
        for name, kind in kinds.items()
    ]
    return sorted(found, key=lambda one: (-one.most, one.name))


def _in_captions(dataset: Dataset) -> Iterator[tuple[str, str, int]]:
    """Each tag of the captions to learn from, its category, and how many have it."""
    table = dataset.table(CAPTIONS)
    learnt = table.filter(pc.is_in(table["set"], pa.array(list(dataset.sets("train")))))
    tags = pc.list_flatten(learnt["tags"]).combine_chunks()
    columns = {"tag": tags.field("tag"), "category": tags.field("category")}
    counted = pa.table(columns).group_by(["tag", "category"]).aggregate([([], "count_all")])
    for row in counted.to_pylist():
        if row["category"] != SENTENCE:
            yield row["tag"], row["category"], row["count_all"]


def _counts(tags: Tags, names: Sequence[str], source: int) -> Counter[str]:
    """Images by tag, of one source, under the new `names`; a tag stands once in an image."""
    held = tags.where((tags.source & source) > 0)
    code_of = {name: code for code, name in enumerate(dict.fromkeys(names))}
    codes = np.array([code_of[name] for name in names], np.int64)
    pairs = np.unique(held.image.astype(np.int64) * len(code_of) + codes[held.tag])
    counts = np.bincount(pairs % len(code_of), minlength=len(code_of))
    return Counter(dict(zip(code_of, counts.tolist(), strict=True)))


def tags(dataset: Dataset, images: Images, before: Tags, collapsed: Sequence[str]) -> Html:
    """Show the most frequent tags by category, and the features that the trigger stands for."""
    title = "Tags"
    found = frequencies(dataset, images, before)
    total = int(np.count_nonzero(~images.is_reg))
    if not total or not found:
        return section("tags", title, "", missing("No image to learn from has a tag."))
    lead = (
        f"How many of the {count(total, 'image')} to learn from have a tag: the bar counts captions"
        " as trained, the marks what the sources say."
    )
    key = legend(("bar", "in captions"), ("booru", "at the booru"), ("tagger", "by the tagger"))
    charts = []
    for category, most in SHOWN.items():
        of_it = [one for one in found if one.category == category]
        if of_it:
            charts.append(_chart(category, of_it, most, total, set(collapsed)))
    return section(
        "tags", title, lead, key, element("div", charts, class_="bars"),
        _collapse(dataset, found, total, collapsed),
    )  # fmt: skip


def _chart(
    category: str, found: Sequence[Frequency], most: int, total: int, collapsed: set[str]
) -> Html:
    more = f"{most} of {len(found):,}" if len(found) > most else f"{len(found)}"
    return together(
        element("h3", category, " ", element("small", more)),
        element("ol", (_bar(one, total, collapsed) for one in found[:most])),
    )


def _bar(one: Frequency, total: int, collapsed: set[str]) -> Html:
    text = rendered(one.name, escape=False)
    note = None
    if one.name in collapsed:
        note = "collapsed"
    elif one.was:
        note = f"was {rendered(one.was, escape=False)}"
    elif not one.caption:
        note = "dropped"
    told = f"{text}: {one.caption} in captions, {one.booru} at the booru, {one.tagger} by tagger"
    marks = [
        element("i", class_=kind, style=f"left:{number / total:.2%}")
        for kind, number in (("booru", one.booru), ("tagger", one.tagger))
        if number
    ]
    track = element(
        "span",
        element("i", class_="bar", style=f"width:{one.caption / total:.2%}"),
        marks,
        class_="track",
    )
    return element(
        "li",
        element("span", text, (" ", element("small", note)) if note else None, class_="name"),
        track,
        element("span", f"{one.caption:,}", class_="number"),
        title=told,
        class_="none" if not one.caption else None,
    )


def _collapse(
    dataset: Dataset, found: Sequence[Frequency], total: int, collapsed: Sequence[str]
) -> Html | None:
    trigger = dataset.recipe.caption.trigger
    if not trigger or "collapse" not in dataset.recipe.caption.rules:
        return None
    heading = element("h3", "What the trigger stands for")
    if not collapsed:
        return together(heading, missing("The recipe collapses no tag into the trigger."))
    having = {one.name: one.most for one in found}
    chips = (
        element(
            "li", rendered(name, escape=False),
            element("small", f"{having.get(name, 0) / total:.0%}"),
        )
        for name in sorted(collapsed, key=lambda name: -having.get(name, 0))
    )  # fmt: skip
    told = (
        f"These tags are left out of captions, so that what they name is learnt as “{trigger}”;"
        " beside each, the part of the images that had it."
    )
    return together(heading, element("p", told), element("ul", chips, class_="chips"))
