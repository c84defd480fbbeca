"""Caption rules over columns, against the same rules over plain lists, written here anew."""

import fnmatch
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.captions.columns import BOORU, KINDS, NO_DAY, RULE, TAGGER, Images, Tags, joined, made
from prep.captions.features import Counts
from prep.captions.render import laid_out, render
from prep.captions.rules import Fitted, rules_of
from schemas.recipes.prep import CaptionsSection, RenderSection

NAMES = ("hat", "long_hair", "red_hat", "solo", "azusa_(x)", "ba_username", "masterpiece", "^_^")
EPOCH = date(1970, 1, 1)
SITE = ("general", "artist", "copyright", "character", "meta")
MIDDLE = ("drop", "trigger", "collapse", "rename", "quality", "year", "rating", "order")


@dataclass
class Tag:
    name: str
    category: str
    sources: set[str]
    rules: list[str] = field(default_factory=list)
    part: str = ""


@dataclass
class Picture:
    reg: bool
    score: float | None
    tags: list[Tag]
    year: int | None = None
    rating: str | None = None


def distinct(tags: list[Tag], order: list[str]) -> list[Tag]:
    """Each name once, at its first place, with the sources and rules of all."""
    by_name: dict[str, Tag] = {}
    for tag in tags:
        if (first := by_name.get(tag.name)) is None:
            by_name[tag.name] = tag
        else:
            first.sources = first.sources | tag.sources
            first.rules = [rule for rule in order if rule in first.rules + tag.rules]
    return list(by_name.values())


def plain(text: str) -> str:
    return text.replace(" ", "_").lower()


def expected(picture: Picture, recipe: CaptionsSection, found: list[str]) -> list[Tag]:
    """What the recipe's rules make of one picture's tags."""
    tags = [Tag(t.name, t.category, set(t.sources)) for t in picture.tags]
    order = list(recipe.rules)
    for rule in order[1:-1]:
        match rule:
            case "drop":
                tags = [
                    tag
                    for tag in tags
                    if tag.category not in recipe.drop.categories
                    and tag.name not in map(plain, recipe.drop.tags)
                    and not any(fnmatch.fnmatchcase(tag.name, p) for p in recipe.drop.patterns)
                ]
            case "trigger" if recipe.trigger and not picture.reg:
                name = plain(recipe.trigger)
                tags = [tag for tag in tags if tag.name != name]
                tags.insert(0, Tag(name, "trigger", {"rule"}, ["trigger"]))
            case "collapse" if not picture.reg:
                features = found if recipe.collapse.tags == "found" else recipe.collapse.tags
                gone = [
                    tag
                    for tag in tags
                    if tag.name in map(plain, features) and tag.category != "trigger"
                ]
                tags = [tag for tag in tags if not any(tag is other for other in gone)]
                for tag in tags:
                    if gone and tag.category == "trigger":
                        tag.rules.append("collapse")
            case "rename":
                names = {plain(old): plain(new) for old, new in recipe.rename.items()}
                for tag in tags:
                    if names.get(tag.name, tag.name) != tag.name:
                        tag.name = names[tag.name]
                        tag.rules.append("rename")
                tags = distinct(tags, order)
            case "quality" if picture.score is not None:
                scores = sorted(recipe.quality.least.items(), key=lambda pair: -pair[1])
                reached = [plain(name) for name, least in scores if picture.score >= least]
                if recipe.quality.which == "highest":
                    reached = reached[:1]
                tags += [Tag(name, "quality", {"rule"}, ["quality"]) for name in reached]
                tags = distinct(tags, order)
            case "year" if picture.year is not None:
                begun = {n: year for n, year in recipe.year.since.items() if year <= picture.year}
                if begun:
                    name = plain(max(begun, key=begun.__getitem__))
                    tags = distinct([*tags, Tag(name, "year", {"rule"}, ["year"])], order)
            case "rating" if picture.rating is not None:
                if word := getattr(recipe.rating, picture.rating):
                    tags = distinct(
                        [*tags, Tag(plain(word), "rating", {"rule"}, ["rating"])], order
                    )
            case "order":
                places = recipe.render.order
                tags.sort(
                    key=lambda t: places.index(t.category) if t.category in places else len(places)
                )
    prefix, suffix = recipe.render.prefix, recipe.render.suffix
    gone = [plain(word) for word in (*prefix, *suffix)]
    first, last = (
        [Tag(plain(word), "general", {"rule"}, ["render"], part) for word in words]
        for words, part in ((prefix, "head"), (suffix, "tail"))
    )
    return [*first, *(tag for tag in tags if tag.name not in gone), *last]


def source_of(tag: Tag) -> str:
    if "rule" in tag.sources:
        return "rule"
    return "both" if len(tag.sources) > 1 else next(iter(tag.sources))


def row_of(picture: Picture, recipe: CaptionsSection, found: list[str]) -> list[dict[str, Any]]:
    parts = {
        "head": list(map(plain, recipe.render.keep)), "tail": list(map(plain, recipe.render.tail))
    }  # fmt: skip
    rows = []
    for tag in expected(picture, recipe, found):
        text = tag.name if tag.name == "^_^" else tag.name.replace("_", " ")
        if recipe.render.escape:
            text = text.replace("(", "\\(").replace(")", "\\)")
        row = {"tag": tag.name, "text": text, "category": tag.category, "source": source_of(tag)}
        fixed = [name for name, kinds in parts.items() if tag.category in kinds]
        fixed = [name for name, kinds in parts.items() if tag.name in kinds] or fixed
        part = "flex" if picture.reg or not fixed else fixed[0]
        part = tag.part or part
        rows.append({**row, "part": part, "rules": tag.rules})
    return [row for part in ("head", "flex", "tail") for row in rows if row["part"] == part]


BITS = {"booru": BOORU, "tagger": TAGGER}


def columns(pictures: list[Picture]) -> tuple[Images, Tags]:
    count = len(pictures)
    images = Images.of_posts(
        ["plain" if picture.reg else "main" for picture in pictures],
        [f"{n:032x}" for n in range(count)],
        np.arange(count),
    )
    images = replace(
        images,
        uploaded=np.array(
            [NO_DAY if p.year is None else (date(p.year, 12, 31) - EPOCH).days for p in pictures],
            dtype=np.int32,
        ),
        ratings=np.array(
            [-1 if p.rating is None else "gsqe".index(p.rating) for p in pictures], dtype=np.int8
        ),
        is_reg=np.array([picture.reg for picture in pictures], dtype=bool),
        scores=np.array(
            [np.nan if p.score is None else p.score for p in pictures], dtype=np.float64
        ),
    )
    flat = [(n, tag) for n, picture in enumerate(pictures) for tag in picture.tags]
    tags = Tags(
        names=NAMES,
        image=np.array([n for n, _ in flat], dtype=np.int64),
        tag=np.array([NAMES.index(tag.name) for _, tag in flat], dtype=np.int64),
        category=np.array([KINDS.index(tag.category) for _, tag in flat], dtype=np.int64),
        source=np.array([sum(BITS[s] for s in tag.sources) for _, tag in flat], dtype=np.int64),
        touched=np.zeros(len(flat), dtype=np.uint64),
        part=np.full(len(flat), -1, dtype=np.int64),
    )
    return images, tags


def made_by(pictures: list[Picture], recipe: CaptionsSection, found: list[str]) -> list[Any]:
    """The rows that the project's rules make."""
    images, tags = columns(pictures)
    order = list(recipe.rules)
    for name, rule in rules_of(recipe, Fitted(found)).items():
        tags = rule(tags, images, 1 << order.index(name))
    laid = laid_out(tags, images, recipe.render, order)
    rows: list[Any] = render(*laid, images, order).to_pylist()
    return rows


names = st.sampled_from(NAMES)
typed = names.map(lambda name: name.replace("_", " ").upper())  # as a person types it
some = st.lists(typed, unique=True, max_size=3).map(tuple)
tags = st.builds(
    Tag, names, st.sampled_from(SITE),
    st.sampled_from([{"booru"}, {"tagger"}, {"booru", "tagger"}]),
)  # fmt: skip
pictures = st.lists(
    st.builds(
        Picture,
        st.booleans(),
        st.none() | st.integers(-5, 100),
        st.lists(tags, max_size=6, unique_by=lambda tag: tag.name),
        st.none() | st.integers(2004, 2026),
        st.none() | st.sampled_from("gsqe"),
    ),
    max_size=6,
)
others = typed | st.sampled_from(["lav", "Azusa"])


@st.composite
def recipes(draw: st.DrawFn) -> CaptionsSection:
    middle = draw(st.lists(st.sampled_from(MIDDLE), unique=True))
    place = st.sampled_from(["trigger", "quality", "year", "rating", *SITE])
    named = place | typed
    keep = draw(st.lists(named))
    kept = set(map(plain, keep))
    trigger = draw(st.sampled_from(["", "Azusa", "hat", "azusa (x)"]))
    fixed = st.lists(others.filter(lambda word: plain(word) != plain(trigger)), unique_by=plain)
    prefix = draw(fixed)
    suffix = [word for word in draw(fixed) if plain(word) not in map(plain, prefix)]
    quality = st.dictionaries(
        st.sampled_from(["masterpiece", "best quality", "hat"]), st.integers(0, 60), max_size=3
    )
    words = st.sampled_from(["", "hat", "safe", "Not safe"])
    years = st.sampled_from(["newest", "old", "hat"])
    since = st.dictionaries(st.integers(2004, 2026), years, max_size=3)
    return CaptionsSection.model_validate(
        {
            "year": {tag: year for year, tag in draw(since).items()},
            "rating": {letter: draw(words) for letter in "gsqe"},
            "trigger": trigger,
            "rules": ["source", *middle, "render"],
            "drop": {
                "categories": draw(st.lists(st.sampled_from(SITE), unique=True, max_size=2)),
                "tags": draw(some),
                "patterns": draw(st.lists(st.sampled_from(["*_username", "*hat", "^*"]))),
            },
            "collapse": {"tags": draw(st.just("found") | some) if trigger else ()},
            "rename": draw(st.dictionaries(typed, others, max_size=3)),
            "quality": {
                **draw(quality),
                "which": draw(st.sampled_from(["all", "highest"])),
            },
            "render": {
                "order": draw(st.lists(place, unique=True)),
                "keep": keep,
                "tail": draw(st.lists(named.filter(lambda name: plain(name) not in kept))),
                "prefix": prefix,
                "suffix": suffix,
                "escape": draw(st.booleans()),
            },
        }
    )


@settings(deadline=None, max_examples=150)
@given(pictures, recipes(), st.lists(names, max_size=3))
def test_any_rules_in_any_order_make_of_columns_what_they_make_of_lists(
    pictures: list[Picture], recipe: CaptionsSection, found: list[str]
) -> None:
    rows = made_by(pictures, recipe, found)
    assert [row["tags"] for row in rows] == [row_of(p, recipe, found) for p in pictures]
    for row in rows:
        assert row["caption"] == ", ".join(tag["text"] for tag in row["tags"])


def test_a_category_is_not_fixed_at_both_ends() -> None:
    with pytest.raises(ValueError, match='"quality" is in keep and in tail: it stands in one'):
        RenderSection(keep=("quality",), tail=("quality",))
    with pytest.raises(ValueError, match='"Red Hat" is in prefix and in suffix: it stands in one'):
        RenderSection(prefix=("red_hat",), suffix=("Red Hat",))


def test_a_category_that_is_misspelt_is_no_tag() -> None:
    with pytest.raises(ValueError, match='"charcter" is no category: did you mean "character"'):
        RenderSection(keep=("charcter",))


@pytest.mark.parametrize("word", ["", " ", "masterpiece, best quality"])
def test_prefix_is_word_by_word(word: str) -> None:
    with pytest.raises(ValueError, match=f'"{word}" is not one word: write'):
        RenderSection(prefix=(word,))


def found(images: Images, tags: Tags, share: float, spare: tuple[str, ...] = ()) -> list[str]:
    """The features, counted in blocks of two images."""
    counts = Counts()
    for start in range(0, len(images), 2):
        low, high = np.searchsorted(tags.image, [start, start + 2])
        part = tags.take(slice(low, high))
        part = replace(part, image=part.image - np.int32(start))
        counts.add(part, images.part(start, start + 2))
    return counts.features(share, spare)


@settings(deadline=None, max_examples=100)
@given(pictures, st.integers(1, 100).map(lambda n: n / 100), some)
def test_features_are_the_general_tags_of_so_large_a_part_of_what_is_learnt(
    pictures: list[Picture], share: float, spare: tuple[str, ...]
) -> None:
    learnt = [picture for picture in pictures if not picture.reg]
    spared = set(map(plain, spare))
    having = {
        name: sum(any((t.name, t.category) == (name, "general") for t in p.tags) for p in learnt)
        for name in NAMES
    }
    expected = sorted(
        name
        for name, count in having.items()
        # the one length of hair here is told by all images that tell a length
        if count
        and (count / len(learnt) >= share or (name == "long_hair" and count / len(learnt) >= 0.5))
        and name not in spared
    )
    images, tags = columns(pictures)
    assert found(images, tags, share, spare) == expected


@pytest.mark.parametrize("share", [0.55, 0.56, 0.57, 0.58, 0.29, 0.07])
def test_just_enough_images_are_enough(share: float) -> None:
    count = round(share * 100)
    having = [Tag("hat", "general", {"booru"})]
    pictures = [Picture(False, None, having if n < count else []) for n in range(100)]
    images, tags = columns(pictures)
    assert found(images, tags, share) == ["hat"]
    pictures[0].tags = []
    images, tags = columns(pictures)
    assert found(images, tags, share) == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), names, st.sampled_from([1, 2, 4]))))
def test_once_keeps_the_first_place_and_all_sources(given_tags: list[Any]) -> None:
    image = np.array([n for n, _, _ in given_tags], dtype=np.int64)
    tag = np.array([NAMES.index(name) for _, name, _ in given_tags], dtype=np.int64)
    source = np.array([bit for _, _, bit in given_tags], dtype=np.int64)
    tags = replace(
        made(NAMES, image, tag, "general", 0), source=source, touched=source.astype(np.uint64)
    )
    merged: dict[tuple[int, str], int] = {}
    for place, name, bit in given_tags:
        merged[place, name] = merged.get((place, name), 0) | bit
    once = tags.once()
    keys = [(n, NAMES[code]) for n, code in zip(once.image, once.tag, strict=True)]
    assert keys == list(merged)
    assert once.source.tolist() == list(merged.values())
    assert once.touched.tolist() == list(merged.values())


def test_columns_over_different_names_are_not_joined() -> None:
    empty = np.empty(0, np.int64)
    with pytest.raises(AssertionError):
        joined(
            made(("a",), empty, empty, "general", RULE), made(("b",), empty, empty, "meta", RULE)
        )
