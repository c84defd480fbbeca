"""Tags from posts, text files and taggers, against the same choice over plain dicts."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.captions import sources
from prep.captions.columns import BOORU, KINDS, TAGGER, Images, Tags
from prep.captions.combined import Read
from prep.captions.post_tags import PostTags
from prep.captions.sources import above_widest_gap, from_booru, from_imports, from_taggers, ratings
from schemas.recipes.prep import TagSection
from schemas.tables import IMPORTED, POSTS
from taggers.vocabulary import Label

SITE = ("general", "artist", "copyright", "character", "meta")
VOCABULARY = {
    "hat": "general", "long_hair": "general", "hair_ornament": "general",
    "azusa_(x)": "character", "general": "rating", ">_<": "general",
}  # fmt: skip
STEPS = (0.01, 0.2, 0.25, 0.3, 0.34, 0.35, 0.36, 0.5, 0.7, 0.84, 0.85, 0.86, 1.0)


def images(*post_ids: int, sets: list[str] | None = None) -> Images:
    count = len(post_ids)
    return Images.of_posts(
        sets or ["main"] * count,
        [f"{n:032x}" for n in range(count)],
        np.array(post_ids, dtype=np.int64),
    )


def listed(tags: Tags, count: int) -> list[list[tuple[str, str]]]:
    rows: list[list[tuple[str, str]]] = [[] for _ in range(count)]
    for n, code, kind in zip(tags.image, tags.tag, tags.category, strict=True):
        rows[n].append((tags.names[code], KINDS[kind]))
    return rows


def posts(by_id: dict[int, dict[str, list[str]]]) -> pa.Table:
    stamp = 0
    base = {
        "md5": None, "pixel_hash": None, "file_ext": "png", "file_size": 1, "width": 1,
        "height": 1, "rating": "g", "score": 0, "fav_count": 0, "created_at": stamp,
        "updated_at": stamp, "parent_id": None, "is_deleted": False, "is_banned": False,
        "source": "", "file_url": None,
    }  # fmt: skip
    rows = [
        {**base, "id": n, **{category: tags.get(category, []) for category in SITE}}
        for n, tags in by_id.items()
    ]
    return pa.Table.from_pylist(rows, schema=POSTS.schema)


words = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=3, unique=True)
boorus = st.dictionaries(
    st.integers(1, 8), st.fixed_dictionaries(dict.fromkeys(SITE, words)), max_size=5
)


@settings(deadline=None, max_examples=50)
@given(boorus, st.lists(st.integers(0, 9), max_size=6))
def test_posts_give_their_tags_category_by_category_in_the_sites_order(
    by_id: dict[int, dict[str, list[str]]], wanted: list[int]
) -> None:
    tags = from_booru(images(*wanted), PostTags.of([posts(by_id)]))
    assert listed(tags, len(wanted)) == [
        [(name, category) for category in SITE for name in by_id.get(n, {}).get(category, [])]
        for n in wanted
    ]
    assert set(tags.source.tolist()) <= {BOORU}


def imports(*rows: dict[str, Any]) -> pa.Table:
    usual = {"file": "a.png", "sentence": "", "post_id": 0, "gone": False}
    whole = [{**usual, "categories": [""] * len(row["tags"]), **row} for row in rows]
    return pa.Table.from_pylist(whole, schema=IMPORTED.schema)


def test_imports_give_their_tags_to_the_image_of_their_set() -> None:
    imported = imports(
        {"set": "main", "md5": f"{0:032x}", "tags": ["hat", "azusa_(x)", "new"]},
        {"set": "other", "md5": f"{1:032x}", "tags": ["hat"]},
        {"set": "main", "md5": "f" * 32, "tags": ["hat"]},
    )
    tags = from_imports(images(0, 0), imported, VOCABULARY)
    assert listed(tags, 2) == [
        [("hat", "general"), ("azusa_(x)", "character"), ("new", "general")],
        [],
    ]
    assert len(from_imports(images(0), IMPORTED.empty(), {})) == 0


def test_a_category_told_beside_an_import_counts_before_what_a_tagger_knows() -> None:
    imported = imports(
        {
            "set": "main",
            "md5": f"{0:032x}",
            "tags": ["me", "hat", "azusa_(x)"],
            "categories": ["artist", "copyright", ""],
        }
    )
    tags = from_imports(images(0), imported, VOCABULARY)
    assert listed(tags, 1) == [[("me", "artist"), ("hat", "copyright"), ("azusa_(x)", "character")]]


def read_of(labels: list[str], by_image: list[dict[str, float]], weight: float = 1.0) -> Read:
    rows = [
        sorted(((labels.index(name), value) for name, value in values.items()), key=likeliest)
        for values in by_image
    ]
    return Read(
        labels=tuple(Label(name, VOCABULARY.get(name, "")) for name in labels),
        offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        label=np.array([label for row in rows for label, _ in row], dtype=np.uint16),
        probability=np.array([value for row in rows for _, value in row], dtype=np.float32),
        weight=weight,
    )


def likeliest(one: tuple[int, float]) -> tuple[float, int]:
    return -one[1], one[0]


@st.composite
def taggers(draw: st.DrawFn) -> tuple[int, list[tuple[list[str], list[dict[str, float]]]]]:
    """Several taggers over the same images, each with a part of the vocabulary."""
    count = draw(st.integers(0, 3))
    one = []
    for _ in range(draw(st.integers(1, 3))):
        labels = draw(st.lists(st.sampled_from(list(VOCABULARY)), unique=True, min_size=1))
        values = st.dictionaries(st.sampled_from(labels), st.sampled_from(STEPS))
        one.append((labels, draw(st.lists(values, min_size=count, max_size=count))))
    return count, one


def widest_gap(values: list[float], floor: float) -> float:
    """The threshold of MCut over one image's probabilities, as a person would find it by hand."""
    falling = [*sorted(values, reverse=True), 0.0]
    gaps = [upper - lower for upper, lower in pairwise(falling)]
    if not gaps:
        return 1.0
    place = gaps.index(max(gaps))
    return max(floor, (falling[place] + falling[place + 1]) / 2)


@settings(deadline=None, max_examples=200)
@given(
    taggers(),
    st.sampled_from(["mean", "max"]),
    st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=3, max_size=3),
    st.sampled_from([*STEPS, "mcut"]),
    st.sampled_from([*STEPS, "mcut"]),
    st.dictionaries(
        st.sampled_from(["hat", "Hair Ornament", "azusa \\(x\\)", "unheard of", "general"]),
        st.sampled_from(STEPS),
    ),
    st.integers(0, 2),
)
def test_tags_of_several_taggers_from_their_thresholds_on_the_likeliest_first(
    several: tuple[int, list[tuple[list[str], list[dict[str, float]]]]],
    combine: Any,
    weights: list[float],
    general: Any,
    character: Any,
    threshold: dict[str, float],
    top: int,
) -> None:
    count, given_taggers = several
    usual = {"general": general, "character": character}
    options = TagSection(combine=combine, threshold=threshold, top=top, **usual)
    typed = {"Hair Ornament": "hair_ornament", "azusa \\(x\\)": "azusa_(x)"}
    single = {typed.get(name, name): value for name, value in threshold.items()}
    order = list(dict.fromkeys(name for labels, _ in given_taggers for name in labels))
    expected = []
    for n in range(count):
        values = {}
        for name in order:
            knowing = [
                (weight, float(np.float32(rows[n].get(name, 0.0))))
                for (labels, rows), weight in zip(given_taggers, weights, strict=False)
                if name in labels
            ]
            share = sum(weight * value for weight, value in knowing)
            share /= sum(weight for weight, _ in knowing)
            values[name] = share if combine == "mean" else max(value for _, value in knowing)
        chosen = []
        for kind, floor in (("general", 0.0), ("character", 0.15)):
            names = [name for name in order if VOCABULARY[name] == kind]
            least = usual[kind]
            if least == "mcut":
                free = [values[name] for name in names if name not in single and values[name]]
                least = widest_gap(free, floor) + 2e-7
            counting = [
                (-values[name], order.index(name), name)
                for name in names
                if values[name] >= np.float32(single.get(name, least)) - 1e-7 and values[name]
            ]
            chosen += sorted(counting)[: top or None]
        expected.append([(name, VOCABULARY[name]) for _, _, name in sorted(chosen)])
    reads = [
        read_of(labels, rows, weight)
        for (labels, rows), weight in zip(given_taggers, weights, strict=False)
    ]
    tags = from_taggers(reads, options)
    assert listed(tags, count) == expected
    assert set(tags.source.tolist()) <= {TAGGER}


def test_the_widest_gap_is_found_in_each_image_the_first_of_equal_ones() -> None:
    image = np.array([0, 0, 0, 2, 3, 3, 3])
    value = np.array([0.9, 0.8, 0.2, 0.1, 0.75, 0.5, 0.25])
    assert above_widest_gap(image, value).tolist() == [True, True, False, True, True, False, False]
    names = above_widest_gap(image, value, 0.15).tolist()
    assert names == [True, True, False, False, True, False, False]
    assert above_widest_gap(image[:0], value[:0]).tolist() == []


def test_names_are_wanted_surer_than_other_tags_and_what_is_no_tag_never() -> None:
    kinds = ("general", "artist", "copyright", "character", "meta", "rating", "")
    labels = tuple(Label(f"a {kind}" if kind else "", kind) for kind in kinds)
    values = np.full(len(kinds), 0.5, np.float32)
    read = Read(labels, np.array([0, len(kinds)]), np.arange(len(kinds), dtype=np.uint16), values)
    assert listed(from_taggers([read], TagSection()), 1) == [
        [("a_general", "general"), ("a_meta", "meta")]
    ]
    lower = TagSection(artist=0.4, copyright=0.5, character=0.6, meta=0.7)
    assert listed(from_taggers([read], lower), 1) == [
        [("a_general", "general"), ("a_artist", "artist"), ("a_copyright", "copyright")]
    ]


def test_the_likeliest_rating_counts_from_its_threshold_on() -> None:
    labels = [Label("hat", "general"), Label("general", "rating"), Label("explicit", "rating")]
    label = np.array([2, 0, 1, 1, 0], np.uint16)
    values = np.array([0.6, 0.5, 0.3, 0.4, 0.9], np.float32)
    read = Read(tuple(labels), np.array([0, 3, 4, 5]), label, values)
    assert ratings([read], TagSection()).tolist() == [3, 0, -1]
    assert ratings([read], TagSection(rating=0.5)).tolist() == [3, -1, -1]
    other = Read((Label("general", "rating"),), np.array([0, 1, 1, 1]), label[4:], values[4:])
    assert ratings([read, other], TagSection()).tolist() == [0, 0, -1]


def test_blocks_of_images_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = ["hat", "long_hair", "hair_ornament", "azusa_(x)", "general"]
    rows = [
        {name: float(rng.choice(STEPS)) for name in labels if rng.random() < 0.7} for _ in range(50)
    ]
    for several in (1, 2):
        for options in (TagSection(top=2), TagSection(general="mcut", character=0.3)):
            reads = [read_of(labels, rows)] * several
            monkeypatch.undo()
            whole = from_taggers(reads, options)
            monkeypatch.setattr("prep.captions.combined.BLOCK", 7)
            monkeypatch.setattr("prep.captions.sources.BLOCK", 7)
            assert listed(from_taggers(reads, options), 50) == listed(whole, 50)


@pytest.mark.parametrize("value", STEPS)
def test_a_probability_at_the_threshold_counts(value: float) -> None:
    read = read_of(["hat"], [{"hat": value}])
    for several in (1, 2, 3):
        tags = from_taggers([read] * several, TagSection(general=value))
        assert listed(tags, 1) == [[("hat", "general")]]


def test_two_lists_of_tags_become_one_over_all_names() -> None:
    first = from_booru(images(1), PostTags.of([posts({1: {"general": ["hat"], "artist": ["me"]}})]))
    second = from_taggers(
        [read_of(["long_hair", "hat"], [{"hat": 0.9, "long_hair": 0.8}])], TagSection()
    )
    both = sources.together(first, second)
    assert listed(both, 1) == [
        [("hat", "general"), ("me", "artist"), ("hat", "general"), ("long_hair", "general")]
    ]
    once = both.once()
    assert [once.names[code] for code in once.tag] == ["hat", "me", "long_hair"]
    assert once.source.tolist() == [BOORU | TAGGER, BOORU, TAGGER]
