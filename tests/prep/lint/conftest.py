"""What the tests of lint share: datasets whose tables are written by hand, and captioned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from prep.caption import caption
from prep.dataset import Dataset
from prep.likeness import small
from prep.lint.evidence import Evidence
from prep.lint.finding import Finding
from prep.lint.lint import lint
from prep.lint.words import Words, words_alone
from prep.tag import index_path, labels_path
from schemas.files import write_json, write_text
from schemas.tables import GROUPS, HASHES, IMAGES, MEMBERS, POSTS, PROBABILITIES

POST = {
    "pixel_hash": None, "file_ext": "png", "file_size": 1, "width": 1, "height": 1, "rating": "g",
    "score": 0, "fav_count": 0, "created_at": 0, "updated_at": 0, "parent_id": None,
    "is_deleted": False, "is_banned": False, "source": "", "file_url": None,
}  # fmt: skip
SETS = '[sets]\nmain = { query = "hat" }  # mine\nplain = { query = "1girl", role = "reg" }\n'
WORDS = Words(words_alone, "no model", exact=False)


UNEVEN = small(Image.linear_gradient("L").convert("RGB"))


@dataclass(frozen=True)
class Picture:
    """An image with what its post and the tagger say."""

    general: str
    set: str = "main"
    copyright: str = ""
    meta: str = ""
    tagger: str = ""
    small: bytes = UNEVEN


@dataclass(frozen=True)
class Found:
    """The findings of a dataset, by name."""

    dataset: Dataset
    evidence: Evidence
    findings: Sequence[Finding] = field(default_factory=tuple)

    def of(self, name: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.name == name]

    def one(self, name: str) -> Finding:
        (finding,) = self.of(name)
        return finding


Linted = Callable[..., Found]


def md5_of(place: int) -> str:
    return f"{place:032x}"


@pytest.fixture
def picture() -> type[Picture]:
    return Picture


@pytest.fixture
def dataset_of(tmp_path: Path) -> Callable[..., Path]:
    """`dataset_of(recipe, *pictures)`: the folder, captioned; `recipe` is what follows [sets]."""

    def made(recipe: str, *pictures: Picture) -> Path:
        write_text(tmp_path / "prep.toml", f'{SETS}\n[tag]\ntaggers = ["wd"]\n{recipe}')
        dataset = Dataset.open(tmp_path)
        posts, hashes, images = [], [], []
        for place, one in enumerate(pictures):
            kinds = {kind: getattr(one, kind).split() for kind in ("general", "copyright", "meta")}
            md5 = md5_of(place)
            posts.append(
                {**POST, "id": place + 1, "md5": md5, **kinds, "artist": [], "character": []}
            )
            hashes.append({"md5": md5, "phash": place, "small": one.small, "problem": None})
            path = dataset.image_path(md5, "png")
            images.append(
                {"md5": md5, "path": path, "bytes": 1, "width": 1, "height": 1, "problem": None}
            )
        dataset.posts.append(pa.Table.from_pylist(posts, schema=POSTS.schema))
        dataset.hashes.append(pa.Table.from_pylist(hashes, schema=HASHES.schema))
        dataset.images.append(pa.Table.from_pylist(images, schema=IMAGES.schema))
        keys = [{"set": one.set, "md5": md5_of(n)} for n, one in enumerate(pictures)]
        members = [{**key, "post_id": n + 1} for n, key in enumerate(keys)]
        itself = {"by": "itself", "distance": 0, "family": None}
        groups = [{**key, "keeper": key["md5"], **itself} for key in keys]
        for table, rows in ((MEMBERS, members), (GROUPS, groups)):
            table.write(dataset.path_of(table), pa.Table.from_pylist(rows, schema=table.schema))
        _tagged(dataset, pictures)
        caption(dataset)
        return tmp_path

    return made


@pytest.fixture
def linted(dataset_of: Callable[..., Path]) -> Linted:
    """`linted(recipe, *pictures)`: what lint finds, words compared; `limit` tokens are read."""

    def found(recipe: str, *pictures: Picture, limit: int = 225) -> Found:
        dataset = Dataset.open(dataset_of(recipe, *pictures))
        return Found(dataset, *lint(dataset, WORDS, limit))

    return found


def _tagged(dataset: Dataset, pictures: Sequence[Picture]) -> None:
    names = sorted({tag for one in pictures for tag in one.tagger.split()} | {"unseen"})
    lines = [f"{n},{name},0,9" for n, name in enumerate(names)]
    write_json(index_path(dataset), {"wd": "0123"})
    write_text(labels_path(dataset, "0123"), "\n".join(["tag_id,name,category,count", *lines]))
    rows: list[Mapping[str, object]] = []
    for place, one in enumerate(pictures):
        labels = sorted(names.index(tag) for tag in one.tagger.split())
        values = np.full(len(labels), 0.9, np.float32)
        rows.append({"md5": md5_of(place), "labels": labels, "values": values, "problem": None})
    dataset.probabilities("0123").append(pa.Table.from_pylist(rows, schema=PROBABILITIES.schema))
