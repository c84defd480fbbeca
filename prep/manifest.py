"""The one table that training reads: one row per image of a set, checked."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prep import seals
from prep.dataset import Dataset
from prep.seals import Drop, Seal
from schemas.errors import DatasetError
from schemas.files import fingerprint, sha256_of
from schemas.tables import CAPTIONS, CHOSEN, GROUPS, MANIFEST, TAG

STAGE = "manifest"


def inputs(dataset: Dataset) -> str:
    """What shapes this stage: captions, the reg choice, posts, and the sets' figures."""
    stages = ("fetch", "dedup", "caption", "reg")
    upstream = [seals.read_seal(dataset.root, name) for name in stages]
    sets = {
        name: [part.role, part.repeats, part.weight] for name, part in dataset.recipe.sets.items()
    }
    return fingerprint([seal and seal.output for seal in upstream], sets)


def intact(dataset: Dataset) -> bool:
    """Whether manifest.parquet is the one that this stage last wrote."""
    seal = seals.read_seal(dataset.root, STAGE)
    return (
        seal is not None
        and dataset.manifest.is_file()
        and sha256_of(dataset.manifest)[:16] == seal.output
    )


def manifest(dataset: Dataset) -> Seal:
    """Write manifest.parquet.

    Raises DatasetError when no image is left to train on, or when it was edited by hand.
    """
    _refuse_edited(dataset)
    shaped_by = inputs(dataset)
    with seals.timed(dataset.root, STAGE):
        captions = dataset.table(CAPTIONS)
        chosen, drops = _chosen(dataset, captions)
        table = _table(dataset, chosen)
        if pc.all(table["is_reg"]).as_py() is not False:
            raise DatasetError(
                f"{dataset.root}: no image is left to train on;"
                " `prep status` shows where they were dropped and why"
            )
        MANIFEST.write(given_out(dataset), table)
        MANIFEST.write(dataset.manifest, table)
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=shaped_by,
            output=sha256_of(dataset.manifest)[:16],
            rows_in=captions.num_rows,
            rows_out=table.num_rows,
            drops=drops,
        )


def _chosen(dataset: Dataset, captions: pa.Table) -> tuple[pa.Table, list[Drop]]:
    """The captions of images to train on; a regularization image must have been chosen."""
    chosen = {(row["set"], row["md5"]) for row in dataset.table(CHOSEN).to_pylist()}
    reg = dataset.sets("reg")
    keys = list(zip(captions["set"].to_pylist(), captions["md5"].to_pylist(), strict=True))
    kept = [key[0] not in reg or key in chosen for key in keys]
    drops = [
        Drop(*key, "not chosen for regularization")
        for key, keep in zip(keys, kept, strict=True)
        if not keep
    ]
    return captions.filter(pa.array(kept, pa.bool_())), drops


def _table(dataset: Dataset, captions: pa.Table) -> pa.Table:
    """One row per caption: facts of its image, post and set beside the tags as they stand."""
    images = {row["md5"]: row for row in dataset.images.read().to_pylist()}
    posts = {row["id"]: row for row in dataset.posts.columns("rating", "score").to_pylist()}
    groups = dataset.table(GROUPS).select(["md5", "family"]).to_pylist()
    family = {row["md5"]: row["family"] for row in groups}
    post_of: dict[tuple[str, str], int] = {}
    for member in dataset.members().sort_by("post_id").to_pylist():
        post_of.setdefault((member["set"], member["md5"]), member["post_id"])
    rows: list[dict[str, Any]] = []
    for name, md5 in zip(captions["set"].to_pylist(), captions["md5"].to_pylist(), strict=True):
        part, image = dataset.recipe.sets[name], images[md5]
        post = posts.get(post_of[name, md5], {})
        rows.append(
            {
                "path": image["path"],
                "width": image["width"],
                "height": image["height"],
                "split": "train",
                # duplicates and variants are one family: it never parts over a split
                "group": md5 if family[md5] is None else f"post {family[md5]}",
                "is_reg": part.role == "reg",
                "repeats": part.repeats,
                "weight": part.weight,
                "rating": post.get("rating"),
                "score": post.get("score"),
            }
        )
    given = [field for field in MANIFEST.schema if field.name not in captions.column_names]
    table = pa.Table.from_pylist(rows, schema=pa.schema(given))
    for name in ("set", "md5", "caption"):
        table = table.append_column(name, captions[name])
    return table.append_column("tags", _tags(captions["tags"].combine_chunks()))


def _tags(tags: pa.ListArray) -> pa.ListArray:
    """What training needs of each tag: its text, its category, its part of the caption."""
    flat = tags.flatten()
    columns = [flat.field("text"), flat.field("category"), flat.field("part")]
    ends = pc.cumulative_sum(tags.value_lengths())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
    structs = pa.StructArray.from_arrays(columns, fields=list(TAG))
    return pa.ListArray.from_arrays(offsets, structs)


def given_out(dataset: Dataset) -> Path:
    """Where a copy of the manifest lies as it was written: what edits of it are told by."""
    return dataset.root / "tables" / "manifest.parquet"


def edited_by_hand(dataset: Dataset) -> bool:
    """Whether manifest.parquet is there and is none that this stage wrote."""
    if not dataset.manifest.is_file() or intact(dataset):
        return False
    own = given_out(dataset)  # written first: a kill may have come before the seal
    return not (own.is_file() and sha256_of(own) == sha256_of(dataset.manifest))


def _refuse_edited(dataset: Dataset) -> None:
    """Nobody's work is overwritten. Raises DatasetError where the manifest was edited by hand."""
    if edited_by_hand(dataset):
        raise DatasetError(
            f"{dataset.manifest} was changed since it was made here: `prep edit --from"
            f" {dataset.manifest.name}` takes its captions as edits;"
            " remove the file to throw the changes away"
        )
