"""A folder of images as a set: copied by content, with the tags of the .txt beside each."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from prep.dataset import Dataset
from prep.headers import read_header
from prep.seals import Drop
from schemas import tags
from schemas.errors import DatasetError
from schemas.files import fingerprint, md5_of, writing
from schemas.progress import task
from schemas.recipes.prep import SetSection
from schemas.tables import EXCLUDED, IMAGES

EXTENSIONS = {
    ".jpg": "jpg", ".jpeg": "jpg", ".jfif": "jpg", ".png": "png", ".webp": "webp",
    ".avif": "avif", ".bmp": "bmp", ".gif": "gif",
}  # fmt: skip


@dataclass
class Found:
    """What a folder held."""

    count: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)  # of the table of imports
    drops: list[Drop] = field(default_factory=list)


def folder_of(root: Path, part: SetSection) -> Path:
    """The folder of a set; a relative one lies in the dataset folder."""
    return root / Path(part.folder).expanduser()


def folder_state(root: Path, part: SetSection) -> str:
    """A name for what the folder holds now, from names, sizes and times: no file is read."""
    files = ((path, path.stat()) for path in _files(folder_of(root, part)))
    return fingerprint([[str(path), s.st_size, s.st_mtime_ns] for path, s in files])


def import_folder(dataset: Dataset, name: str, part: SetSection) -> Found:
    """Copy the folder's images into the dataset, originals untouched. Raises DatasetError."""
    folder = folder_of(dataset.root, part)
    files = [path for path in _files(folder) if path.suffix.lower() in EXTENSIONS]
    if not files:
        raise DatasetError(f'set "{name}": no image in {folder} (looked for jpg, png, webp, avif)')
    excluded = set(dataset.table(EXCLUDED).column("md5").to_pylist())
    held = dataset.images.keys()
    found = Found(count=len(files))
    rows: dict[str, dict[str, object]] = {}
    seen: dict[str, str] = {}
    with task(f"fetch {name}: importing", len(files), "images") as advance:
        for file in files:
            md5 = md5_of(file)
            relative = file.relative_to(folder).as_posix()
            if md5 in seen:
                found.drops.append(Drop(name, relative, "same bytes", seen[md5]))
            elif part.limit and len(seen) >= part.limit:
                found.drops.append(Drop(name, relative, "over the limit"))
            else:
                seen[md5] = relative
                tagged = {"set": name, "md5": md5, "file": relative, "tags": _tags(file)}
                found.rows.append(tagged)
                if md5 not in held and md5 not in excluded:
                    rows[md5] = _take(dataset, file, md5)
            advance()
    dataset.images.append(pa.Table.from_pylist(list(rows.values()), schema=IMAGES.schema))
    return found


def _take(dataset: Dataset, file: Path, md5: str) -> dict[str, object]:
    place = dataset.root / dataset.image_path(md5, EXTENSIONS[file.suffix.lower()])
    if not place.is_file() or md5_of(place) != md5:
        with writing(place) as aside:
            shutil.copyfile(file, aside)
    return read_header(place).row(md5, place, dataset.root)


def _tags(file: Path) -> list[str]:
    """The tags of `name.txt` or `name.png.txt`, whichever is there."""
    for beside in (file.with_suffix(".txt"), file.with_name(f"{file.name}.txt")):
        if beside.is_file():
            return tags.split(beside.read_text(encoding="utf-8-sig", errors="replace"))
    return []


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder: `from` names a folder of images")
    return sorted(path for path in folder.rglob("*") if path.is_file())
