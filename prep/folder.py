"""A folder of images as a set: copied by content, with what is said of each beside it.

The folder is where images come from, images/ is where they stay. What leaves a folder that is
there leaves the set; when the folder itself is gone (a drive that is not plugged in, a folder that
was moved) the set keeps what was imported from it.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prep.dataset import Dataset
from prep.headers import Header, read_header
from prep.imports.beside import EXTENSIONS, Folder
from prep.imports.seen import Seen
from prep.seals import Drop
from schemas.errors import DatasetError
from schemas.files import fingerprint, md5_of, writing
from schemas.progress import say, task
from schemas.recipes.load import PREP_FILE
from schemas.recipes.prep import SetSection
from schemas.tables import EXCLUDED, IMAGES, IMPORTED

GONE = "gone from its folder"
GONE_FOLDER = "gone"  # the state of a folder that is not there, and of which nothing is known
# folders that a dataset makes
MADE = ("images", "tables", "latents", "reports", "runs", "logs", "experiments")
AT_ONCE = 64  # images whose rows are kept together: a kill re-reads at most these


@dataclass
class Found:
    """What a folder held."""

    count: int = 0  # what was looked at: images, and captions without one
    rows: list[dict[str, Any]] = field(default_factory=list)  # of the table of imports
    posts: list[dict[str, Any]] = field(default_factory=list)  # of the table of posts
    drops: list[Drop] = field(default_factory=list)

    @property
    def members(self) -> list[tuple[str, str, int]]:
        """Set, md5 and post of the images that are there."""
        return [(row["set"], row["md5"], row["post_id"]) for row in self.rows if not row["gone"]]


def folder_of(root: Path, part: SetSection) -> Path:
    """The folder of a set; a relative one lies in the dataset folder."""
    return root / Path(part.folder).expanduser()


def folder_state(root: Path, part: SetSection) -> str:
    """A name for what the folder holds now, from names, sizes and times: no file is read."""
    base = folder_of(root, part)
    files = ((path.relative_to(base), path.stat()) for path in _files(base, root, ()))
    return fingerprint([[path.as_posix(), s.st_size, s.st_mtime_ns] for path, s in files])


def set_state(dataset: Dataset, name: str) -> str:
    """The state of a set's folder; of one that is gone the state in which it was last read."""
    part = dataset.recipe.sets[name]
    if not folder_of(dataset.root, part).is_dir() and _earlier(dataset, name):
        return Seen.of(dataset.root, name).state or GONE_FOLDER
    return folder_state(dataset.root, part)


def import_folder(dataset: Dataset, name: str, part: SetSection) -> Found:
    """Copy the folder's images into the dataset, originals untouched. Raises DatasetError.

    Files that were read before and have not changed since are not read again.
    """
    path = folder_of(dataset.root, part)
    earlier = _earlier(dataset, name)
    if earlier and not path.is_dir():
        return _kept(dataset, name, path, earlier)
    folder = Folder.of(name, path, list(_files(path, dataset.root, _inner(dataset, name))))
    if not folder.images:
        if earlier:  # where a drive was mounted its empty folder stays
            return _kept(dataset, name, path, earlier)
        raise DatasetError(f'set "{name}": no image in {path} (looked for jpg, png, webp, avif)')
    state, seen = folder_state(dataset.root, part), Seen.of(dataset.root, name)
    found = _read(dataset, name, folder, seen, part.limit)
    folder.finish()
    found.drops += folder.drops
    gone = _note_gone(found, name, earlier)
    found.count = len(folder.images) + len(folder.drops) + gone
    seen.keep(state)
    return found


def _read(dataset: Dataset, name: str, folder: Folder, seen: Seen, limit: int) -> Found:
    """Take in the images one by one, the bytes of those that are new."""
    excluded = set(dataset.table(EXCLUDED).column("md5").to_pylist())
    headers = {row["md5"]: _header(row) for row in dataset.images.read().to_pylist()}
    found = Found()
    fresh: list[dict[str, object]] = []
    taken: dict[str, str] = {}
    site = dataset.recipe.fetch.site
    with task(f"fetch {name}: importing", len(folder.images), "images") as advance:
        for file in folder.images:
            relative = file.relative_to(folder.path).as_posix()
            md5 = seen.md5(file, relative)
            if md5 in taken:
                found.drops.append(Drop(name, relative, "same bytes", taken[md5]))
            elif limit and len(taken) >= limit:
                found.drops.append(Drop(name, relative, "over the limit"))
            else:
                taken[md5] = relative
                if md5 not in headers:
                    header = read_header(file)
                    if md5 not in excluded:
                        headers[md5] = header
                        fresh.append(_take(dataset, file, md5, header))
                said = folder.beside(file, md5, headers.get(md5, Header()), site)
                post_id = said.post["id"] if said.post else 0
                found.posts += [dict(said.post)] if said.post else []
                found.rows.append(
                    {
                        "set": name, "md5": md5, "file": relative, "tags": list(said.tags),
                        "categories": list(said.categories), "sentence": said.sentence,
                        "post_id": post_id, "gone": False,
                    }
                )  # fmt: skip
            if len(fresh) == AT_ONCE:
                dataset.images.append(pa.Table.from_pylist(fresh, schema=IMAGES.schema))
                fresh = []
            advance()
    dataset.images.append(pa.Table.from_pylist(fresh, schema=IMAGES.schema))
    return found


def _kept(dataset: Dataset, name: str, path: Path, earlier: list[dict[str, Any]]) -> Found:
    """A set whose folder is gone: as it was imported, but for files that images/ lacks too."""
    there = sum(not row["gone"] for row in earlier)
    say(f"import {name}: {path} is not there: its {there} images stay as they were imported")
    held = dataset.images.keys() | set(dataset.table(EXCLUDED).column("md5").to_pylist())
    found = Found(count=len(earlier))
    for row in earlier:
        if row["gone"]:
            found.drops.append(Drop(name, row["file"], GONE))
        elif row["md5"] not in held:
            found.drops.append(Drop(name, row["file"], "file missing", "its folder is gone too"))
        found.rows.append(row)
    return found


def _note_gone(found: Found, name: str, earlier: Iterable[dict[str, Any]]) -> int:
    """Keep the rows of what a person took out of the folder, and tell why they are no members."""
    now = {row["md5"] for row in found.rows}
    gone = [{**row, "gone": True} for row in earlier if row["md5"] not in now]
    found.rows += gone
    found.drops += [Drop(name, row["file"], GONE) for row in gone]
    return len(gone)


def _earlier(dataset: Dataset, name: str) -> list[dict[str, Any]]:
    """The rows of what was imported into the set before."""
    rows = dataset.table(IMPORTED)
    return list(rows.filter(pc.equal(rows.column("set"), name)).to_pylist())


def _take(dataset: Dataset, file: Path, md5: str, header: Header) -> dict[str, object]:
    place = dataset.root / dataset.image_path(md5, EXTENSIONS[file.suffix.lower()])
    if not place.is_file() or md5_of(place) != md5:
        with writing(place) as aside:
            shutil.copyfile(file, aside)
    return header.row(md5, place, dataset.root)


def _header(row: dict[str, Any]) -> Header:
    return Header(row["width"], row["height"], row["problem"])


def _inner(dataset: Dataset, name: str) -> list[Path]:
    """The folders of other sets: a picture in one that lies within this one is theirs."""
    others = {other: part for other, part in dataset.recipe.sets.items() if part.folder}
    own = folder_of(dataset.root, others.pop(name)).resolve() if name in others else None
    folders = [folder_of(dataset.root, part).resolve() for part in others.values()]
    return [folder for folder in folders if folder != own]


def _files(folder: Path, root: Path, inner: Iterable[Path]) -> Iterator[Path]:
    """The folder's files, sorted; hidden ones, those of inner sets, and our own are no pictures."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder: `from` names a folder of images")
    base = folder.resolve()
    own = root.resolve()
    # a variant's set may be the folder of the dataset that it is made from
    datasets = (own, base) if (base / PREP_FILE).is_file() else (own,)
    foreign = (own, *(one / made for one in datasets for made in MADE), *inner)
    places = {path.relative_to(base) for path in foreign if base in path.parents}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if not places.isdisjoint(relative.parents):
            continue
        yield path
