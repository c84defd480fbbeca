"""Which images are one picture, and which of them stands for it. Selects, never deletes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pyarrow as pa

from prep import hamming, seals
from prep.cache import fill
from prep.dataset import REMOVED, Dataset
from prep.seals import Drop, Seal
from schemas.files import fingerprint, sha256_of
from schemas.tables import EXCLUDED, GROUPS, HASHES, MEMBERS
from taggers.images import Unreadable, read, upright_rgb

STAGE = "dedup"
AT_ONCE = 256  # images whose hashes are kept together
HASHED_SIZE = 64  # pixels; a JPEG may be decoded down to three times this before it is hashed
NAMES = ("md5", "keeper")  # the columns of groups that name images
LOSSLESS = ("png", "bmp", "webp")


@dataclass(frozen=True)
class Candidate:
    """An image of one set, with what the keeper is chosen by."""

    md5: str
    score: int
    pixels: int
    lossless: bool
    age: int  # the greater the older: minus the post id; those without this site's come last
    bytes: int
    pixel_hash: str | None
    phash: int


def inputs(dataset: Dataset) -> str:
    """What shapes this stage: members, their posts and files, what was removed, the policy."""
    fetched = seals.read_seal(dataset.root, "fetch")
    removed = sorted(dataset.table(EXCLUDED).column("md5").to_pylist())
    replaced = sorted(dataset.replacements().items())
    return fingerprint(fetched and fetched.output, removed, replaced, _policy(dataset))


def dedup(dataset: Dataset, *, refit: bool = False) -> Seal:
    """Hash what is not hashed yet, then group each set around its keepers.

    A keeper stays keeper while the policy does, unless `refit`: new posts then join groups and
    reshuffle none.
    """
    shaped_by = inputs(dataset)
    with seals.timed(dataset.root, STAGE):
        _hash_missing(dataset)
        drops: list[Drop] = []
        rows: list[dict[str, object]] = []
        earlier = {} if refit else _earlier_keepers(dataset)
        for name, candidates in _candidates(dataset, drops).items():
            rows += _group(name, candidates, dataset.recipe.dedup.bits, earlier.get(name, set()))
        rows = _standing(dataset, rows)
        drops += [
            Drop(str(row["set"]), str(row["md5"]), "duplicate", f"of {row['keeper']}")
            for row in rows
            if row["md5"] != row["keeper"]
        ]
        path = dataset.path_of(GROUPS)
        GROUPS.write(path, pa.Table.from_pylist(rows, schema=GROUPS.schema))
        keepers = sum(row["md5"] == row["keeper"] for row in rows)
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=shaped_by,
            output=sha256_of(path)[:16],
            rows_in=keepers + len(drops),
            rows_out=keepers,
            drops=drops,
            fitted=_policy(dataset),
        )


def _policy(dataset: Dataset) -> str:
    return fingerprint(dataset.recipe.dedup.model_dump(mode="json"))


def _hash_missing(dataset: Dataset) -> None:
    images = dataset.images.read().to_pylist()
    usable = {row["md5"]: dataset.root / row["path"] for row in images if row["problem"] is None}
    there = [md5 for md5, path in usable.items() if path.is_file()]

    def work(md5s: Sequence[str]) -> Iterator[pa.Table]:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(md5s), AT_ONCE):
                part = md5s[start : start + AT_ONCE]
                rows = pool.map(lambda md5: _hash(md5, usable[md5]), part)
                yield pa.Table.from_pylist(list(rows), schema=HASHES.schema)

    fill(dataset.hashes, there, work, "dedup: hashing")


def _hash(md5: str, path: Path) -> dict[str, object]:
    """pHash of the picture upright over white; or why there is none."""
    try:
        picture = upright_rgb(read(path, HASHED_SIZE))
    except Unreadable as error:
        return {"md5": md5, "phash": None, "problem": error.reason}
    bits = np.packbits(imagehash.phash(picture).hash)  # row by row, the first bit the highest
    return {"md5": md5, "phash": int.from_bytes(bits.tobytes(), "big"), "problem": None}


def _candidates(dataset: Dataset, drops: list[Drop]) -> dict[str, list[Candidate]]:
    """The images of each set that can stand for themselves; the others go to `drops`."""
    posts = {row["id"]: row for row in _post_facts(dataset)}
    images = {row["md5"]: row for row in dataset.images.read().to_pylist()}
    hashes = {row["md5"]: row for row in dataset.hashes.read().to_pylist()}
    removed = set(dataset.table(EXCLUDED).column("md5").to_pylist())
    found: dict[str, dict[str, Candidate]] = {name: {} for name in dataset.recipe.sets}
    members = dataset.table(MEMBERS)
    replaced = dataset.replacements()
    for member in members.sort_by("post_id").to_pylist():
        name, md5 = member["set"], member["md5"]
        stands = replaced.get(md5, md5)
        if stands in removed:
            drops.append(Drop(name, stands, REMOVED))
        elif (hashed := _hashed(hashes, md5, stands)) is None or stands not in images:
            drops.append(Drop(name, stands, "file missing"))
        elif hashed["problem"]:
            drops.append(Drop(name, stands, "unreadable image", hashed["problem"]))
        else:
            post = posts.get(member["post_id"], {})
            image = {**images.get(md5, images[stands]), "md5": md5}
            found[name].setdefault(md5, _candidate(image, post, hashed["phash"]))
    return {
        name: sorted(candidates.values(), key=lambda one: _preference(one, dataset))
        for name, candidates in found.items()
    }


def _hashed(hashes: Mapping[str, dict[str, Any]], md5: str, stands: str) -> dict[str, Any] | None:
    """The hash that an image is grouped by: of what came, where it can be read.

    A cropped picture is still a duplicate of what the whole one was a duplicate of.
    """
    came = hashes.get(md5)
    return hashes.get(stands) if came is None or came["problem"] else came


def _standing(dataset: Dataset, rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The groups by the images that stand for the posts now; who keeps whom stays as it was."""
    replaced = dataset.replacements()
    return [
        {**row, **{column: replaced.get(str(row[column]), row[column]) for column in NAMES}}
        for row in rows
    ]


def _post_facts(dataset: Dataset) -> list[dict[str, Any]]:
    columns = ["id", "md5", "score", "pixel_hash"]
    return list(dataset.posts.read().select(columns).to_pylist())


def _candidate(image: Mapping[str, Any], post: Mapping[str, Any], phash: int) -> Candidate:
    return Candidate(
        md5=image["md5"],
        score=post.get("score", 0),
        pixels=image["width"] * image["height"],
        lossless=image["path"].rpartition(".")[2] in LOSSLESS,
        age=-post["id"] if post.get("id", 0) > 0 else -(1 << 62),
        bytes=image["bytes"],
        # of an imported picture the post may describe other bytes: a larger file, an uncut one
        pixel_hash=post.get("pixel_hash") if post.get("md5") == image["md5"] else None,
        phash=phash,
    )


def _preference(candidate: Candidate, dataset: Dataset) -> tuple[object, ...]:
    """Sorts the better keeper first; the md5 settles what the recipe leaves open."""
    worth = {
        "score": candidate.score,
        "pixels": candidate.pixels,
        "lossless": candidate.lossless,
        "oldest": candidate.age,
        "bytes": candidate.bytes,
    }
    return (*(-worth[name] for name in dataset.recipe.dedup.keep), candidate.md5)


def _group(
    name: str, candidates: list[Candidate], bits: int, earlier: set[str]
) -> list[dict[str, object]]:
    hashes = np.array([candidate.phash for candidate in candidates], dtype=np.uint64)
    first, second, _ = hamming.pairs_within(hashes, bits)
    same_first, same_second = _same_pixels(candidates)
    keeper = hamming.stars(
        len(candidates),
        np.concatenate([first, same_first]),
        np.concatenate([second, same_second]),
        [i for i, candidate in enumerate(candidates) if candidate.md5 in earlier],
    )
    distance = np.bitwise_count(hashes ^ hashes[keeper]) if len(candidates) else hashes
    return [
        {
            "set": name,
            "md5": candidate.md5,
            "keeper": candidates[stand_in].md5,
            "by": _by(candidate, candidates[stand_in]),
            "distance": int(bits_apart),
        }
        for candidate, stand_in, bits_apart in zip(candidates, keeper, distance, strict=True)
    ]


def _same_pixels(candidates: Sequence[Candidate]) -> tuple[hamming.Indices, hamming.Indices]:
    """Pairs that the site itself says decode to the same pixels."""
    holders: dict[str, list[int]] = {}
    for i, candidate in enumerate(candidates):
        if candidate.pixel_hash:
            holders.setdefault(candidate.pixel_hash, []).append(i)
    pairs = [(a, b) for same in holders.values() for i, a in enumerate(same) for b in same[i + 1 :]]
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]


def _by(candidate: Candidate, keeper: Candidate) -> str:
    if candidate is keeper:
        return "itself"
    same = candidate.pixel_hash and candidate.pixel_hash == keeper.pixel_hash
    return "pixel_hash" if same else "phash"


def _earlier_keepers(dataset: Dataset) -> dict[str, set[str]]:
    """The keepers chosen before under the same policy."""
    seal = seals.read_seal(dataset.root, STAGE)
    if seal is None or seal.fitted != _policy(dataset):
        return {}
    keepers: dict[str, set[str]] = {}
    originals = dataset.originals()
    for row in dataset.table(GROUPS).select(["set", "keeper"]).to_pylist():
        keepers.setdefault(row["set"], set()).add(originals.get(row["keeper"], row["keeper"]))
    return keepers
