"""The one table that training reads: one row per image of a set, checked."""

from typing import Any

import pyarrow as pa

from prep import seals
from prep.dataset import Dataset
from prep.seals import Drop, Seal
from schemas.errors import DatasetError
from schemas.files import fingerprint, sha256_of
from schemas.progress import say
from schemas.tables import CAPTIONS, CHOSEN, MANIFEST, MEMBERS

STAGE = "manifest"


def inputs(dataset: Dataset) -> str:
    """What shapes this stage: captions, the reg choice, posts, and the sets' figures."""
    upstream = [seals.read_seal(dataset.root, name) for name in ("fetch", "caption", "reg")]
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
    """Write manifest.parquet; one that was edited by hand is put beside it first.

    Raises DatasetError when no image is left to train on.
    """
    shaped_by = inputs(dataset)
    with seals.timed(dataset.root, STAGE):
        captions = dataset.table(CAPTIONS)
        rows, drops = _rows(dataset, captions)
        if all(row["is_reg"] for row in rows):
            raise DatasetError(
                f"{dataset.root}: no image is left to train on;"
                " `prep status` shows where they were dropped and why"
            )
        _keep_edited(dataset)
        MANIFEST.write(dataset.manifest, pa.Table.from_pylist(rows, schema=MANIFEST.schema))
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=shaped_by,
            output=sha256_of(dataset.manifest)[:16],
            rows_in=captions.num_rows,
            rows_out=len(rows),
            drops=drops,
        )


def _rows(dataset: Dataset, captions: pa.Table) -> tuple[list[dict[str, Any]], list[Drop]]:
    recipe_sets = dataset.recipe.sets
    images = {row["md5"]: row for row in dataset.images.read().to_pylist()}
    facts = ["id", "parent_id", "rating", "score"]
    posts = {row["id"]: row for row in dataset.posts.read().select(facts).to_pylist()}
    post_of: dict[tuple[str, str], int] = {}
    for member in dataset.table(MEMBERS).sort_by("post_id").to_pylist():
        post_of.setdefault((member["set"], member["md5"]), member["post_id"])
    chosen = {(row["set"], row["md5"]) for row in dataset.table(CHOSEN).to_pylist()}
    rows: list[dict[str, Any]] = []
    drops: list[Drop] = []
    for captioned in captions.to_pylist():
        key = name, md5 = captioned["set"], captioned["md5"]
        part, image = recipe_sets[name], images[md5]
        post = posts.get(post_of[key], {})
        if part.role == "reg" and key not in chosen:
            drops.append(Drop(name, md5, "not chosen for regularization"))
            continue
        rows.append(
            {
                "md5": md5,
                "path": image["path"],
                "width": image["width"],
                "height": image["height"],
                "set": name,
                "split": "train",
                # a post and its children are variants: they never part over a split
                "group": f"post {post['parent_id'] or post['id']}" if post else md5,
                "is_reg": part.role == "reg",
                "repeats": part.repeats,
                "weight": part.weight,
                "rating": post.get("rating"),
                "score": post.get("score"),
                "caption": captioned["caption"],
                "tags": [
                    {"tag": tag["text"], "category": tag["category"], "part": tag["part"]}
                    for tag in captioned["tags"]
                ],
            }
        )
    return rows, drops


def _keep_edited(dataset: Dataset) -> None:
    """Nobody's work is overwritten: a manifest that is not ours goes beside the new one."""
    if dataset.manifest.is_file() and not intact(dataset):
        beside = dataset.root / f"manifest.{sha256_of(dataset.manifest)[:8]}.parquet"
        dataset.manifest.replace(beside)
        say(f"manifest.parquet was not written by this dataset's last run: kept as {beside.name}")
