"""Tags from posts, text files and taggers, against the same choice over plain dicts."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.captions import sources
from prep.captions.columns import BOORU, KINDS, TAGGER, Images, Tags
from prep.captions.sources import Read, from_booru, from_imports, from_taggers
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
    return Images(
        sets=sets or ["main"] * count,
        md5s=[f"{n:032x}" for n in range(count)],
        post_ids=np.array(post_ids, dtype=np.int64),
        is_reg=np.zeros(count, dtype=bool),
        scores=np.full(count, np.nan),
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
    tags = from_booru(images(*wanted), posts(by_id))
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


def read_of(labels: list[str], by_image: list[dict[str, float]]) -> Read:
    flat = [
        (n, labels.index(name), value)
        for n, values in enumerate(by_image)
        for name, value in values.items()
    ]
    return Read(
        labels=tuple(Label(name, VOCABULARY[name]) for name in labels),
        image=np.array([n for n, _, _ in flat], dtype=np.int64),
        label=np.array([label for _, label, _ in flat], dtype=np.int64),
        probability=np.array([value for _, _, value in flat], dtype=np.float32),
    )


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


@settings(deadline=None, max_examples=120)
@given(
    taggers(),
    st.sampled_from(["mean", "max"]),
    st.sampled_from(STEPS),
    st.sampled_from(STEPS),
    st.dictionaries(
        st.sampled_from(["hat", "Hair Ornament", "azusa \\(x\\)", "unheard of", "general"]),
        st.sampled_from(STEPS),
    ),
)
def test_tags_of_several_taggers_from_their_thresholds_on_the_likeliest_first(
    several: tuple[int, list[tuple[list[str], list[dict[str, float]]]]],
    combine: Any,
    general: float,
    character: float,
    threshold: dict[str, float],
) -> None:
    count, given_taggers = several
    options = TagSection(combine=combine, general=general, character=character, threshold=threshold)
    typed = {"Hair Ornament": "hair_ornament", "azusa \\(x\\)": "azusa_(x)"}
    single = {typed.get(name, name): value for name, value in threshold.items()}
    order = list(dict.fromkeys(name for labels, _ in given_taggers for name in labels))
    expected = []
    for n in range(count):
        chosen = []
        for place, name in enumerate(order):
            knowing = [images for labels, images in given_taggers if name in labels]
            values = [float(np.float32(images[n].get(name, 0.0))) for images in knowing]
            value = sum(values) / len(values) if combine == "mean" else max(values)
            usual = character if VOCABULARY[name] == "character" else general
            if VOCABULARY[name] != "rating" and value >= np.float32(single.get(name, usual)):
                chosen.append((-value, place, name))
        expected.append([(name, VOCABULARY[name]) for _, _, name in sorted(chosen)])
    tags = from_taggers([read_of(labels, rows) for labels, rows in given_taggers], options)
    assert listed(tags, count) == expected
    assert set(tags.source.tolist()) <= {TAGGER}


@pytest.mark.parametrize("value", STEPS)
def test_a_probability_at_the_threshold_counts(value: float) -> None:
    read = read_of(["hat"], [{"hat": value}])
    for several in (1, 2, 3):
        tags = from_taggers([read] * several, TagSection(general=value))
        assert listed(tags, 1) == [[("hat", "general")]]


def test_two_lists_of_tags_become_one_over_all_names() -> None:
    first = from_booru(images(1), posts({1: {"general": ["hat"], "artist": ["me"]}}))
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
