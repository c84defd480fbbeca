"""From a file to the pixels of its bucket: orientation, alpha, filters, and other files."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.pixels import Changed, Filter, Picture, Unreadable, area, decode
from train.variants import Variant


def picture(
    path: Path,
    size: tuple[int, int],
    scaled: tuple[int, int],
    bucket: tuple[int, int],
    filter: Filter = "lanczos",
) -> Picture:
    md5 = hashlib.md5(path.read_bytes()).hexdigest() if path.exists() else "0" * 32
    corner = ((scaled[0] - bucket[0]) // 2, (scaled[1] - bucket[1]) // 2)
    return Picture(path, md5, size, scaled, corner, bucket, filter)


def gradient(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


def test_the_bucket_is_cut_from_the_centre_of_the_scaled_image(tmp_path):
    path = tmp_path / "a.png"
    gradient(300, 190).save(path)
    found = decode(picture(path, (300, 190), (202, 128), (192, 128))).pixels
    whole = gradient(300, 190).resize((202, 128), Image.Resampling.LANCZOS)
    assert (found == np.asarray(whole.crop((5, 0, 197, 128)))).all()


def test_an_image_of_its_buckets_size_is_not_touched(tmp_path):
    path = tmp_path / "a.png"
    gradient(128, 64).save(path)
    found = decode(picture(path, (128, 64), (128, 64), (128, 64))).pixels
    assert (found == np.asarray(gradient(128, 64))).all()


def test_exif_orientation_is_applied_before_scaling(tmp_path):
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    gradient(128, 64).save(path, exif=exif, quality=95)
    found = decode(picture(path, (64, 128), (64, 128), (64, 128))).pixels
    upright = np.asarray(gradient(128, 64).transpose(Image.Transpose.ROTATE_270))
    assert np.abs(found.astype(int) - upright).mean() < 2


def test_alpha_is_laid_over_white(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(path)
    assert (decode(picture(path, (64, 64), (64, 64), (64, 64))).pixels == 255).all()


def cut_out(path: Path, size: tuple[int, int], exif: Image.Exif | None = None) -> None:
    """A picture whose left half is transparent and the rest opaque."""
    image = gradient(*size).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    image.save(path, exif=exif or Image.Exif())


def test_the_mask_is_scaled_cropped_and_mirrored_as_the_picture_is(tmp_path):
    path = tmp_path / "a.png"
    cut_out(path, (160, 128))
    plain = picture(path, (160, 128), (80, 64), (64, 64))
    mask = decode(plain).mask
    assert mask.shape == (8, 8)
    assert mask.dtype == np.uint8
    assert (mask[:, :3] == 0).all()
    assert (mask[:, 5:] == 255).all()
    mirrored = decode(replace(plain, variant=Variant(True, 1))).mask
    assert (mirrored == mask[:, ::-1]).all()


def test_a_latent_pixels_mask_is_the_mean_of_what_it_covers(tmp_path):
    path = tmp_path / "a.png"
    alpha = np.random.default_rng(0).integers(0, 256, (16, 24), dtype=np.uint8)
    image = gradient(24, 16).convert("RGBA")
    image.putalpha(Image.fromarray(alpha))
    image.save(path)
    found = decode(picture(path, (24, 16), (24, 16), (24, 16))).mask
    means = alpha.reshape(2, 8, 3, 8).mean(axis=(1, 3))
    assert np.abs(found - means).max() <= 0.5


def test_exif_orientation_turns_the_mask_too(tmp_path):
    path, exif = tmp_path / "a.png", Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: what was left is above
    cut_out(path, (128, 64), exif)
    mask = decode(picture(path, (64, 128), (64, 128), (64, 128))).mask
    assert (mask[:8] == 0).all()
    assert (mask[8:] == 255).all()


@pytest.mark.parametrize("mode", ["LA", "P", "RGB", "I;16"])
def test_every_kind_of_transparency_is_a_mask(tmp_path, mode):
    path, levels = tmp_path / "a.png", np.full((64, 64), 200, np.uint16)
    levels[:, :32] = 7
    if mode == "LA":
        grey = Image.fromarray(levels.astype(np.uint8))
        Image.merge("LA", [grey, grey.point(lambda level: 0 if level == 7 else 255)]).save(path)
    elif mode == "I;16":
        Image.fromarray(levels).save(path, transparency=7)
    else:
        grey = Image.fromarray(levels.astype(np.uint8))
        hidden = {"P": 7, "RGB": (7, 7, 7)}[mode]
        grey.convert(mode).save(path, transparency=hidden)
    mask = decode(picture(path, (64, 64), (64, 64), (64, 64))).mask
    assert mask is not None
    assert (mask == np.repeat([[0, 255]], 4, axis=1)).all()


def test_an_opaque_picture_has_no_mask(tmp_path):
    path = tmp_path / "a.png"
    gradient(64, 64).convert("RGBA").save(path)
    assert decode(picture(path, (64, 64), (64, 64), (64, 64))).mask is None
    gradient(64, 64).save(path)
    assert decode(picture(path, (64, 64), (64, 64), (64, 64))).mask is None


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "I;16", "LA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    grey = gradient(64, 64).convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert("RGB").convert(mode) if mode == "CMYK" else grey.convert(mode)
    image.save(path)
    found = decode(picture(path, (64, 64), (64, 64), (64, 64))).pixels
    assert found.shape == (64, 64, 3)
    if mode != "1":
        expected = np.asarray(grey.convert("RGB")).astype(int)
        assert np.abs(found.astype(int) - expected).mean() < 6


def test_a_much_larger_jpeg_is_decoded_reduced_and_looks_the_same(tmp_path):
    path = tmp_path / "a.jpg"
    gradient(2400, 1600).save(path, quality=95)
    found = decode(picture(path, (2400, 1600), (192, 128), (192, 128))).pixels
    whole = gradient(2400, 1600).resize((192, 128), Image.Resampling.LANCZOS)
    assert np.abs(found.astype(int) - np.asarray(whole)).mean() < 1


@pytest.mark.parametrize("size", [(2399, 1601), (2401, 1607)])
def test_a_reduced_jpeg_of_odd_size_is_not_taken_for_another_image(tmp_path, size):
    path = tmp_path / "a.jpg"
    gradient(*size).save(path)
    assert decode(picture(path, size, (192, 128), (192, 128))).pixels.shape == (128, 192, 3)


def test_area_averages_exactly_what_a_pixel_covers():
    values = np.array([[0, 90, 240]], dtype=np.uint8)
    pixels = np.repeat(values[:, :, None], 3, axis=2)
    shrunk = area(pixels, 2, 1)
    # the middle pixel is shared by halves: (0 + 45) / 1.5 and (45 + 240) / 1.5
    assert shrunk[0, :, 0].tolist() == [30, 190]


def test_area_by_a_whole_factor_is_the_mean_of_blocks():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 3), dtype=np.uint8)
    means = pixels.reshape(3, 4, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(area(pixels, 4, 3) - means).max() <= 0.5 + 1e-4


def test_area_is_used_when_the_picture_says_so(tmp_path):
    path = tmp_path / "a.png"
    noise = np.random.default_rng(1).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    found = decode(picture(path, (128, 128), (64, 64), (64, 64), "area")).pixels
    assert (found == area(noise, 64, 64)).all()
    assert (found != decode(picture(path, (128, 128), (64, 64), (64, 64))).pixels).any()


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(Changed, match=r"^missing$"):
        decode(picture(tmp_path / "a.png", (64, 64), (64, 64), (64, 64)))


def test_other_bytes_under_the_name_are_not_taken(tmp_path):
    path = tmp_path / "a.png"
    gradient(64, 64).save(path)
    promised = picture(path, (64, 64), (64, 64), (64, 64))
    gradient(64, 65).save(path)
    with pytest.raises(Changed, match=r"^changed since the manifest was made$"):
        decode(promised)


def test_a_size_that_the_manifest_has_wrong_is_not_squeezed_into_the_bucket(tmp_path):
    path = tmp_path / "a.png"
    gradient(128, 64).save(path)
    with pytest.raises(Changed) as caught:
        decode(picture(path, (64, 128), (64, 128), (64, 128)))
    assert str(caught.value) == "another size than the manifest says: 128x64, not 64x128"


def test_a_truncated_file_is_unreadable(tmp_path):
    path = tmp_path / "a.jpg"
    gradient(256, 256).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(Unreadable) as caught:
        decode(picture(path, (256, 256), (64, 64), (64, 64)))
    assert caught.value.reason == "truncated"
