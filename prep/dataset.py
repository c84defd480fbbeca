"""A dataset folder: where everything in it lies, and what the person removed from it by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from prep.cache import Cache
from prep.captions.tokens import Tokenizer
from prep.query_of import with_queries
from schemas import replaced, tables
from schemas.errors import DatasetError
from schemas.recipes.load import PREP_FILE, TRAIN_FILE, load_prep
from schemas.recipes.prep import PrepRecipe, SetSection
from schemas.tables import Table

REMOVED = "removed by hand"
HASHED_AS = "phash64-jpeg64"  # what is kept of each image; another name: all are hashed anew


@dataclass(frozen=True)
class Dataset:
    """The folder and its recipe. Tables are read anew at each call; nothing is kept in memory."""

    root: Path
    changes: tuple[str, ...] = ()  # `--set key=value`, over prep.toml
    tokenizer: Tokenizer | None = None  # of the model to train, where captions are cut by it

    @classmethod
    def open(cls, root: Path | str = ".", changes: Sequence[str] = ()) -> "Dataset":
        """Open a folder that `prep init` made. Raises DatasetError or RecipeError."""
        folder = Path(root)
        if not (folder / PREP_FILE).is_file():
            raise DatasetError(
                f"{folder.resolve()} is no dataset (it has no {PREP_FILE}):"
                " make one with `prep init`, or name its folder"
            )
        dataset = cls(folder, tuple(changes))
        _ = dataset.recipe  # a bad recipe is told before any work
        return dataset

    @cached_property
    def recipe(self) -> PrepRecipe:
        """prep.toml, every set with its own query."""
        return with_queries(load_prep(self.root / PREP_FILE, self.changes))

    @property
    def train_file(self) -> Path:
        """Where train.toml lies."""
        return self.root / TRAIN_FILE

    @property
    def manifest(self) -> Path:
        """What training reads."""
        return self.root / "manifest.parquet"

    @property
    def posts(self) -> Cache:
        """What the site says of each post, by its id."""
        return Cache(self.root / "tables" / "posts", tables.POSTS)

    @property
    def images(self) -> Cache:
        """The files that were downloaded or imported, by the md5 of their bytes."""
        return Cache(self.root / "tables" / "images", tables.IMAGES)

    @property
    def variants(self) -> Cache:
        """Which image a smaller version or a first frame became, by the original's md5."""
        return Cache(self.root / "tables" / "variants", tables.VARIANTS)

    @property
    def hashes(self) -> Cache:
        """The perceptual hash of each image, and its small picture."""
        return Cache(self.root / "tables" / "hashes" / HASHED_AS, tables.HASHES)

    def probabilities(self, tagger_key: str) -> Cache:
        """What one tagger, named by its bytes, makes of each image."""
        return Cache(self.root / "tables" / "probs" / tagger_key, tables.PROBABILITIES)

    def table(self, table: Table) -> pa.Table:
        """Read a set-wide table, empty when no stage has made it yet."""
        path = self.path_of(table)
        return table.read(path) if path.exists() else table.empty()

    def members(self) -> pa.Table:
        """Who is a member of what, by the image that stands for each post now."""
        return replaced.resolved(self.table(tables.MEMBERS), self.replacements())

    def twins(self) -> pa.Table:
        """Posts whose files were not fetched, by the image that stands for each one now."""
        return replaced.resolved(self.table(tables.TWINS), self.replacements())

    def imported(self) -> pa.Table:
        """What was imported, by the image that stands for each one now."""
        return replaced.resolved(self.table(tables.IMPORTED), self.replacements())

    def replacements(self) -> Mapping[str, str]:
        """The image that a person put in another's place, by that other."""
        return replaced.current(self.table(tables.REPLACED))

    def originals(self) -> Mapping[str, str]:
        """The image that came, by each that stands or ever stood in its place."""
        return replaced.originals(self.table(tables.REPLACED))

    def path_of(self, table: Table) -> Path:
        """Where a set-wide table lies."""
        return self.root / "tables" / f"{table.name}.parquet"

    def image_path(self, md5: str, extension: str) -> str:
        """Where an image lies, from the root, with "/"."""
        return f"images/{md5[:2]}/{md5}.{extension}"

    def sets(self, role: str | None = None) -> Mapping[str, SetSection]:
        """The sets of the recipe, all or those of one role, by name."""
        return {
            name: section
            for name, section in self.recipe.sets.items()
            if role is None or section.role == role
        }

    def note_removed(self) -> int:
        """Record files that a person took away as excluded; return how many are new.

        Taking a file out of images/ is how a person says "not this one" in a file manager, and
        downloading it again would undo that. `restore` takes it back.
        """
        images = self.images.read()
        paths, md5s = images.column("path").to_pylist(), images.column("md5").to_pylist()
        there = {
            f"images/{file.parent.name}/{file.name}" for file in (self.root / "images").glob("*/*")
        }
        gone = {md5 for md5, path in zip(md5s, paths, strict=True) if path not in there}
        known = set(self.table(tables.EXCLUDED).column("md5").to_pylist())
        if not gone - known:
            return 0
        self._write_excluded(gone | known)
        return len(gone - known)

    def restore(self) -> int:
        """Forget what was removed by hand, so that fetch takes it again; return how many."""
        excluded = self.table(tables.EXCLUDED).column("md5").to_pylist()
        images = self.images
        present = {
            row["md5"] for row in images.read().to_pylist() if (self.root / row["path"]).is_file()
        }
        images.keep(present)
        self._write_excluded(())
        return len(excluded)

    def _write_excluded(self, md5s: Iterable[str]) -> None:
        rows = {"md5": sorted(md5s)}
        rows["reason"] = [REMOVED] * len(rows["md5"])
        path = self.path_of(tables.EXCLUDED)
        tables.EXCLUDED.write(path, pa.table(rows, schema=tables.EXCLUDED.schema))
