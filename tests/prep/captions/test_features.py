"""What is found to be fixed about somebody: all people of the demo, and the rules one by one."""

import random
from pathlib import Path

import numpy as np
import pytest

import prep.demo
from prep.captions.columns import BOORU, Images, Tags, made
from prep.captions.features import Counts
from prep.demo.characters import CHARACTERS
from prep.demo.drawing import draw
from prep.demo.portrait import sample
from schemas.recipes.prep import COMPOSITION, CollapseSection, TagSection
from taggers.wd14 import Tagger, load


def columns(rows: list[tuple[str, ...]]) -> tuple[Tags, Images]:
    names = tuple(sorted({tag for row in rows for tag in row}))
    image = np.array([n for n, row in enumerate(rows) for _ in row], np.int64)
    tag = np.array([names.index(tag) for row in rows for tag in row], np.int64)
    count = len(rows)
    images = Images.of_posts(
        ["main"] * count, [f"{n:032x}" for n in range(count)], np.zeros(count, np.int64)
    )
    return made(names, image, tag, "general", BOORU), images


def found(rows: list[tuple[str, ...]], share: float = 0.8) -> list[str]:
    counts = Counts()
    counts.add(*columns(rows))
    return counts.features(share, COMPOSITION)


@pytest.mark.parametrize("name", CHARACTERS)
@pytest.mark.parametrize("count", [40, 100])
def test_what_is_found_of_a_demo_character_is_what_is_drawn_the_same(name: str, count: int) -> None:
    chance = random.Random(f"{name} {count}")
    rows = [sample(chance, character=name).tags() for _ in range(count)]
    assert found(rows, CollapseSection().share) == sorted(CHARACTERS[name].signature)


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return load(Path(prep.demo.__file__).parent / "assets" / "tagger", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", CHARACTERS)
def test_the_same_is_found_in_what_the_demos_tagger_reads_in_drawings(
    name: str, tagger: Tagger
) -> None:
    chance = random.Random(f"{name} 40")
    drawn = [sample(chance, character=name) for _ in range(40)]
    pixels = [np.asarray(draw(one, tagger.size, tagger.size)) for one in drawn]
    least = TagSection().general
    general = np.array([label.category == "general" for label in tagger.labels])
    seen = (tagger.probabilities(np.stack(pixels)) >= least) & general
    read = [tuple(tagger.labels[n].name for n in np.flatnonzero(row)) for row in seen]
    signature = sorted(CHARACTERS[name].signature)
    assert found(read) == signature
    both = [tuple({*one.tags(), *tags}) for one, tags in zip(drawn, read, strict=True)]
    assert found(both) == signature


def test_shut_eyes_do_not_speak_against_a_colour() -> None:
    assert found([("red_eyes",)] * 6 + [("closed_eyes",)] * 4) == ["red_eyes"]


def test_two_colours_speak_against_each_other() -> None:
    assert found([("red_eyes",)] * 6 + [("blue_eyes",)] * 4) == []


def test_a_colour_that_few_images_tell_is_not_believed() -> None:
    assert found([("red_eyes",)] * 4 + [("closed_eyes",)] * 6) == []


def test_clothes_stay_however_often_they_are_worn() -> None:
    assert found([("hairclip", "white_shirt", "shirt", "sailor_collar", "witch_hat")] * 5) == [
        "hairclip",
        "witch_hat",
    ]
