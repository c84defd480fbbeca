"""Buckets: what every placement must keep, cases worked out by hand, and sd-scripts' rule."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import RecipeError
from schemas.geometry import Placement, buckets, place
from schemas.recipes.load import load_train
from schemas.recipes.train import LatentsSection
from schemas.recipes.write import to_toml

sides = st.integers(1, 6000)
sizes = st.lists(st.tuples(sides, sides), min_size=1, max_size=20)
geometries = st.builds(
    lambda resolution, least, most, step, upscale, rule: LatentsSection(
        resolution=resolution,
        min=min(least, resolution),
        max=max(most, resolution),
        step=step,
        upscale=upscale,
        buckets=rule,
    ),
    resolution=st.integers(128, 1280),
    least=st.integers(8, 128),
    most=st.integers(128, 2048),
    step=st.sampled_from([8, 16, 32, 64]),
    upscale=st.booleans(),
    rule=st.sampled_from(["log", "kohya"]),
)


def section(resolution: int = 512, **keys: object) -> LatentsSection:
    return LatentsSection(resolution=resolution, **keys)  # type: ignore[arg-type]


def placed(shapes: list[tuple[int, int]], latents: LatentsSection) -> Placement:
    width, height = np.array(shapes).T
    return place(width, height, latents)


def columns(placement: Placement) -> np.ndarray:
    return np.stack(
        [
            placement.bucket_width,
            placement.bucket_height,
            placement.scaled_width,
            placement.scaled_height,
            placement.crop_left,
            placement.crop_top,
        ],
        axis=1,
    )


def one(width: int, height: int, latents: LatentsSection) -> tuple[int, ...]:
    return tuple(columns(placed([(width, height)], latents))[0].tolist())


@settings(deadline=None)
@given(sizes, geometries)
def test_the_crop_lies_within_the_scaled_image_which_covers_the_bucket(shapes, latents):
    bw, bh, sw, sh, left, top = columns(placed(shapes, latents)).T
    assert (sw >= bw).all()
    assert (sh >= bh).all()
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + bw <= sw).all()
    assert (top + bh <= sh).all()
    assert (np.abs((sw - bw) - 2 * left) <= 1).all()  # about the centre
    assert (np.abs((sh - bh) - 2 * top) <= 1).all()


@settings(deadline=None)
@given(sizes, geometries)
def test_sides_are_multiples_of_the_step_and_the_area_holds(shapes, latents):
    placement = placed(shapes, latents)
    bucket = columns(placement)[:, :2].astype(np.int64)
    assert (bucket % latents.step == 0).all()
    # sd-scripts rounds the shrunk side up by half a pixel, which the area may show.
    assert (bucket.prod(axis=1) <= latents.resolution**2 + max(bucket.max(), 1)).all()
    if latents.buckets == "log":
        assert (bucket.prod(axis=1) <= latents.resolution**2).all()
        assert bucket.max() <= latents.max


@settings(deadline=None)
@given(sizes, geometries)
def test_what_is_dropped_has_a_reason_and_nothing_else_has(shapes, latents):
    placement = placed(shapes, latents)
    assert set(placement.dropped) == set(np.flatnonzero(placement.bucket_width == 0).tolist())
    for row in range(len(shapes)):
        row_is_small = min(shapes[row]) < latents.step and not latents.upscale
        assert (placement.dropped.get(row) == f"smaller than {latents.step} px") == row_is_small
    if latents.upscale:
        assert not placement.dropped


@settings(deadline=None)
@given(sizes, geometries)
def test_log_treats_portrait_and_landscape_as_mirror_images(shapes, latents):
    latents = latents.model_copy(update={"buckets": "log"})
    upright = columns(placed(shapes, latents))
    turned = columns(placed([(h, w) for w, h in shapes], latents))
    assert (upright == turned[:, [1, 0, 3, 2, 5, 4]]).all()


@settings(deadline=None)
@given(sizes, geometries)
def test_no_upscale_never_enlarges(shapes, latents):
    latents = latents.model_copy(update={"upscale": False})
    placement = placed(shapes, latents)
    if latents.buckets == "log":
        assert (columns(placement)[:, 2:4] <= np.array(shapes)).all()


@settings(deadline=None)
@given(sizes, geometries)
def test_an_image_is_placed_alike_whatever_is_around_it(shapes, latents):
    together = columns(placed(shapes, latents))
    alone = [one(width, height, latents) for width, height in shapes]
    assert together.tolist() == [list(row) for row in alone]


@settings(deadline=None)
@given(st.floats(0.3, 3.3), st.integers(1400, 4000), st.sampled_from([512, 768, 1024]))
def test_log_crops_no_more_than_half_the_gap_between_two_buckets(aspect, height, resolution):
    latents = section(resolution, max=2048)
    shapes = buckets(latents, resolution)
    ratios = np.unique(np.log(shapes[:, 0] / shapes[:, 1]))
    size = (round(height * aspect), height)
    cut = placed([size], latents).cropped()[0]
    at = np.log(size[0] / size[1])
    if not ratios[0] <= at <= ratios[-1] or min(size) < 1024:
        return
    above = np.searchsorted(ratios, at)
    gap = ratios[max(above, 1)] - ratios[max(above, 1) - 1]
    rounding = 0.5 / latents.min
    assert cut <= 1 - np.exp(-gap / 2) + rounding


@settings(deadline=None)
@given(geometries)
def test_buckets_hold_the_longest_other_side_for_every_side(latents):
    shapes = {tuple(shape) for shape in buckets(latents, latents.resolution).tolist()}
    area = latents.resolution**2
    low = -(-latents.min // latents.step) * latents.step
    for width in range(low, latents.max + 1, latents.step):
        height = low
        if width * height > area:
            continue
        while height + latents.step <= latents.max and width * (height + latents.step) <= area:
            height += latents.step
        assert (width, height) in shapes
        assert (height, width) in shapes
    square = int(latents.resolution // latents.step * latents.step)
    assert square < low or (square, square) in shapes
    assert all(w * h <= area and low <= min(w, h) for w, h in shapes)


@pytest.mark.parametrize(
    ("size", "latents", "expected"),
    [
        # square, larger than its bucket
        ((2000, 2000), section(512), (512, 512, 512, 512, 0, 0)),
        # 0.684 has a bucket of its own: nothing is lost
        ((832, 1216), section(1024), (832, 1216, 832, 1216, 0, 0)),
        # 0.75: 448/576 = 0.778 is nearer in log than 384/640; 576 covers, 597.33 rounds down
        ((1500, 2000), section(512), (448, 576, 448, 597, 0, 10)),
        ((2000, 1500), section(512), (576, 448, 597, 448, 10, 0)),
        # beyond the longest bucket: 256 by 1024
        ((1000, 8000), section(512), (256, 1024, 256, 2048, 0, 512)),
        # smaller than its bucket: 1000 floors to 960
        ((1000, 1000), section(1024), (960, 960, 960, 960, 0, 0)),
        ((1000, 1000), section(1024, upscale=True), (1024, 1024, 1024, 1024, 0, 0)),
        # smaller: 192/128 = 1.5 is nearer to 300/190 = 1.579 than 256/128
        ((300, 190), section(512), (192, 128, 202, 128, 5, 0)),
        # smaller in one direction only: within 250 wide, 128 by 1536 keeps the aspect exactly
        ((250, 3000), section(512), (128, 1536, 128, 1536, 0, 0)),
        # as small as can be
        ((64, 64), section(512), (64, 64, 64, 64, 0, 0)),
        ((64, 64), section(512, upscale=True), (512, 512, 512, 512, 0, 0)),
        # bounds that are no multiples of the step are moved inwards: 300 -> 320, 700 -> 640
        ((900, 300), section(512, min=300, max=700, upscale=True), (640, 320, 960, 320, 160, 0)),
    ],
)
def test_log_cases_worked_out_by_hand(size, latents, expected):
    assert one(*size, latents) == expected


@pytest.mark.parametrize(
    ("size", "latents", "expected"),
    [
        # too large, not enlarged: sqrt(512^2 * 0.75) = 443 -> 384, 384 / 0.75 = 512
        ((1500, 2000), section(512, buckets="kohya"), (384, 512, 384, 512, 0, 0)),
        # the height keeps the aspect better: 1024^2 / 1.6 -> 809.5 -> 768, 768 * 1.6 = 1228.8
        ((3200, 2000), section(1024, buckets="kohya"), (1216, 768, 1229, 768, 6, 0)),
        # small enough: its own size, cut to the step
        ((500, 333), section(512, buckets="kohya"), (448, 320, 500, 333, 26, 6)),
        # min and max do not apply without upscaling
        (
            (2000, 100),
            section(512, buckets="kohya", min=256, max=512),
            (1984, 64, 2000, 100, 8, 18),
        ),
        # its exact size is a bucket
        ((832, 1216), section(1024, buckets="kohya", upscale=True), (832, 1216, 832, 1216, 0, 0)),
        # max = 1024 loses it
        (
            (832, 1216),
            section(1024, buckets="kohya", upscale=True, max=1024),
            (704, 1024, 704, 1029, 0, 2),
        ),
        # linear ratio: 1.2 and 1/1.2 are not treated alike (0.833 - 0.778 < 1 - 0.833)
        ((1200, 1000), section(512, buckets="kohya", upscale=True), (576, 448, 576, 480, 0, 16)),
        ((1130, 1000), section(512, buckets="kohya", upscale=True), (512, 512, 579, 512, 33, 0)),
        ((1000, 1130), section(512, buckets="kohya", upscale=True), (448, 576, 510, 576, 31, 0)),
    ],
)
def test_kohya_cases_worked_out_by_hand(size, latents, expected):
    assert one(*size, latents) == expected


def test_the_1024_set_is_the_one_sd_scripts_makes():
    shapes = buckets(section(1024, buckets="kohya", min=512, max=1024), 1024).tolist()
    portraits = [(512, 1024), (576, 1024), (640, 1024), (704, 1024), (768, 1024), (832, 1024)]
    portraits += [(896, 1024), (960, 1024)]
    expected = {*portraits, *((h, w) for w, h in portraits), (1024, 1024)}
    assert {tuple(shape) for shape in shapes} == expected


def test_images_too_small_or_too_narrow_are_dropped_with_the_reason():
    shapes = [(63, 500), (500, 63), (64, 64), (10_000, 70)]
    assert placed(shapes, section(512)).dropped == {
        0: "smaller than 64 px",
        1: "smaller than 64 px",
    }
    assert placed(shapes, section(512, buckets="kohya")).dropped == {
        0: "smaller than 64 px",
        1: "smaller than 64 px",
        3: "a side shrinks below 64 px",
    }


def test_a_recipe_without_any_bucket_says_which_keys_forbid_it():
    with pytest.raises(RecipeError) as caught:
        place(np.array([600]), np.array([600]), section(500, min=490, max=600))
    assert str(caught.value) == (
        "[latents] leaves no bucket: no two multiples of step 64 between min 490 and max 600"
        " stay within resolution 500 squared; lower min or step"
    )


def test_no_images_are_placed_nowhere():
    nothing = np.zeros(0, dtype=np.int32)
    assert columns(place(nothing, nothing, section())).shape == (0, 6)


def test_columns_are_int32():
    assert columns(placed([(700, 600)], section())).dtype == np.int32


def several(resolutions: tuple[int, ...], latents: LatentsSection) -> LatentsSection:
    return latents.model_copy(update={"resolution": resolutions})


@settings(deadline=None)
@given(sizes, geometries, st.sets(st.integers(128, 1280), min_size=1, max_size=3))
def test_of_several_resolutions_every_place_is_one_that_a_single_one_gives(shapes, latents, sides):
    """And an image has each of these where it is not enlarged, once, the least come what may."""
    latents = latents.model_copy(update={"min": min(latents.min, min(sides)), "max": 2048})
    found = placed(shapes, several(tuple(sides), latents))
    expected: list[list[tuple[int, ...]]] = [[] for _ in shapes]
    for side in sorted(sides):
        for image, row in enumerate(columns(placed(shapes, several((side,), latents))).tolist()):
            fits = row[0] > 0 and tuple(row) not in expected[image]
            enlarged = row[2] > shapes[image][0] or row[3] > shapes[image][1]
            if fits and not (enlarged and expected[image]):
                expected[image].append(tuple(row))
    rows = columns(found)
    assert found.image[: len(shapes)].tolist() == list(range(len(shapes)))
    for image, places in enumerate(expected):
        mine = [tuple(row) for row in rows[found.image == image].tolist()]
        assert mine == (places or [(0, 0, 0, 0, 0, 0)])
        assert (image in found.dropped) == (not places)


def test_an_image_is_trained_at_each_resolution_that_it_is_large_enough_for():
    latents = LatentsSection(resolution=(1024, 512, 768, 512), max=2048)
    assert latents.resolutions == (512, 768, 1024)
    found = placed([(2000, 2000), (700, 700), (300, 300)], latents)
    shapes = zip(found.image.tolist(), found.bucket_width.tolist(), strict=True)
    # 700 px fill no bucket of 768 squared: the one within them is the same for 768 and 1024
    assert list(shapes) == [(0, 512), (1, 512), (2, 256), (0, 768), (1, 640), (0, 1024)]
    enlarging = latents.model_copy(update={"upscale": True})
    found = placed([(2000, 2000), (700, 700), (300, 300)], enlarging)
    shapes = zip(found.image.tolist(), found.bucket_width.tolist(), strict=True)
    assert list(shapes) == [(0, 512), (1, 512), (2, 512), (0, 768), (0, 1024)]


def test_each_of_several_resolutions_stands_between_min_and_max():
    with pytest.raises(ValueError, match="min 256, resolution 128 and max 2048 must stand in this"):
        LatentsSection(resolution=(512, 128))


def test_a_list_of_resolutions_is_read_from_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('model.path = "x"\nlatents.resolution = [768, 512]\n', encoding="utf-8")
    assert load_train(file).latents.resolution == (768, 512)
    assert load_train(file, ["latents.resolution=[640]"]).latents.resolutions == (640,)
    again = to_toml(load_train(file))
    assert "\nresolution = [768, 512]" in again
    file.write_text(again, encoding="utf-8")
    assert load_train(file).latents.resolutions == (512, 768)


@pytest.mark.parametrize("given", [[], [512, 3], [512, "x"], [True, 512], [512.5]])
def test_what_is_no_list_of_sizes_is_refused_as_such(given: list[object], tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    written = json.dumps(given)
    file.write_text(f'model.path = "x"\n[latents]\nresolution = {written}\n', encoding="utf-8")
    message = f"{file} line 3: latents.resolution: {given} is no list of pixels, such as [512, 768]"
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        load_train(file)
