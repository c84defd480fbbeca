"""Preprocessing against a reference in numpy that shares no code with it; files of all kinds."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from taggers.images import Unreadable, preprocess, read

SIZE = 64
ROUNDING = 1.01  # levels: bicubic in integers here, in floats there, after one rounding of alpha
REDUCED = 1.5  # levels, mean over a small picture: a JPEG decoded at a fraction of its size

EDGE = 48  # levels, anywhere: the white bar may then begin a sixth of a pixel beside its place


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Smooth, coloured, without symmetry: float [height, width, 3], 0..255."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    channels = []
    for _ in range(3):
        a, b, c, d = rng.uniform(2, 9, 4)
        channels.append(np.sin(a * x + b * y * y) * np.cos(c * y + d * x * x))
    return 127.5 + 100 * np.stack(channels, -1)


def reference(
    rgb: np.ndarray,
    size: int,
    alpha: np.ndarray | None = None,
    pad: float = 255,
    swap: bool = False,
) -> np.ndarray:
    """Over white, padded to a square with `pad`, bicubic (a = -0.5, support scaled when shrinking).

    R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
    """
    values = np.asarray(rgb, np.float64)
    if alpha is not None:
        weight = np.asarray(alpha, np.float64)[..., None] / 255
        values = values * weight + 255 * (1 - weight)
    height, width = values.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), float(pad))
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = np.rint(values)
    kernel = cubic_weights(side, size)
    # Pillow works along rows first and rounds in between.
    once = np.clip(np.rint(np.einsum("os,hsc->hoc", kernel, square)), 0, 255)
    twice = np.clip(np.rint(np.einsum("os,swc->owc", kernel, once)), 0, 255)
    return twice[..., ::-1] if swap else twice


def cubic_weights(source: int, target: int) -> np.ndarray:
    scale = source / target
    stretch = max(scale, 1.0)
    centre = (np.arange(target) + 0.5) * scale
    distance = np.abs((np.arange(source) + 0.5)[None] - centre[:, None]) / stretch
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    return weights / weights.sum(1, keepdims=True)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.float64) - second).max())


def as_bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(("width", "height"), [(200, 120), (90, 201), (64, 64), (40, 30), (9, 300)])
def test_any_aspect_is_padded_with_white_and_resized_bicubically(
    tmp_path: Path, width: int, height: int
) -> None:
    rgb = as_bytes(picture(width, height))
    path = saved(Image.fromarray(rgb), tmp_path / "a.png")
    got = preprocess(read(path, SIZE), SIZE)
    assert got.shape == (SIZE, SIZE, 3)
    assert got.dtype == np.uint8
    assert difference(got, reference(rgb, SIZE)) <= ROUNDING


def test_the_wrong_variants_differ_by_more_than_the_tolerance() -> None:
    rgb = as_bytes(picture(200, 120))
    got = preprocess(Image.fromarray(rgb), SIZE)
    assert difference(got, reference(rgb, SIZE, swap=True)) > 50 * ROUNDING
    assert difference(got, reference(rgb, SIZE, pad=0)) > 200 * ROUNDING
    edge_padded = np.pad(rgb, [(40, 40), (0, 0), (0, 0)], mode="edge")
    assert difference(got, reference(edge_padded, SIZE)) > 50 * ROUNDING
    stretched = np.asarray(Image.fromarray(rgb).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    assert difference(got, stretched) > 50 * ROUNDING


@pytest.mark.parametrize("resampling", ["NEAREST", "BILINEAR", "BOX", "LANCZOS"])
def test_another_resampling_differs_by_more_than_the_tolerance(resampling: str) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (150, 150, 3), np.uint8)
    got = preprocess(Image.fromarray(rgb), SIZE)
    other = Image.fromarray(rgb).resize((SIZE, SIZE), Image.Resampling[resampling])
    assert difference(got, reference(rgb, SIZE)) <= ROUNDING
    assert difference(np.asarray(other), reference(rgb, SIZE)) > 5 * ROUNDING


def test_alpha_lies_over_white_not_black(tmp_path: Path) -> None:
    rgb = as_bytes(picture(120, 80))
    alpha = as_bytes(picture(120, 80, seed=1)[..., 0])
    rgba = np.dstack([rgb, alpha])
    path = saved(Image.fromarray(rgba), tmp_path / "a.png")
    got = preprocess(read(path, SIZE), SIZE)
    assert difference(got, reference(rgb, SIZE, alpha)) <= 2 * ROUNDING
    dropped_alpha = reference(rgb, SIZE)
    black = reference(rgb * (alpha[..., None] / 255), SIZE)
    assert difference(got, dropped_alpha) > 50 * ROUNDING
    assert difference(got, black) > 50 * ROUNDING


def test_grey_with_alpha_lies_over_white(tmp_path: Path) -> None:
    grey, alpha = (as_bytes(picture(70, 70, seed)[..., 0]) for seed in (0, 1))
    path = saved(Image.fromarray(np.dstack([grey, alpha])), tmp_path / "a.png")
    got = preprocess(read(path, SIZE), SIZE)
    assert difference(got, reference(np.dstack([grey] * 3), SIZE, alpha)) <= 2 * ROUNDING


def test_transparent_palette_entries_become_white(tmp_path: Path) -> None:
    index = np.arange(60 * 80, dtype=np.uint8).reshape(60, 80) % 4
    colours = np.array([[200, 30, 40], [10, 10, 10], [20, 200, 90], [0, 60, 250]], np.uint8)
    palette = Image.fromarray(index)
    palette.putpalette(colours.tobytes())
    opaque = saved(palette, tmp_path / "opaque.png")
    one_hidden = saved(palette, tmp_path / "one.gif", transparency=1)
    graded = saved(palette, tmp_path / "graded.png", transparency=bytes([255, 0, 128, 255]))
    for path, alphas in [
        (opaque, [255, 255, 255, 255]),
        (one_hidden, [255, 0, 255, 255]),
        (graded, [255, 0, 128, 255]),
    ]:
        wanted = reference(colours[index], SIZE, np.array(alphas)[index])
        assert difference(preprocess(read(path, SIZE), SIZE), wanted) <= 2 * ROUNDING


def test_16_bit_grey_keeps_its_levels(tmp_path: Path) -> None:
    levels = (picture(90, 60)[..., 0] * 257).astype(np.uint16)
    path = saved(Image.fromarray(levels), tmp_path / "a.png")
    got = preprocess(read(path, SIZE), SIZE)
    assert difference(got, reference(np.dstack([levels >> 8] * 3), SIZE)) <= ROUNDING
    clipped = reference(np.dstack([np.minimum(levels, 255)] * 3), SIZE)
    assert difference(got, clipped) > 100


def test_16_bit_grey_with_a_transparent_level_shows_white_there(tmp_path: Path) -> None:
    levels = np.full((10, 10), 20000, np.uint16)
    levels[:5] = 40000
    path = saved(Image.fromarray(levels), tmp_path / "a.png", transparency=20000)
    got = preprocess(read(path), 10)
    assert got[0, 0].tolist() == [156] * 3
    assert got[9, 9].tolist() == [255] * 3


def test_one_bit_and_grey_pictures_become_rgb(tmp_path: Path) -> None:
    bits = np.indices((64, 64)).sum(0) % 2 == 0
    got = preprocess(read(saved(Image.fromarray(bits), tmp_path / "a.png")), SIZE)
    assert (got == np.where(bits, 255, 0)[..., None]).all()
    grey = as_bytes(picture(64, 64)[..., 0])
    got = preprocess(read(saved(Image.fromarray(grey), tmp_path / "b.png")), SIZE)
    assert (got == grey[..., None]).all()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    inks = as_bytes(np.dstack([picture(90, 60), picture(90, 60, seed=4)[..., 0] / 2]))
    path = saved(Image.fromarray(inks, "CMYK"), tmp_path / "a.tif")
    rgb = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    got = preprocess(read(path, SIZE), SIZE)
    assert difference(got, reference(rgb, SIZE)) <= 2 * ROUNDING


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    inks = np.zeros((64, 64, 4), np.uint8)
    inks[..., 1:3] = 255
    path = saved(Image.fromarray(inks, "CMYK"), tmp_path / "a.jpg", quality=95)
    red = preprocess(read(path, SIZE), SIZE)[32, 32]
    assert red[0] > 240
    assert max(red[1:]) < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_brings_the_picture_upright(tmp_path: Path, orientation: int) -> None:
    upright = as_bytes(picture(60, 90))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(np.ascontiguousarray(stored)), tmp_path / "a.png", exif=exif)
    got = preprocess(read(path, SIZE), SIZE)
    assert difference(got, reference(upright, SIZE)) <= ROUNDING
    if orientation > 1:
        assert difference(got, reference(np.ascontiguousarray(stored), SIZE)) > 50


def test_broken_exif_leaves_the_picture_as_it_is(tmp_path: Path) -> None:
    rgb = as_bytes(picture(64, 64))
    path = saved(Image.fromarray(rgb), tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff")
    assert difference(preprocess(read(path), SIZE), reference(rgb, SIZE)) <= ROUNDING


@pytest.mark.parametrize(("width", "height"), [(1600, 1200), (777, 2001), (3000, 400)])
def test_a_large_jpeg_decoded_reduced_stays_close_to_the_whole_one(
    tmp_path: Path, width: int, height: int
) -> None:
    drawn = picture(width, height)
    drawn[height // 3 : height // 2, width // 4 : width // 2] = (255, 20, 60)  # a hard edge
    path = saved(Image.fromarray(as_bytes(drawn)), tmp_path / "a.jpg", quality=90)
    whole = preprocess(read(path), SIZE)
    reduced_image = read(path, SIZE)
    reduced = preprocess(reduced_image, SIZE)
    assert max(reduced_image.size) < max(width, height) / 1.9
    assert max(reduced_image.size) >= 3 * SIZE
    assert np.abs(reduced.astype(float) - whole).mean() <= REDUCED
    assert np.abs(reduced.astype(float) - whole).max() <= EDGE
    swapped = whole[..., ::-1].astype(float)
    assert np.abs(reduced - swapped).mean() > 1.5 * REDUCED


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert preprocess(read(path), SIZE)[0, 0].tolist() == [255, 0, 0]


GREYS = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B")
COLOURS = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


@pytest.mark.parametrize("mode", GREYS + COLOURS)
def test_every_mode_of_pillow_becomes_rgb(mode: str) -> None:
    assert preprocess(Image.new(mode, (9, 5)), 8).shape == (8, 8, 3)


def test_a_cut_off_file_is_truncated(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    for suffix in ("png", "jpg", "webp", "gif"):
        whole = io.BytesIO()
        Image.fromarray(noise).save(whole, {"jpg": "jpeg"}.get(suffix, suffix))
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        with pytest.raises(Unreadable) as caught:
            read(path)
        assert caught.value.reason in ("truncated", "broken")
        assert str(caught.value).startswith(f"{path}: {caught.value.reason} (")


def test_what_is_no_image_says_so(tmp_path: Path) -> None:
    page = tmp_path / "a.png"
    page.write_text("<html>404</html>")
    with pytest.raises(Unreadable) as caught:
        read(page)
    assert caught.value.reason == "not an image"
    assert str(caught.value) == f"{page}: not an image (cannot identify image file {str(page)!r})"
    absent = tmp_path / "absent.png"
    with pytest.raises(Unreadable) as caught:
        read(absent)
    assert caught.value.reason == "missing"
    assert (
        str(caught.value) == f"{absent}: missing ([Errno 2] No such file or directory: "
        f"{str(absent)!r})"
    )


def test_a_decompression_bomb_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.new("1", (500, 500)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    with pytest.raises(Unreadable) as caught:
        read(path)
    assert caught.value.reason == "too large"


def test_a_picture_of_a_hundred_megapixels_is_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(Image.new("1", (500, 500)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        assert read(path).size == (500, 500)
    assert heard == []


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=400), cut=st.integers(0, 600), at=st.integers(0, 600))
def test_damaged_bytes_are_read_or_unreadable_never_another_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int, at: int
) -> None:
    whole = io.BytesIO()
    Image.fromarray(as_bytes(picture(20, 20))).save(whole, "png")
    damaged = whole.getvalue()[:at] + data + whole.getvalue()[at + cut :]
    path = tmp_path_factory.mktemp("damaged") / "a.png"
    path.write_bytes(damaged)
    with contextlib.suppress(Unreadable):
        assert preprocess(read(path, SIZE), SIZE).shape == (SIZE, SIZE, 3)
