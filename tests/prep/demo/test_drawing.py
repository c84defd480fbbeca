"""Drawings: every attribute changes the picture, any frame works, the same picture each time."""

import hashlib
import random
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from prep.demo.drawing import draw
from prep.demo.portrait import ARTISTS, Portrait, sample
from prep.demo.vocabulary import SLOTS

PLAIN = Portrait(
    hair_color="pink_hair",
    hair_length="medium_hair",
    eye_color="blue_eyes",
    expression="smile",
    clothes="green_shirt",
    background="grey_background",
    framing="upper_body",
    artist="mizutama_hako",
    seed=4,
)
WORN = ("headwear", "hair_ornament", "eyewear")


def with_value(slot: str, value: str) -> Portrait:
    """PLAIN with one slot changed."""
    if slot in WORN:
        return replace(PLAIN, ornaments=(value,) if value else ())
    if slot == "effects":
        return replace(PLAIN, effects=(value,))
    if slot == "heterochromia":
        return replace(PLAIN, eye_color2="yellow_eyes" if value else "")
    return replace(PLAIN, **{slot: value})


def changed_pixels(one: Image.Image, other: Image.Image) -> int:
    """Pixels where a channel differs by more than 24 of 255."""
    a, b = (np.asarray(image, dtype=np.int16) for image in (one, other))
    return int((np.abs(a - b).max(axis=2) > 24).sum())


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("artist", ["mizutama_hako", "suna_gami"])
def test_any_two_values_of_a_slot_look_different(slot: str, artist: str):
    drawn = {
        value: draw(replace(with_value(slot, value), artist=artist), 128, 128)
        for value in SLOTS[slot]
    }
    if slot == "effects":
        drawn[""] = draw(replace(PLAIN, artist=artist), 128, 128)
    for one, other in combinations(drawn, 2):
        assert changed_pixels(drawn[one], drawn[other]) >= 25, (one, other)


def test_artists_look_different():
    drawn = [draw(replace(PLAIN, artist=artist), 128, 128) for artist in ARTISTS]
    for one, other in combinations(drawn, 2):
        assert changed_pixels(one, other) > 600


def test_a_seed_moves_things_a_little_and_only_a_little():
    one, other = draw(PLAIN, 128, 128), draw(replace(PLAIN, seed=5), 128, 128)
    assert 0 < changed_pixels(one, other) < 128 * 128 // 2


@pytest.mark.parametrize(
    "size", [(64, 192), (192, 64), (100, 300), (333, 111), (512, 512), (37, 53)]
)
def test_any_frame_is_filled_by_every_kind_of_portrait(size: tuple[int, int]):
    rng = random.Random(8)
    for _ in range(12):
        image = draw(sample(rng), *size)
        assert image.mode == "RGB"
        assert image.size == size
        assert np.asarray(image).std() > 10


@pytest.mark.parametrize("background", SLOTS["background"])
@pytest.mark.parametrize("size", [(48, 144), (144, 48)])
def test_backgrounds_fill_extreme_frames(background: str, size: tuple[int, int]):
    assert draw(replace(PLAIN, background=background), *size).size == size


def test_the_same_portrait_is_the_same_picture():
    portrait = sample(random.Random(2))
    assert draw(portrait, 160, 120).tobytes() == draw(portrait, 160, 120).tobytes()


def test_another_process_draws_the_same_picture():
    code = (
        "import hashlib, random\n"
        "from prep.demo.drawing import draw\n"
        "from prep.demo.portrait import sample\n"
        "rng = random.Random(6)\n"
        "pixels = b''.join(draw(sample(rng), 96, 128).tobytes() for _ in range(10))\n"
        "print(hashlib.sha256(pixels).hexdigest())\n"
    )
    rng = random.Random(6)
    here = b"".join(draw(sample(rng), 96, 128).tobytes() for _ in range(10))
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert hashlib.sha256(here).hexdigest() == there
