"""Regularization images: of the reg sets those that are like what is learnt, and none that is it.

What is learnt, a near-duplicate of it, or what has the trigger's own tag, would teach against the
trigger. Of the others those are chosen that together have the tags, aspects and sizes of the images
to learn from, so that what differs between the two is what the trigger stands for.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep import hamming, matching, seals
from prep.dataset import Dataset
from prep.matching import Distance
from prep.reg_features import features
from prep.seals import Drop, Seal
from schemas.errors import DataError
from schemas.files import fingerprint, sha256_of, write_json
from schemas.progress import say
from schemas.tables import CAPTIONS, CHOSEN, GROUPS, MEMBERS
from schemas.tags import canonical

STAGE = "reg"
NEAR, NAMED, WORSE = "near a training image", "has the trigger's tag", "others match better"
SHOWN = 5  # such tags in a told line


@dataclass(frozen=True)
class Choice:
    """How the images of one reg set were chosen."""

    candidates: int
    chosen: int
    distance: Mapping[str, Distance]  # by what is matched
    missing: Sequence[str]  # frequent tags of what is learnt that no candidate has
    fitted: str  # what it was made by; while that stays, so does the choice


def inputs(dataset: Dataset) -> str:
    """What shapes this stage: groups, who is reg, what is matched, how near is near, the trigger.

    Captions are read for a choice that is made; one that was made does not follow them.
    """
    grouped = seals.read_seal(dataset.root, "dedup")
    recipe = dataset.recipe
    sets = {
        name: [part.role, part.repeats, _number(dataset, name, -1)]
        for name, part in recipe.sets.items()
    }
    return fingerprint(
        grouped and grouped.output, sets, recipe.reg.match, recipe.dedup.bits,
        canonical(recipe.caption.trigger),
    )  # fmt: skip


def reg(dataset: Dataset, *, refit: bool = False) -> Seal:
    """Choose the images of each reg set.

    What was chosen stays chosen while `[reg]` and the set's own keys do, unless `refit`: where more
    are wanted, or one has gone, others are added.
    """
    shaped_by = inputs(dataset)
    with seals.timed(dataset.root, STAGE):
        groups = dataset.table(GROUPS)
        captions = dataset.table(CAPTIONS)
        candidates, drops = _candidates(dataset, groups, captions)
        earlier = {} if refit else _earlier(dataset)
        came = dataset.originals()
        train = pa.array(list(dataset.sets("train")), pa.string())
        learnt = captions.filter(pc.is_in(captions["set"], value_set=train))
        chosen: list[dict[str, str]] = []
        choices: dict[str, Choice] = {}
        for name in dataset.sets("reg"):
            md5s = candidates.get(name, [])
            held = [
                place
                for place, md5 in enumerate(md5s)
                if came.get(md5, md5) in earlier.get(name, ())
            ]
            own = captions.filter(pc.equal(captions["set"], name))
            picked, choices[name] = _choose(dataset, name, own, learnt, md5s, held)
            chosen += [{"set": name, "md5": md5s[place]} for place in np.flatnonzero(picked)]
            drops += [Drop(name, md5s[place], WORSE) for place in np.flatnonzero(~picked)]
        path = dataset.path_of(CHOSEN)
        CHOSEN.write(path, pa.Table.from_pylist(chosen, schema=CHOSEN.schema))
        _keep_choices(dataset, choices)
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=shaped_by,
            output=sha256_of(path)[:16],
            rows_in=len(chosen) + len(drops),
            rows_out=len(chosen),
            drops=drops,
        )


def choices_of(dataset: Dataset) -> dict[str, Choice]:
    """Return how each reg set was chosen when that was last done; empty before."""
    path = choices_path(dataset)
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: Choice(
                one["candidates"],
                one["chosen"],
                {kind: Distance(**distance) for kind, distance in one["distance"].items()},
                one["missing"],
                one["fitted"],
            )
            for name, one in stored.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path} is not what `prep reg` wrote: remove it and run that") from None


def choices_path(dataset: Dataset) -> Path:
    """Where is kept how the choice was made, and by which keys."""
    return dataset.root / "tables" / "reg_choices.json"


def _number(dataset: Dataset, name: str, learnt: int) -> int:
    """How many are to be chosen of a set, if `learnt` images are learnt; 0: all."""
    part = dataset.recipe.sets[name]
    return part.choose or (learnt if part.query else 0)


def _candidates(
    dataset: Dataset, groups: pa.Table, captions: pa.Table
) -> tuple[dict[str, list[str]], list[Drop]]:
    """The keepers of each reg set that are nothing of what is learnt, in order; and the others."""
    reg_sets = pa.array(list(dataset.sets("reg")), pa.string())
    is_reg = pc.is_in(groups["set"], value_set=reg_sets)
    keepers = groups.filter(pc.and_(is_reg, pc.equal(groups["md5"], groups["keeper"])))
    # every training image counts, the duplicates that were not kept as well, and of a
    # picture that was replaced the one that came
    learnt = set(groups.filter(pc.invert(is_reg))["md5"].to_pylist())
    learnt |= {md5 for md5, by in dataset.replacements().items() if by in learnt}
    leaks = _leaks(dataset, keepers["md5"].to_pylist(), sorted(learnt))
    named = _named(dataset, captions)
    captioned = set(zip(captions["set"].to_pylist(), captions["md5"].to_pylist(), strict=True))
    found: dict[str, list[str]] = {}
    drops = []
    for name, md5 in zip(keepers["set"].to_pylist(), keepers["md5"].to_pylist(), strict=True):
        if (name, md5) not in captioned:
            continue  # `prep caption` has yet to run; the manifest has no row of it either
        if md5 in leaks:
            drops.append(Drop(name, md5, NEAR))
        elif (name, md5) in named:
            drops.append(Drop(name, md5, NAMED))
        else:
            found.setdefault(name, []).append(md5)
    return found, drops


def _named(dataset: Dataset, captions: pa.Table) -> set[tuple[str, str]]:
    """The regularization images, by set, whose caption has the trigger's tag."""
    trigger = canonical(dataset.recipe.caption.trigger)
    tags = captions["tags"].combine_chunks()
    named = pc.equal(tags.flatten().field("tag"), trigger)
    rows = captions.take(pc.list_parent_indices(tags).filter(named))
    return set(zip(rows["set"].to_pylist(), rows["md5"].to_pylist(), strict=True))


def _choose(
    dataset: Dataset,
    name: str,
    own: pa.Table,
    learnt: pa.Table,
    md5s: Sequence[str],
    held: Sequence[int],
) -> tuple[matching.Bools, Choice]:
    """Choose among the candidates of one set, by its own captions and those of what is learnt.

    Those `held` were chosen before.
    """
    number = _number(dataset, name, learnt.num_rows) or len(md5s)
    number = min(len(md5s), max(number, len(held)))
    own = own.take(pc.index_in(pa.array(md5s, pa.string()), value_set=own["md5"].combine_chunks()))
    kinds, missing = features(dataset, own, learnt)
    picked, distance = matching.select(kinds, len(md5s), number, held)
    choice = Choice(len(md5s), int(picked.sum()), distance, missing, _policy(dataset, name))
    _tell(name, choice)
    return picked, choice


def _tell(name: str, choice: Choice) -> None:
    if not choice.candidates:
        return
    figures = ", ".join(
        f"{kind} {one.chosen:.2f} (at random {one.random:.2f})"
        for kind, one in choice.distance.items()
    )
    say(
        f"reg {name}: {choice.chosen} of {choice.candidates} chosen"
        + f"; distance from what is learnt: {figures}" * bool(figures)
    )
    if choice.missing:
        more = f" and {len(choice.missing) - SHOWN} more" * (len(choice.missing) > SHOWN)
        say(f"reg {name}: no image of the set has {', '.join(choice.missing[:SHOWN])}{more}")


def _policy(dataset: Dataset, name: str) -> str:
    """What a choice was made by; while it stays, so does the choice."""
    return fingerprint(dataset.recipe.reg.match, dataset.recipe.sets[name].choose)


def _keep_choices(dataset: Dataset, choices: Mapping[str, Choice]) -> None:
    stored = {}
    for name, choice in choices.items():
        rounded = {
            kind: {"chosen": round(one.chosen, 6), "random": round(one.random, 6)}
            for kind, one in choice.distance.items()
        }
        stored[name] = {**asdict(choice), "distance": rounded}
    write_json(choices_path(dataset), stored)


def _earlier(dataset: Dataset) -> dict[str, set[str]]:
    """What was chosen before by the same policy, by set, as it came."""
    came = dataset.originals()
    found: dict[str, set[str]] = {
        name: set()
        for name, choice in choices_of(dataset).items()
        if name in dataset.recipe.sets and choice.fitted == _policy(dataset, name)
    }
    for row in dataset.table(CHOSEN).to_pylist():
        if row["set"] in found:
            found[row["set"]].add(came.get(row["md5"], row["md5"]))
    return found


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
