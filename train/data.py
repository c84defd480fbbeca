"""The manifest as training sees it: rows in order, split, captions as tokens."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DataError, DatasetError
from schemas.recipes.train import CaptionSection, TrainRecipe
from schemas.tables import MANIFEST
from train.batches import held_out
from train.captions import Exposure, Tags, is_dropped
from train.text import Caption, Tokens


@dataclass(frozen=True)
class Data:
    """A manifest in the order of its key, and what is held out of it."""

    table: pa.Table
    sha256: str  # of the rows, whatever wrote the file
    weights: np.ndarray  # float32 [rows], of the loss
    is_reg: np.ndarray  # bool [rows]
    repeats: np.ndarray  # int64 [rows]
    validation: np.ndarray  # bool [rows]

    def tags(self, row: int) -> Tags:
        """Return a row's tags."""
        cell = self.table.column("tags").chunk(0)[row].values
        return Tags(*(cell.field(name).to_pylist() for name in ("tag", "category", "part")))

    def caption(self, tokens: Tokens, row: int, limit: int) -> Caption:
        """Return a row's whole caption in at most `limit` tokens."""
        return tokens.caption(self.tags(row).ordered(), limit)

    def exposed(
        self, tokens: Tokens, options: CaptionSection, row: int, exposure: Exposure
    ) -> tuple[Caption, tuple[int, int, int]]:
        """Return what an exposure sees of its row's caption, and what is COUNTED of captions."""
        if is_dropped(options, exposure):
            return tokens.caption(()), (0, 0, 1)
        tags = self.tags(row)
        shown = tags.shown(options, exposure)
        caption = tokens.caption(shown, options.tokens)
        return caption, (caption.lost, len(tags.texts) - len(shown), 0)


def read_data(recipe: TrainRecipe, path: Path) -> Data:
    """Read the manifest of a recipe. Raises DatasetError, DataError when there is nothing in it."""
    table = MANIFEST.sorted(read_manifest(path))
    if not table.num_rows:
        raise DatasetError(
            f"data {path} holds no image: look at `prep status` for what dropped them"
        )
    table = _of_sets(table, recipe.sets, path)
    parts = pc.list_flatten(table.column("tags")).combine_chunks().field("part")
    if strange := set(pc.unique(parts).to_pylist()) - {"head", "flex", "tail"}:
        raise DataError(
            f'data {path}: a tag stands in the part "{min(map(str, strange))}";'
            " it can be head, flex or tail"
        )
    is_reg = table.column("is_reg").to_numpy().astype(bool)
    _check_captions(recipe, table, path)
    weights = table.column("weight").to_numpy().astype(np.float32)
    groups = table.column("group")
    named = pc.equal(table.column("split"), "validation")
    # with its duplicates, wherever they stand: a picture that was trained on measures nothing
    validation = pc.is_in(groups, groups.filter(named).combine_chunks()).to_numpy()
    validation |= held_out(groups, recipe.validation.share) & ~is_reg
    if (validation | is_reg).all():
        raise DatasetError(
            f"data {path} holds no image to train on: all {table.num_rows} are held out for"
            " validation or for regularization"
        )
    return Data(
        table=table,
        sha256=sha256_of_rows(table),
        weights=np.where(is_reg, weights * np.float32(recipe.loss.prior_weight), weights),
        is_reg=is_reg,
        repeats=table.column("repeats").to_numpy().astype(np.int64),
        validation=validation,
    )


def read_manifest(path: Path) -> pa.Table:
    """Return the rows of a manifest. Raises DatasetError where it is missing, DataError."""
    if not path.is_file():
        raise DatasetError(
            f"data {path} is missing: `prep manifest` writes it, or name another in the recipe"
        )
    return MANIFEST.read(path)


def _check_captions(recipe: TrainRecipe, table: pa.Table, path: Path) -> None:
    """Raise DatasetError where no image to train on has a caption, unless that is asked for."""
    trained = table.filter(pc.invert(table.column("is_reg")))
    tags = pc.sum(pc.list_value_length(trained.column("tags"))).as_py()
    if trained.num_rows and not tags and recipe.caption.drop_caption < 1:
        raise DatasetError(
            f"data {path} holds no caption: `prep caption` and `prep manifest` write them; to train"
            " without, set caption.drop_caption = 1.0"
        )


def _of_sets(table: pa.Table, names: Sequence[str], path: Path) -> pa.Table:
    """The rows of these sets, of all where none is named."""
    known = pc.unique(table.column("set")).to_pylist()
    for name in names:
        if name not in known:
            raise DatasetError(
                f'sets names "{name}", which data {path} does not hold: it holds {", ".join(known)}'
            )
    if not names:
        return table
    return table.filter(pc.is_in(table.column("set"), pa.array(names))).combine_chunks()


def sha256_of_rows(table: pa.Table) -> str:
    """Return the hash of the rows, from their values alone."""
    digest = hashlib.sha256()
    for name in table.column_names:
        digest.update(name.encode())
        column = table.column(name).combine_chunks()
        if pa.types.is_list(column.type):
            digest.update(column.value_lengths().to_numpy().tobytes())
            for field in column.flatten().flatten():
                _update(digest, field)
        else:
            _update(digest, column)
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", column: pa.Array) -> None:
    if not column.null_count and not pa.types.is_string(column.type):
        digest.update(column.to_numpy(zero_copy_only=False).tobytes())
        return
    coded = column.dictionary_encode()
    digest.update(pc.fill_null(coded.indices, -1).to_numpy().tobytes())
    digest.update("\0".join(map(str, coded.dictionary.to_pylist())).encode())
