"""The perceptual hash of each image, and a small picture to compare where hashes are near."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
import pyarrow as pa

from prep.cache import fill
from prep.dataset import Dataset
from prep.likeness import small
from schemas.tables import HASHES
from taggers.images import Unreadable, read, upright_rgb

AT_ONCE = 256  # images whose hashes are kept together
HASHED_SIZE = 48  # pixels; a JPEG may be decoded down to three times this before it is hashed


def hash_missing(dataset: Dataset) -> None:
    """Hash the images that are there and have no hash yet; each is opened once."""
    images = dataset.images.read()
    images = images.filter(images["problem"].is_null())
    md5s, paths = images["md5"].to_pylist(), images["path"].to_pylist()
    there = {
        md5: path
        for md5, name in zip(md5s, paths, strict=True)
        if (path := dataset.root / name).is_file()
    }

    def work(md5s: Sequence[str]) -> Iterator[pa.Table]:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(md5s), AT_ONCE):
                part = md5s[start : start + AT_ONCE]
                rows = list(pool.map(lambda md5: hash_one(md5, there[md5]), part))
                yield pa.Table.from_pylist(rows, schema=HASHES.schema)

    fill(dataset.hashes, list(there), work, "dedup: hashing")


def hash_one(md5: str, path: Path) -> dict[str, object]:
    """Hash the picture upright over white; or say why there is no hash."""
    try:
        picture = upright_rgb(read(path, HASHED_SIZE))
    except Unreadable as error:
        return {"md5": md5, "phash": None, "small": None, "problem": error.reason}
    bits = np.packbits(imagehash.phash(picture).hash)  # row by row, the first bit the highest
    phash = int.from_bytes(bits.tobytes(), "big")
    return {"md5": md5, "phash": phash, "small": small(picture), "problem": None}
