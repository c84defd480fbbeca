"""A dataset that differs from another in its recipe; nothing that is there is made again.

    variant(dataset, changes, folder)    makes the folder, or brings it up to date
    laid_over(dataset, changes)          its recipe
    key_of(dataset, changes)             a name for what is different
    Variants(dataset, folder)            where each lies

Images and latents are hard links where the file system has them; tables, edits and what was fitted
are copies. Then `chain.run` does in the variant what its recipe makes wanted: a set more is
fetched, another rule makes captions. What the variant has of its own (sets that the original lacks,
what was fitted, tagged or encoded for it) stays when it is brought up to date; what a person edits
or removes in the original holds in it. The original is only read.
"""

import contextlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prep import chain, fetch, manifest
from prep.cache import Cache
from prep.dataset import Dataset
from prep.edits import journal
from prep.folder import folder_of
from prep.imports.layout import seen_from
from prep.lock import locked
from prep.probabilities import index_path, keys_of
from prep.query_of import with_queries
from schemas.files import ASIDE, fingerprint, link, put, sha256_of, write_json, write_text
from schemas.progress import task
from schemas.recipes.experiment import merged
from schemas.recipes.load import PREP_FILE, checked, load_prep
from schemas.recipes.prep import PrepRecipe, SetSection
from schemas.recipes.write import to_toml
from schemas.tables import EXCLUDED, FOUND_FEATURES, IMPORTED, MEMBERS, SHOWN, TWINS

STATE = "variant.json"
FORMAT = 1  # of what this module copies; another number brings every variant up to date
SOURCES = ("query", "from", "query_of")  # a set has one of them
BY_SET = (MEMBERS, TWINS, SHOWN, IMPORTED)
FITS = (
    FOUND_FEATURES,
    "tables/percentiles.parquet",
    "tables/thresholds.parquet",
    "tables/chosen.parquet",
    "tables/reg_choices.json",
)
TABLES = ("images", "tables", "logs/imports", "manifest.parquet", journal.FILE)
INDEX, SHARDS = "index.parquet", "*.safetensors"  # of a folder of latents


@dataclass(frozen=True)
class State:
    """What a variant was last made from, as fingerprints; "" where it is not whole."""

    tables: str = ""  # all but latents: the recipe, and what the original's stages made
    latents: str = ""
    given: Mapping[str, list[str]] = field(default_factory=dict)  # file -> SHA-256 it was given


@dataclass(frozen=True)
class Variants:
    """All variants of a dataset, each in the subfolder of `folder` that its key names."""

    dataset: Dataset
    folder: Path

    def recipe_of(self, changes: Mapping[str, Any]) -> PrepRecipe:
        """Return a variant's recipe. Raises RecipeError."""
        return laid_over(self.dataset, changes)

    def folder_of(self, changes: Mapping[str, Any]) -> Path:
        """Return where a variant lies, made or not; where nothing differs, the dataset's folder."""
        key = key_of(self.dataset, changes)
        return self.folder / key if key else self.dataset.root

    def made(self, changes: Mapping[str, Any]) -> Path:
        """Make a variant, or bring it up to date, by the chain as well; return its folder."""
        folder = self.folder_of(changes)
        if folder != self.dataset.root:
            variant(self.dataset, changes, folder)
            chain.run(replace(Dataset.open(folder), tokenizer=self.dataset.tokenizer))
        return folder


def variant(dataset: Dataset, changes: Mapping[str, Any], folder: Path) -> Path:
    """Make or bring up to date the variant in `folder`; return it.

    changes: over prep.toml, as `laid_over` reads them. Where neither they nor the original have
    changed, nothing is done; killed, it goes on. Raises RecipeError, or Failure when another prep
    is at work in either folder.
    """
    recipe = _placed(dataset, laid_over(dataset, changes), folder)
    text = f"# a variant: written anew by what made it\n\n{to_toml(recipe, comments=False)}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(dataset.root), locked(folder):
        tables = fingerprint(FORMAT, text, _facts(dataset.root, TABLES))
        latents = fingerprint(FORMAT, _facts(dataset.root, ("latents",)))
        held = _read(folder)
        if (held.tables, held.latents) == (tables, latents):
            return folder
        kept = _kept(dataset.root)
        # told before, so that after a kill nothing that was copied is taken for the variant's own
        either = {name: [*held.given.get(name, ()), new] for name, new in kept.items()}
        _write(folder, replace(held, given={**held.given, **either}, tables="", latents=""))
        own = _own_files(folder, either)
        if held.tables != tables:
            write_text(folder / PREP_FILE, text)
            _link_images(dataset, folder)
            _copy_tables(dataset, Dataset.open(folder), own)
            _copy_edits(dataset.root, folder)
        _link_latents(dataset.root, folder, own)
        _write(folder, State(tables, latents, {name: [new] for name, new in kept.items()}))
    return folder


def laid_over(dataset: Dataset, changes: Mapping[str, Any]) -> PrepRecipe:
    """Return the dataset's prep.toml with changes over it, table by table.

    A set that is given another source loses its own, one that is `false` is left out. Raises
    RecipeError.
    """
    values = _recipe(dataset).model_dump(mode="json", by_alias=True)
    sets = dict(values.pop("sets"))
    for name, part in changes.get("sets", {}).items():
        if part is False:
            sets.pop(name, None)
            continue
        under = sets.get(name, {})
        if any(source in part for source in SOURCES):
            under = {key: value for key, value in under.items() if key not in SOURCES}
        sets[name] = merged(under, part)
    rest = {key: value for key, value in changes.items() if key != "sets"}
    where = f"over {dataset.root / PREP_FILE}"
    recipe = checked(PrepRecipe, {**merged(values, rest), "sets": sets}, lambda _: where)
    with_queries(recipe)  # a bad one is told before any work
    return recipe


def key_of(dataset: Dataset, changes: Mapping[str, Any]) -> str:
    """Return 16 hex digits that name what the changes make different; "" where that is nothing."""
    before, after = (
        recipe.model_dump(mode="json", by_alias=True)
        for recipe in (_recipe(dataset), laid_over(dataset, changes))
    )
    different = _different(before, after)
    return fingerprint(different) if different else ""


def _recipe(dataset: Dataset) -> PrepRecipe:
    """The recipe as it is written: queries of others' are not written out."""
    return load_prep(dataset.root / PREP_FILE, dataset.changes)


def _different(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What `after` says otherwise; null for what it lacks."""
    found = {}
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old != new:
            tables = isinstance(old, Mapping) and isinstance(new, Mapping)
            found[key] = _different(old, new) if tables else new  # type: ignore[arg-type]
    return found


def _placed(dataset: Dataset, recipe: PrepRecipe, folder: Path) -> PrepRecipe:
    """The recipe as it is read from `folder`: paths that start from the original's lead there."""

    def tagger(name: str) -> str:
        place = dataset.root / name
        return seen_from(folder, place) if place.is_dir() and not Path(name).is_absolute() else name

    def placed(part: SetSection) -> SetSection:
        source = seen_from(folder, folder_of(dataset.root, part)) if part.folder else ""
        return part.model_copy(update={"folder": source})

    weight = {tagger(name): value for name, value in recipe.tag.weight.items()}
    taggers = tuple(map(tagger, recipe.tag.taggers))
    tag = recipe.tag.model_copy(update={"taggers": taggers, "weight": weight})
    sets = {name: placed(part) for name, part in recipe.sets.items()}
    return recipe.model_copy(update={"sets": sets, "tag": tag})


def _facts(root: Path, names: Sequence[str]) -> str:
    """A fingerprint of files and folders, from names, sizes and times: no file is read."""
    files = [path for name in names for path in (root / name, *sorted((root / name).rglob("*")))]
    there = ((path, path.stat()) for path in files if path.is_file())
    facts = ([path.relative_to(root).as_posix(), s.st_size, s.st_mtime_ns] for path, s in there)
    return fingerprint(*facts)


def _read(folder: Path) -> State:
    try:
        stored = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return State(**stored)
    except (OSError, ValueError, TypeError):
        return State()


def _write(folder: Path, state: State) -> None:
    write_json(folder / STATE, asdict(state))


def _kept(root: Path) -> dict[str, str]:
    """The original's files of which a variant may come to have its own, with their SHA-256."""
    indexes = [path.relative_to(root).as_posix() for path in root.glob(f"latents/*/{INDEX}")]
    names = [name for name in (*FITS, *indexes) if (root / name).is_file()]
    return {name: sha256_of(root / name) for name in names}


def _own_files(folder: Path, given: Mapping[str, Collection[str]]) -> set[str]:
    """Those of them that were made in the variant: it was never given such bytes."""
    return {
        name
        for name, digests in given.items()
        if (folder / name).is_file() and sha256_of(folder / name) not in digests
    }


def _link_images(dataset: Dataset, folder: Path) -> None:
    """Give the variant each file that the original has, and take those that were removed there."""
    paths = dataset.images.columns("path")["path"].to_pylist()
    with task("variant: linking", len(paths), "images") as advance:
        for path in paths:
            source, place = dataset.root / path, folder / path
            if not source.is_file():
                place.unlink(missing_ok=True)  # which the chain takes for a removal, as it is one
            elif not place.is_file():
                _link_or_copy(source, place)
            advance()


def _link_or_copy(source: Path, place: Path) -> None:
    if not link(source, place):
        _copy(source, place)


def _copy(source: Path, place: Path) -> None:
    put(place, partial(shutil.copyfile, source))


def _copy_tables(dataset: Dataset, made: Dataset, own: Collection[str]) -> None:
    """Copy what stages made, but for what is the variant's own."""
    for source, target in _caches(dataset, made):
        _add_rows(source, target)
    now = fetch.wanted(made)
    fetched, fetched_here = fetch.fetched(dataset.root), fetch.fetched(made.root)
    of_its_own = [name for name in now if fetched.get(name) != now[name]]
    here = {table.name: made.table(table) for table in BY_SET}
    tables = dataset.root / "tables"
    made.path_of(EXCLUDED).unlink(missing_ok=True)  # what is back in the original is wanted again
    for path in [*tables.glob("*.*"), *tables.glob("probs/*/*.csv")]:
        name = path.relative_to(dataset.root).as_posix()
        if path.is_file() and name not in own and ASIDE not in name:
            _copy(path, made.root / name)
    if manifest.intact(dataset):
        _copy(dataset.manifest, made.manifest)
    else:
        made.manifest.unlink(missing_ok=True)  # it is made from the rest
    _write_index(dataset, made)
    for path in (dataset.root / "logs" / "imports").glob("*.json"):
        if path.stem not in of_its_own:
            _copy(path, made.root / "logs" / "imports" / path.name)
    if of_its_own:
        names = pa.array(of_its_own, pa.string())
        for table in BY_SET:
            others, ours = dataset.table(table), here[table.name]
            others = others.filter(pc.invert(pc.is_in(others["set"], names)))
            ours = ours.filter(pc.is_in(ours["set"], names))
            table.write(made.path_of(table), pa.concat_tables([others, ours]))
        kept = {name: key for name, key in fetched_here.items() if name in of_its_own}
        write_json(fetch.fetched_path(made.root), {**fetched, **kept})


def _caches(dataset: Dataset, made: Dataset) -> Iterator[tuple[Cache, Cache]]:
    """The original's caches, each with the variant's."""
    for one in ("posts", "images", "variants", "hashes"):
        yield getattr(dataset, one), getattr(made, one)
    for folder in sorted((dataset.root / "tables" / "probs").glob("*/")):
        yield dataset.probabilities(folder.name), made.probabilities(folder.name)


def _add_rows(source: Cache, target: Cache) -> None:
    """Give `target` the rows of `source`; those that it alone has stay."""
    rows, held = source.read(), target.read()
    key = source.table.key[0]
    alone = held.filter(pc.invert(pc.is_in(held[key], rows[key].combine_chunks())))
    if held.num_rows == 0 or not held.equals(source.table.sorted(pa.concat_tables([rows, alone]))):
        target.append(rows)
        target.fold()


def _write_index(dataset: Dataset, made: Dataset) -> None:
    """Say which key each tagger has by the name that the variant's recipe has for it."""
    names = dict(zip(dataset.recipe.tag.taggers, made.recipe.tag.taggers, strict=False))
    keys = {**keys_of(dataset), **{names[old]: key for old, key in keys_of(dataset).items()}}
    if keys:
        write_json(index_path(made), keys)


def _copy_edits(root: Path, folder: Path) -> None:
    if (root / journal.FILE).is_file():
        _copy(root / journal.FILE, folder / journal.FILE)
    else:
        (folder / journal.FILE).unlink(missing_ok=True)


def _link_latents(root: Path, folder: Path, own: Collection[str]) -> None:
    """Link the shards of each VAE and copy their index, unless the variant has encoded its own."""
    for source in sorted((root / "latents").glob("*/")):
        place = folder / "latents" / source.name
        index = f"latents/{source.name}/{INDEX}"
        if index in own or not (source / INDEX).is_file():
            continue
        shards = {path.name for path in source.glob(SHARDS)}
        for name in sorted(shards):
            if not (place / name).is_file():
                _link_or_copy(source / name, place / name)
        _copy(source / INDEX, place / INDEX)
        for path in place.glob(SHARDS):
            if path.name not in shards:
                with contextlib.suppress(PermissionError):  # mapped (Windows): the next time
                    path.unlink()
