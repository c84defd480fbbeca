"""Which pictures look alike: copies do; other expressions, colours and plain pictures do not."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from prep.demo.drawing import draw
from prep.demo.portrait import Portrait, sample
from prep.likeness import Likeness, small


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    mouth = {"expression": "smile", "framing": "portrait", "hair_color": "red_hair"}
    return replace(sample(random.Random(5)), eyes="", **mouth)


@pytest.fixture(scope="module")
def drawing(portrait: Portrait) -> Image.Image:
    return draw(portrait, 240, 320)


def likeness(*pictures: Image.Image) -> Likeness:
    return Likeness.of([small(picture) for picture in pictures])


def alike(one: Image.Image, other: Image.Image) -> bool:
    both = likeness(one, other)
    there, back = both.alike(np.array([0, 1]), np.array([1, 0])).tolist()
    assert there == back
    return bool(there)


def test_a_copy_smaller_cropped_or_grey_looks_alike(drawing: Image.Image) -> None:
    assert alike(drawing, drawing)
    assert alike(drawing, drawing.resize((120, 160)))
    assert alike(drawing, drawing.crop((2, 3, 238, 317)))
    assert alike(drawing, drawing.convert("L").convert("RGB"))


def test_other_hair_or_clothes_do_not(portrait: Portrait, drawing: Image.Image) -> None:
    assert not alike(drawing, draw(replace(portrait, hair_color="green_hair"), 240, 320))
    hue, *rest = drawing.convert("HSV").split()
    turned = hue.point(lambda level: (level + 100) % 256)
    assert not alike(drawing, Image.merge("HSV", (turned, *rest)).convert("RGB"))


def test_another_expression_or_colour_of_eyes_does_not(portrait: Portrait) -> None:
    one = replace(portrait, expression="smile", eye_color="blue_eyes")
    smiling = draw(one, 240, 320)
    assert not alike(smiling, draw(replace(one, expression="open_mouth"), 240, 320))
    assert not alike(smiling, draw(replace(one, eye_color="red_eyes"), 240, 320))


def test_plain_pictures_look_alike_only_in_one_colour() -> None:
    red, crimson, blue = (Image.new("RGB", (9, 9), name) for name in ("red", "#fa0404", "blue"))
    assert alike(red, crimson)
    assert not alike(red, blue)
    assert not alike(Image.new("RGB", (9, 9), "#202020"), Image.new("RGB", (9, 9), "#282828"))


def test_nothing_is_compared_without_complaint() -> None:
    none = np.empty(0, np.int64)
    assert likeness().alike(none, none).tolist() == []


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_the_rough_look_never_rejects_what_the_close_one_accepts(seed: int, noise: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 4, 4, 3), np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    faded = coarse.mean(axis=3, keepdims=True) * 0.2 + coarse * 0.8
    noisy = np.clip(faded + rng.normal(0, noise, coarse.shape), 0, 255).astype(np.uint8)
    both = likeness(*map(Image.fromarray, (*coarse, *noisy)))
    first, second = np.arange(6), np.arange(6, 12)
    closely = both._closely(first, second)
    assert (both._roughly(first, second) | ~closely).all()
