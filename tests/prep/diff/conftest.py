"""What the tests of `--diff` share: small datasets written by hand, and all files of a folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prep import seals
from prep.caption import caption
from prep.dataset import Dataset
from prep.lock import locked
from prep.probabilities import index_path, labels_path
from schemas.files import write_json, write_text
from schemas.tables import GROUPS, MEMBERS, POSTS, PROBABILITIES, SITE_TAGS

LABELS = ("hat", "witch_hat", "long_hair", "smile", "tree", "azusa_(x)")
RECIPE = """
[sets]
main = { query = "hat" }
plain = { query = "1girl", role = "reg" }
[tag]
taggers = ["wd"]
"""
IMPLIED = {"witch_hat": "hat", "straw_hat": "hat", "very_long_hair": "long_hair"}
ALIASES = {"topper": "top_hat"}
POST = {
    "md5": None, "pixel_hash": None, "file_ext": "png", "file_size": 1, "width": 1, "height": 1,
    "rating": "g", "fav_count": 0, "created_at": 0, "updated_at": 0, "parent_id": None,
    "is_deleted": False, "is_banned": False, "source": "", "file_url": None, "character": [],
    "copyright": [], "artist": [], "meta": [], "score": 0, "general": [],
}  # fmt: skip

MakeDataset = Callable[..., Path]


def rows(table: Any, of: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(of), schema=table.schema)


def name(number: int) -> str:
    """The md5 of an image of these tests."""
    return f"{number:032x}"


def write(folder: Path, posts: Sequence[Mapping[str, Any]], seen: Sequence[Mapping[str, float]],
          reg: Sequence[int] = ()) -> Path:  # fmt: skip
    """Write a dataset: of each image its post, and what a tagger sees in it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "prep.toml", RECIPE)
    dataset = Dataset.open(folder)
    told = [{**POST, "id": n, **post} for n, post in enumerate(posts, 1)]
    dataset.posts.append(rows(POSTS, told))
    sets = ["plain" if n in reg else "main" for n in range(len(posts))]
    members = [{"set": s, "md5": name(n), "post_id": n + 1} for n, s in enumerate(sets)]
    MEMBERS.write(dataset.path_of(MEMBERS), rows(MEMBERS, members))
    own = {"by": "itself", "distance": 0, "family": None}
    groups = [
        {"set": one["set"], "md5": one["md5"], "keeper": one["md5"], **own} for one in members
    ]
    GROUPS.write(dataset.path_of(GROUPS), rows(GROUPS, groups))
    knowledge = [
        {"site": dataset.recipe.fetch.site, "name": tag, "category": None,
         "alias_of": ALIASES.get(tag), "implies": [IMPLIED[tag]] if tag in IMPLIED else [],
         "asked": 0}
        for tag in (*IMPLIED, *ALIASES)
    ]  # fmt: skip
    SITE_TAGS.write(dataset.path_of(SITE_TAGS), rows(SITE_TAGS, knowledge))
    write_json(index_path(dataset), {"wd": "0123"})
    labels = "".join(f"{n},{tag},{4 if '(' in tag else 0},9\n" for n, tag in enumerate(LABELS, 1))
    write_text(labels_path(dataset, "0123"), f"tag_id,name,category,count\n{labels}")
    probabilities = [
        {"md5": name(n), "labels": [LABELS.index(tag) for tag in one], "values": list(one.values()),
         "problem": None}
        for n, one in enumerate(seen)
    ]  # fmt: skip
    dataset.probabilities("0123").append(rows(PROBABILITIES, probabilities))
    dataset.probabilities("0123").fold()
    with locked(folder):  # as any stage has left it
        pass
    for stage in ("fetch", "dedup", "tag"):
        seals.write_seal(folder, stage, inputs="", output=stage, rows_in=0, rows_out=0, drops=[])
    return folder


@pytest.fixture
def make(tmp_path: Path) -> MakeDataset:
    """`make(posts, seen, reg=())`: a dataset without captions."""
    return lambda *given, **more: write(tmp_path / "dataset", *given, **more)


@pytest.fixture
def root(make: MakeDataset) -> Path:
    """Four images to learn from and one for regularization, with captions."""
    posts = [
        {"general": ["hat", "smile", "tree"], "artist": ["me"], "score": 20},
        {"general": ["smile", "witch_hat", "hat"], "score": 70},
        {"general": ["tree", "topper"], "score": 3},
        {"general": ["red_eyes", "smile"], "score": 3},
        {"general": ["hat", "1girl"], "score": 3},
    ]
    seen = [{"long_hair": 0.4}, {"long_hair": 0.9, "azusa_(x)": 0.9}, {"smile": 0.3}, {}, {}]
    folder = make(posts, seen, reg=(4,))
    caption(Dataset.open(folder))
    return folder


@pytest.fixture
def files() -> Callable[[Path], dict[str, bytes]]:
    """`files(folder)`: the bytes of all files but reports, by name."""
    return lambda folder: {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "reports"
    }
