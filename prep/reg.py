"""Regularization images: those of the reg sets that are not, nor are near, what is learnt."""

import numpy as np
import pyarrow as pa

from prep import hamming, seals
from prep.dataset import Dataset
from prep.seals import Drop, Seal
from schemas.files import fingerprint, sha256_of
from schemas.tables import CHOSEN, GROUPS, MEMBERS

STAGE = "reg"


def inputs(dataset: Dataset) -> str:
    """What shapes this stage: the groups, who is reg, and how near is too near."""
    grouped = seals.read_seal(dataset.root, "dedup")
    roles = {name: part.role for name, part in dataset.recipe.sets.items()}
    return fingerprint(grouped and grouped.output, roles, dataset.recipe.dedup.bits)


def reg(dataset: Dataset) -> Seal:
    """Choose the keepers of the reg sets that share no near-duplicate with any training image."""
    shaped_by = inputs(dataset)
    with seals.timed(dataset.root, STAGE):
        groups = dataset.table(GROUPS).to_pylist()
        reg_sets = dataset.sets("reg")
        candidates = [
            (row["set"], row["md5"])
            for row in groups
            if row["set"] in reg_sets and row["md5"] == row["keeper"]
        ]
        # every training image counts, the duplicates that were not kept as well, and of a
        # picture that was replaced the one that came
        learnt = {row["md5"] for row in groups if row["set"] not in reg_sets}
        learnt |= {md5 for md5, by in dataset.replacements().items() if by in learnt}
        leaks = _leaks(dataset, [md5 for _, md5 in candidates], sorted(learnt))
        drops = [
            Drop(name, md5, "near a training image") for name, md5 in candidates if md5 in leaks
        ]
        chosen = [{"set": name, "md5": md5} for name, md5 in candidates if md5 not in leaks]
        path = dataset.path_of(CHOSEN)
        CHOSEN.write(path, pa.Table.from_pylist(chosen, schema=CHOSEN.schema))
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=shaped_by,
            output=sha256_of(path)[:16],
            rows_in=len(candidates),
            rows_out=len(chosen),
            drops=drops,
        )


def _leaks(dataset: Dataset, candidates: list[str], learnt: list[str]) -> set[str]:
    """The candidates whose pHash, or pixels by the site's word, are those of a training image."""
    if not candidates or not learnt:
        return set()
    phash = {
        row["md5"]: row["phash"]
        for row in dataset.hashes.columns("phash").to_pylist()
        if row["phash"] is not None
    }
    near = hamming.near_any(
        np.array([phash[md5] for md5 in candidates], np.uint64),
        np.array([phash[md5] for md5 in learnt if md5 in phash], np.uint64),
        dataset.recipe.dedup.bits,
    )
    told = dataset.posts.columns("id", "pixel_hash").to_pylist()
    of_post = {row["id"]: row["pixel_hash"] for row in told if row["pixel_hash"]}
    # by the image that a post became here, which need not be its original
    pixels = {
        row["md5"]: of_post[row["post_id"]]
        for row in dataset.table(MEMBERS).to_pylist()
        if row["post_id"] in of_post
    }
    learnt_pixels = {pixels[md5] for md5 in learnt if md5 in pixels}
    return {
        md5
        for md5, too_near in zip(candidates, near.tolist(), strict=True)
        if too_near or pixels.get(md5) in learnt_pixels
    }
