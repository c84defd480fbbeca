"""Which images are one picture, and which of them stands for it. Selects, never deletes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep import hamming, seals
from prep.dataset import HASHED_AS, REMOVED, Dataset
from prep.families import families
from prep.hashes import hash_missing
from prep.likeness import Likeness
from prep.seals import Drop, Seal
from schemas.files import fingerprint, sha256_of
from schemas.tables import EXCLUDED, GROUPS, MEMBERS

STAGE = "dedup"
NAMES = ("md5", "keeper")  # the columns of groups that name images
RULES = 3  # of what makes two images one; another number groups all anew
LOSSLESS = ("png", "bmp", "webp")


@dataclass(frozen=True)
class Candidate:
    """An image of one set, with what the keeper is chosen by."""

    md5: str
    worth: Mapping[str, int]  # by each of the recipe's criteria, the greater the better
    pixel_hash: str | None
    phash: int
    hashed: str  # md5 of the picture that was hashed: its own, or of what replaced it


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
        hash_missing(dataset)
        drops: list[Drop] = []
        rows: list[dict[str, object]] = []
        earlier = {} if refit else _earlier_keepers(dataset)
        for name, candidates in _candidates(dataset, drops).items():
            rows += _group(dataset, name, candidates, earlier.get(name, set()))
        rows = _standing(dataset, rows)
        drops += [
            Drop(str(row["set"]), str(row["md5"]), "duplicate", f"of {row['keeper']}")
            for row in rows
            if row["md5"] != row["keeper"]
        ]
        path = dataset.path_of(GROUPS)
        GROUPS.write(path, _with_families(dataset, rows))
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
    policy = dataset.recipe.dedup.model_dump(mode="json", exclude={"merge_tags"})
    return fingerprint(policy, HASHED_AS, RULES)


def _candidates(dataset: Dataset, drops: list[Drop]) -> dict[str, list[Candidate]]:
    """The images of each set that can stand for themselves; the others go to `drops`."""
    posts = {row["id"]: row for row in _post_facts(dataset)}
    images = {row["md5"]: row for row in dataset.images.read().to_pylist()}
    hashes = {row["md5"]: row for row in dataset.hashes.columns("phash", "problem").to_pylist()}
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
            found[name].setdefault(md5, _candidate(image, post, hashed))
    return {
        name: sorted(
            candidates.values(),
            key=lambda one: preference(one.worth, one.md5, dataset.recipe.dedup.keep),
        )
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
    return list(dataset.posts.columns("md5", "score", "pixel_hash").to_pylist())


def _candidate(
    image: Mapping[str, Any], post: Mapping[str, Any], hashed: Mapping[str, Any]
) -> Candidate:
    return Candidate(
        md5=image["md5"],
        worth=worth(image, post.get("score", 0), post.get("id", 0)),
        # of an imported picture the post may describe other bytes: a larger file, an uncut one
        pixel_hash=post.get("pixel_hash") if post.get("md5") == image["md5"] else None,
        phash=hashed["phash"],
        hashed=hashed["md5"],
    )


def worth(image: Mapping[str, Any], score: int, post: int) -> dict[str, int]:
    """Return what an image is worth by each criterion of `dedup.keep`, the greater the better.

    image: its row in the table of images. post: the id of its first post, 0 where it has none.
    """
    return {
        "score": score,
        "pixels": image["width"] * image["height"],
        "lossless": image["path"].rpartition(".")[2] in LOSSLESS,
        "oldest": -post if post > 0 else -(1 << 62),  # those without a post of this site come last
        "bytes": image["bytes"],
    }


def preference(worth: Mapping[str, int], md5: str, keep: Iterable[str]) -> tuple[object, ...]:
    """Sort the better keeper first; the md5 settles what the recipe leaves open."""
    return (*(-worth[name] for name in keep), md5)


def _group(
    dataset: Dataset, name: str, candidates: list[Candidate], earlier: set[str]
) -> list[dict[str, object]]:
    hashes = np.array([candidate.phash for candidate in candidates], dtype=np.uint64)
    keeper = hamming.stars(
        hashes,
        dataset.recipe.dedup.bits,
        kept=[i for i, candidate in enumerate(candidates) if candidate.md5 in earlier],
        same=[candidate.pixel_hash for candidate in candidates],
        judge=partial(_judge, dataset, candidates),
    )
    distance = np.bitwise_count(hashes ^ hashes[keeper])
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


def _judge(dataset: Dataset, candidates: list[Candidate], places: hamming.Indices) -> hamming.Alike:
    """What tells whether two of the candidates at `places` look alike; reads those alone."""
    md5s = pa.array([candidates[place].hashed for place in places.tolist()], pa.string())
    rows = dataset.hashes.take(md5s, "small")
    likeness = Likeness.of(rows["small"].to_pylist())
    row = np.zeros(len(candidates), np.int64)
    row[places] = np.asarray(pc.index_in(md5s, value_set=rows["md5"].combine_chunks()))
    return lambda first, second: likeness.alike(row[first], row[second])


def _with_families(dataset: Dataset, rows: Iterable[Mapping[str, object]]) -> pa.Table:
    groups = pa.Table.from_pylist(list(rows), schema=GROUPS.schema)
    posts = dataset.posts.columns("id", "parent_id")
    # a post whose file was not fetched has parents and children too
    family = families(posts, pa.concat_tables([dataset.members(), dataset.twins()]), groups)
    column = pa.array([family.get(md5) for md5 in groups["md5"].to_pylist()], pa.int64())
    return groups.set_column(groups.schema.get_field_index("family"), "family", column)


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
