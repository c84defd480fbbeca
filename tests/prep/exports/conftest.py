"""A dataset made of its last table alone: images that are there, and captions as tags."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from prep.dataset import Dataset
from prep.headers import read_header
from schemas.files import md5_of
from schemas.tables import IMAGES, MANIFEST

Tags = Sequence[tuple[str, str, str]]  # text, category, part
Make = Callable[..., Dataset]


def write_dataset(root: Path, *rows: dict[str, Any]) -> Dataset:
    (root / "tables").mkdir(parents=True)
    roles: dict[str, str] = {"main": "train"}
    found, images = [], {}
    for number, row in enumerate(rows):
        shade = row.pop("shade", number)
        aside = root / "aside.png"
        Image.new("RGB", (9, 7), (shade % 256, shade // 256, 9)).save(aside)
        md5 = md5_of(aside)
        path = root / f"images/{md5[:2]}/{md5}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.replace(path)
        images[md5] = read_header(path).row(md5, path, root)
        facts = {
            "md5": md5, "path": images[md5]["path"], "width": 9, "height": 7, "set": "main",
            "split": "train", "group": md5, "is_reg": False, "repeats": 1, "weight": 1.0,
            "rating": None, "score": None, **row,
        }  # fmt: skip
        facts["caption"] = ", ".join(text for text, _, _ in row["tags"])
        names = ("tag", "category", "part")
        facts["tags"] = [dict(zip(names, tag, strict=True)) for tag in row["tags"]]
        roles[facts["set"]] = "reg" if facts["is_reg"] else "train"
        found.append(facts)
    sets = "\n".join(
        f'{name} = {{ query = "{name}", role = "{role}" }}' for name, role in roles.items()
    )
    (root / "prep.toml").write_text(f"[sets]\n{sets}\n", encoding="utf-8")
    dataset = Dataset.open(root)
    dataset.images.append(pa.Table.from_pylist(list(images.values()), schema=IMAGES.schema))
    MANIFEST.write(dataset.manifest, pa.Table.from_pylist(found, schema=MANIFEST.schema))
    return dataset


@pytest.fixture(scope="session")
def dataset_of() -> Make:
    """`dataset_of(root, *rows)`: a dataset of rows; each has `tags`, and what is of its own."""
    return write_dataset
