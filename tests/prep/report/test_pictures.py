"""Pictures in the page: they keep to a budget, and stay exact where it allows."""

import io
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prep.dataset import Dataset
from prep.report.pictures import Images, encoded


@pytest.fixture
def noise(tmp_path: Path) -> list[Path]:
    """Four pictures that no format makes small."""
    paths = [tmp_path / f"{n}.png" for n in range(4)]
    for n, path in enumerate(paths):
        pixels = np.random.default_rng(n).integers(0, 256, (256, 256, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def opened(uri: str) -> Image.Image:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(b64decode(data)))


def test_within_the_budget_pictures_are_exact(noise: list[Path]) -> None:
    for uri, path in zip(encoded(noise, 4_000_000), noise, strict=True):
        assert np.array_equal(np.asarray(opened(uri).convert("RGB")), np.asarray(Image.open(path)))


def test_a_small_budget_makes_them_smaller(noise: list[Path]) -> None:
    uris = encoded(noise, 100_000)
    assert len(uris) == len(noise)
    assert sum(map(len, uris)) <= 100_000


def test_without_pictures_there_is_nothing(noise: list[Path]) -> None:
    assert encoded([], 0) == []


def test_thumbnails_come_by_md5_and_by_post(built: Any) -> None:
    dataset = Dataset.open(built.folder)
    images = Images.of(dataset)
    post, md5 = next((post, md5) for post, md5 in images.post_md5.items() if md5 in images.paths)
    assert images.thumbnail(md5, 40) is not None
    assert images.thumbnail(f"post {post}", 40) is not None
    assert images.thumbnail("post 0", 40) is None
    assert images.thumbnail("post x", 40) is None
    assert images.thumbnail("a folder/file.png", 40) is None
