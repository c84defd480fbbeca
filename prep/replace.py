"""`prep replace`: a cropped or repainted picture in an image's place, and back again.

Only a row says so: the tables of members and imports name images as they came, and every stage
asks the dataset which image stands for each (`Dataset.members`). So the post, its tags, the group
and the edits stay where they were, and undoing is taking the row's word back.
"""

import shutil
from collections.abc import Collection
from pathlib import Path, PurePath

import pyarrow as pa

from prep.dataset import Dataset
from prep.headers import ANIMATED, read_header
from prep.imports.beside import EXTENSIONS
from prep.lock import locked
from schemas.errors import DatasetError
from schemas.files import md5_of, writing
from schemas.progress import say
from schemas.tables import EXCLUDED, IMAGES, MEMBERS, REPLACED
from taggers.images import Unreadable, read

SHOWN = 4  # md5s named where a beginning fits several


def replace(root: Path, md5: str, file: Path) -> Path:
    """Put `file` in the image's place and return where it lies now; the old file stays.

    `md5`: of the image as it came or as it stands, or its beginning, or its file's path. Giving
    the first image's bytes again puts that back. Raises DatasetError.
    """
    dataset = Dataset.open(root)
    with locked(root):
        original = _find(dataset, md5)
        new = _checked(dataset, original, file)
        if new == original:
            return _put_back(dataset, original)
        images = {row["md5"]: row["path"] for row in dataset.images.read().to_pylist()}
        path: Path = root / dataset.image_path(new, EXTENSIONS[file.suffix.lower()])
        if new in images:
            path = root / images[new]
        if not path.is_file():
            with writing(path) as aside:
                shutil.copyfile(file, aside)
        if new not in images:
            row = read_header(path).row(new, path, root)
            dataset.images.append(pa.Table.from_pylist([row], schema=IMAGES.schema))
            dataset.images.fold()
        _write(dataset, original, new)
        return path


def put_back(root: Path, md5: str) -> Path:
    """Let the image that came first stand for itself again; return where it lies.

    Raises DatasetError when nothing stands in its place.
    """
    dataset = Dataset.open(root)
    with locked(root):
        return _put_back(dataset, _find(dataset, md5))


def _put_back(dataset: Dataset, original: str) -> Path:
    if original not in dataset.replacements():
        raise DatasetError(f"{dataset.root}: nothing stands in the place of image {original}")
    _write(dataset, original, "")
    images = {row["md5"]: row["path"] for row in dataset.images.read().to_pylist()}
    path: Path = dataset.root / images.get(original, "images")
    if not path.is_file():
        say(
            f"replace: image {original} stands for itself again, but its file is not there:"
            " `prep fetch --restore` takes it again from where it came"
        )
    return path


def _checked(dataset: Dataset, original: str, file: Path) -> str:
    """The md5 of a picture that may stand in the image's place. Raises DatasetError."""
    if not file.is_file():
        raise DatasetError(f"{file} is not there: which picture is to stand for {original}?")
    if file.suffix.lower() not in EXTENSIONS:
        raise DatasetError(f"{file} is no jpg, png, webp or avif, to judge by its name")
    try:
        read(file)
    except Unreadable as error:
        raise DatasetError(f"{error}: it cannot stand for {original}") from None
    if read_header(file).problem == ANIMATED:
        raise DatasetError(f"{file} is animated: it cannot stand for {original}")
    new = md5_of(file)
    stands = dataset.replacements().get(original, original)
    if new == stands:
        raise DatasetError(f"{file} has the same bytes as image {stands}: there is nothing to do")
    rows = dataset.table(REPLACED).to_pylist()
    own = {original, *(row["by"] for row in rows if row["md5"] == original)}
    others = {row["by"] for row in rows} | set(dataset.table(MEMBERS)["md5"].to_pylist())
    if new in others - own:
        raise DatasetError(
            f"{file} is image {new} of this dataset already: to keep that one alone,"
            f" remove the file of {stands} from images/"
        )
    return new


def _find(dataset: Dataset, given: str) -> str:
    """The image as it came that `given` means. Raises DatasetError."""
    name = PurePath(given.replace("\\", "/")).stem.lower()
    originals = dataset.originals()
    known = set(dataset.table(MEMBERS)["md5"].to_pylist())
    known |= set(dataset.table(EXCLUDED)["md5"].to_pylist()) | dataset.images.keys()
    fitting = sorted(md5 for md5 in known | originals.keys() if name and md5.startswith(name))
    meant = {originals.get(md5, md5) for md5 in fitting}
    if not meant:
        raise DatasetError(
            f'{dataset.root}: no image has an md5 that begins with "{name}":'
            " the files below images/ are named by theirs"
        )
    if len(meant) > 1:
        raise DatasetError(
            f'{dataset.root}: {len(meant)} images have an md5 that begins with "{name}"'
            f" ({_shown(fitting)}): write more of it"
        )
    return meant.pop()


def _shown(md5s: Collection[str]) -> str:
    listed = sorted(md5s)
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")


def _write(dataset: Dataset, original: str, by: str) -> None:
    """Let `by` stand for the image, or itself where `by` is empty; what stood there is kept."""
    rows = {(row["md5"], row["by"]): row for row in dataset.table(REPLACED).to_pylist()}
    for key, row in rows.items():
        if key[0] == original:
            row["current"] = False
    if by:
        rows[original, by] = {"md5": original, "by": by, "current": True}
    table = pa.Table.from_pylist(list(rows.values()), schema=REPLACED.schema)
    REPLACED.write(dataset.path_of(REPLACED), table)
