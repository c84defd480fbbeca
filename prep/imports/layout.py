"""What a folder of pictures is: one set, or several as sd-scripts lays them out."""

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prep.imports.beside import EXTENSIONS, KOHYA_FOLDER
from schemas.recipes.prep import SetSection

Role = Literal["train", "reg"]

TRAIN_FOLDERS = ("img", "image", "images", "train")  # as tools around sd-scripts name them
REG_FOLDERS = ("reg", "regularization", "regularisation", "class")


@dataclass(frozen=True)
class Part:
    """A folder that becomes a set."""

    name: str  # of the set
    folder: Path
    role: Role = "train"
    repeats: int = 1

    def section(self, root: Path) -> SetSection:
        """What prep.toml says of it; the folder as it is seen from the dataset in `root`."""
        values = {"from": seen_from(root, self.folder), "role": self.role, "repeats": self.repeats}
        return SetSection.model_validate(values)


def parts(source: Path, name: str = "", role: Role | None = None) -> list[Part]:
    """Return the sets that a folder holds. Where `name` is given, they are called by it.

    `4_azusa 1girl` is a set "azusa" seen four times; a folder of such folders is a set for each;
    what lies in a folder `reg` beside is for regularization. `role` is for all, when given.
    """
    found = list(_of_kohya(source, "train"))
    if not found:
        found = [Part(set_name(source.resolve().name), source), *_reg_beside(source)]
    single = sum(part.role == "train" for part in found) == 1
    taken: dict[str, int] = {}
    named = []
    for part in found:
        own = part.name
        if name:
            own = name if single and part.role == "train" else f"{name}-{part.name}"
        taken[own] = count = taken.get(own, 0) + 1
        own = own if count == 1 else f"{own}-{count}"
        named.append(Part(own, part.folder, role or part.role, part.repeats))
    return named


def set_name(text: str) -> str:
    """A name that a set can have, from a folder's: its ASCII letters and digits, in lower case."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-_") or "imported"


def seen_from(folder: Path, source: Path) -> str:
    """The source as prep.toml names it: from the dataset folder where that is possible."""
    try:
        return Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        return source.resolve().as_posix()


def _of_kohya(folder: Path, role: Role) -> Iterator[Part]:
    """The folders named as sd-scripts names them: this one, those in it, or those in `img`."""
    if own := _part(folder, role):
        yield own
        return
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    found = [part for path in inner if (part := _part(path, role))]
    if not found:
        below = (path for path in inner if path.name.lower() in TRAIN_FOLDERS)
        found = [part for path in below for part in _of_kohya(path, role)]
    yield from found
    if found and role == "train":
        yield from _reg_beside(folder)


def _reg_beside(folder: Path) -> Iterator[Part]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name.lower() in REG_FOLDERS and _has_images(path):
            found = list(_of_kohya(path, "reg"))
            for part in found:
                yield Part(f"reg-{part.name}", part.folder, "reg", part.repeats)
            if not found:
                yield Part("reg", path, "reg")


def _part(folder: Path, role: Role) -> Part | None:
    named = KOHYA_FOLDER.fullmatch(folder.resolve().name)
    # as in sd-scripts, 0 leaves a folder out
    if not named or not int(named[1]) or not _has_images(folder):
        return None
    return Part(set_name(named[2].split()[0]), folder, role, int(named[1]))


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in EXTENSIONS for path in folder.rglob("*"))
