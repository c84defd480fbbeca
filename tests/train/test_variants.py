"""Mirrored and recolored pictures: what is made of the pixels, and what is told of tags."""

import hashlib

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from schemas.recipes.train import LatentsSection
from schemas.tables import MANIFEST
from train.variants import Variant, belied, made, variants_of

PIXELS = np.random.default_rng(0).integers(40, 216, (24, 16, 3), dtype=np.uint8)
MD5S = [hashlib.md5(bytes([n])).hexdigest() for n in range(40)]


def test_flip_doubles_and_color_triples_and_the_image_itself_is_first() -> None:
    assert variants_of(LatentsSection()) == (Variant(),)
    assert variants_of(LatentsSection(flip=True)) == (Variant(), Variant(mirrored=True))
    every = variants_of(LatentsSection(flip=True, color=True))
    assert len(set(every)) == 6
    assert (
        every[:3]
        == variants_of(LatentsSection(color=True))
        == tuple(Variant(False, color) for color in (0, 1, -1))
    )
    assert len({variant.name for variant in every}) == 6
    assert every[0].name == "as it is"


def test_a_mirrored_picture_has_its_columns_the_other_way_round() -> None:
    assert (made(PIXELS, Variant(mirrored=True), MD5S[0]) == PIXELS[:, ::-1]).all()
    recolored = made(PIXELS, Variant(color=1), MD5S[0])
    assert (made(PIXELS, Variant(True, 1), MD5S[0]) == recolored[:, ::-1]).all()


def test_colors_are_shifted_a_little_and_by_each_images_own_amount() -> None:
    moved = [made(PIXELS, Variant(color=1), md5).astype(int) - PIXELS for md5 in MD5S]
    assert len({one.tobytes() for one in moved}) == len(MD5S)
    assert max(np.abs(one).max() for one in moved) <= 45
    assert np.mean([np.abs(one).mean() for one in moved]) > 3


def test_the_second_shift_takes_back_the_first() -> None:
    for md5 in MD5S:
        both = [made(PIXELS, Variant(color=color), md5).astype(float) for color in (1, -1)]
        assert np.abs(np.mean(both, axis=0) - PIXELS).mean() < 2.5


@given(st.integers(0, 255), st.sampled_from(MD5S))
def test_grey_stays_grey_and_black_and_white_stay(level: int, md5: str) -> None:
    grey = np.full((1, 1, 3), level, np.uint8)
    found = made(grey, Variant(color=1), md5)[0, 0].astype(int)
    assert np.ptp(found) <= 1
    assert abs(found[0] - level) <= 10
    if level in (0, 255):
        assert (found == level).all()


def test_tags_that_a_mirrored_picture_belies_are_told() -> None:
    def tagged(*images: str) -> pa.Table:
        parts = {"category": "general", "part": "flex"}
        cells = [[{"tag": tag, **parts} for tag in image.split(", ")] for image in images]
        return pa.table({"tags": pa.array(cells, MANIFEST.schema.field("tags").type)})

    found = tagged(
        "facing left, english text, bright eyes, smile",
        "english_text, texture, leftovers",
        "facing left",
    )
    assert belied(found) == (
        "latents.flip mirrors images whose tags say otherwise: facing left (on 2), english text (on"
        " 1), english_text (on 1); drop these tags from the captions, or set flip = false"
    )
    assert belied(tagged("smile")) == ""
    assert belied(MANIFEST.empty()) == ""
