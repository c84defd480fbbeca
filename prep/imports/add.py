"""`prep import`: one's own pictures into a dataset that is there, as sets of their own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prep import fetch
from prep.dataset import Dataset
from prep.folder import MADE, folder_of
from prep.imports.beside import EXTENSIONS
from prep.imports.layout import Part, Role, parts
from prep.imports.trigger import leading
from prep.lock import locked
from schemas.errors import DatasetError, UsageError
from schemas.progress import say
from schemas.recipes.edit import add_sets
from schemas.recipes.load import PREP_FILE
from schemas.recipes.prep import SET_NAME, SetSection
from schemas.tables import IMPORTED


@dataclass(frozen=True)
class Imported:
    """What became of one set."""

    name: str
    images: int  # that it has now
    added: int  # that it did not have before


def add(
    root: Path, source: Path, *, name: str = "", role: Role | None = None, repeats: int = 0
) -> list[Imported]:
    """Take the pictures of `source` into the dataset in `root`, and name the sets in prep.toml.

    What is imported is copied; `source` stays as it is. A folder that is a set already is read
    again: what is new comes, what changed beside an image counts. Without `role` and `repeats`
    they follow from how the folders are named. Raises UsageError, DatasetError or RecipeError.
    """
    if name and not SET_NAME.fullmatch(name):
        raise UsageError(f'--set {name}: names are lower-case letters, digits, "-" and "_"')
    if repeats < 0:
        raise UsageError(f"--repeats {repeats}: an image is seen once or more often in an epoch")
    dataset = Dataset.open(root)
    _check(root, source)
    with locked(root):
        found = [
            _planned(dataset, part, bool(name), role, repeats) for part in parts(source, name, role)
        ]
        new = {p.name: p.section(root) for p in found if p.name not in dataset.recipe.sets}
        if new:
            add_sets(root / PREP_FILE, new)
            dataset = Dataset.open(root)
        return _import(dataset, [part.name for part in found])


def _import(dataset: Dataset, names: Sequence[str]) -> list[Imported]:
    before = _members(dataset)
    fetch.import_sets(dataset, names)
    after = _members(dataset)
    for name in names:
        _suggest_trigger(dataset, name)
    return [
        Imported(
            name, len(after.get(name, ())), len(after.get(name, set()) - before.get(name, set()))
        )
        for name in names
    ]


def _check(root: Path, source: Path) -> None:
    """Raises DatasetError where `source` is no folder of pictures to import."""
    if not source.is_dir():
        raise DatasetError(f"{source} is no folder: `prep import` takes a folder of images")
    own, base = root.resolve(), source.resolve()
    if any(base == own / made or own / made in base.parents for made in MADE):
        raise DatasetError(
            f"{source} is what {root} itself is made of: import a folder of your own pictures"
        )
    if not any(path.suffix.lower() in EXTENSIONS for path in source.rglob("*")):
        raise DatasetError(f"no image in {source} (looked for jpg, png, webp, avif)")


def _planned(dataset: Dataset, part: Part, named: bool, role: Role | None, repeats: int) -> Part:
    """The set that a folder is already, or the one that it becomes.

    Raises DatasetError where prep.toml says otherwise than what is asked for, or the name is taken.
    """
    file, folder = dataset.root / PREP_FILE, part.folder.resolve()
    sets = dataset.recipe.sets
    same = [
        own
        for own, held in sets.items()
        if held.folder
        and folder_of(dataset.root, held).resolve() == folder
        and (not named or own == part.name)
    ]
    if not same and (held := sets.get(part.name)) is not None:
        what = f'from = "{held.folder}"' if held.folder else f'query = "{held.query}"'
        raise DatasetError(
            f'{file} has a set "{part.name}" already ({what}):'
            " give these pictures another name with --set"
        )
    if not same:
        return replace(part, repeats=repeats or part.repeats)
    own = part.name if part.name in same else same[0]
    held = sets[own]
    for key, given, stands in (("role", role, held.role), ("repeats", repeats, held.repeats)):
        if given and given != stands:
            raise DatasetError(f'set "{own}" has {key} = {stands} in {file}: change it there')
    return Part(own, part.folder, held.role, held.repeats)


def _members(dataset: Dataset) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in dataset.table(IMPORTED).to_pylist():
        if not row["gone"]:
            found.setdefault(row["set"], set()).add(row["md5"])
    return found


def _suggest_trigger(dataset: Dataset, name: str) -> None:
    """What leads every caption is mostly a trigger, which prep.toml has to know of."""
    part: SetSection = dataset.recipe.sets[name]
    word = leading([folder_of(dataset.root, part)]) if part.role == "train" else ""
    if word and word.lower() != dataset.recipe.caption.trigger.lower():
        say(
            f'import {name}: "{word}" leads every caption: if the adapter is called by it,'
            f' set caption.trigger = "{word}" in {PREP_FILE}'
        )
