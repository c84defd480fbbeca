"""A dataset's own pictures as the measure: what is on them, and what its tagger reads in them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas import replaced
from schemas.errors import DatasetError
from schemas.parts import read_parts
from schemas.progress import task
from schemas.recipes.load import PREP_FILE, load_prep
from schemas.recipes.prep import CaptionsSection, PrepRecipe, TagSection
from schemas.tables import (
    FOUND_FEATURES,
    IMPORTED,
    MANIFEST,
    MEMBERS,
    POSTS,
    PROBABILITIES,
    REPLACED,
)  # fmt: skip
from schemas.tags import CATEGORIES, canonical
from taggers.locate import Files, locate
from taggers.stream import Dropped, stream
from taggers.thresholds import thresholds, without_gaps
from taggers.wd14 import Tagger
from train.read_back import Bools, Floats, Real, fit_thresholds

MOST = 1000  # real pictures: with more of them no figure moves by a hundredth


@dataclass(frozen=True)
class RealPictures:
    """Real pictures, how captions speak of them, and the thresholds that follow from them."""

    real: Real
    thresholds: Floats  # [labels]
    captioned: Bools  # [pictures, labels]: tags that their captions name
    general: Bools  # [labels]: those of the category general
    texts: Mapping[int, str]  # of general labels that captions name: how they spell them
    trigger: str  # as captions spell it; "" when the dataset has none
    taught: Bools  # [pictures]: those that the trigger stands for


def read_prep(folder: Path) -> PrepRecipe | None:
    """Return prep.toml of a dataset folder; None where there is none."""
    path = folder / PREP_FILE
    return load_prep(path) if path.is_file() else None


def find_tagger(folder: Path, prep: PrepRecipe | None, given: str) -> Files:
    """Return the tagger to read with: the `given`, else the first of the dataset's prep.toml.

    Raises DatasetError when nothing names one, ModelError when it is not to be had.
    """
    if given:
        return locate(given)
    if prep is None:
        raise DatasetError(
            f"{folder} has no {PREP_FILE}, which names the dataset's tagger: name one with --tagger"
        )
    inside = folder / prep.tag.taggers[0]
    return locate(inside if inside.is_dir() else prep.tag.taggers[0])


def read_pictures(manifest: Path, prep: PrepRecipe | None, tagger: Tagger) -> RealPictures:
    """Read at most MOST pictures of a manifest, from the cached probabilities or the files.

    Raises DatasetError when none can be read, DataError when a table is broken.
    """
    folder = manifest.parent
    rows = _rows(manifest)
    names = tuple(canonical(label.name) for label in tagger.labels)
    found, probabilities = _probabilities(folder, rows, tagger)
    rows = [rows[place] for place in found]
    if not rows:
        raise DatasetError(
            f"none of the images that {manifest} names can be read: there is nothing real to"
            " measure against"
        )
    options = prep.tag if prep is not None else TagSection()
    usual = thresholds(tagger.labels, without_gaps(options))
    truth = _marked(_shown(folder, rows), names)
    fitted = fit_thresholds(probabilities, truth, usual)
    trigger = _trigger(rows)
    return RealPictures(
        real=Real(names, truth, probabilities >= fitted),
        thresholds=fitted,
        captioned=_marked([{canonical(tag["tag"]) for tag in row["tags"]} for row in rows], names),
        general=np.array([label.category == "general" for label in tagger.labels]),
        texts=_texts(rows, {name: label for label, name in enumerate(names)}),
        trigger=trigger,
        taught=np.array([trigger != "" and trigger in _triggers(row) for row in rows]),
    )


def find_signature(
    folder: Path,
    prep: PrepRecipe | None,
    pictures: RealPictures,
    given: Sequence[str],
    where: str = "--signature",
) -> tuple[str, ...]:
    """Return the tags that the trigger stands for, of those that the tagger knows.

    They are the `given`; else what prep.toml collapses into the trigger; else the general tags that
    the tagger reads in most of the trigger's pictures, without those that say what is in a picture
    of anybody. Raises DatasetError when a given one, which stands in `where`, is unknown to the
    tagger.
    """
    real = pictures.real
    if unknown := [tag for tag in given if tag not in real.columns]:
        raise DatasetError(f'{where}: the tagger knows no tag "{unknown[0]}"')
    if not pictures.trigger:
        return ()
    options = prep.caption if prep is not None else CaptionsSection()
    tags: Sequence[str] = given or _collapsed(folder, options)
    if not tags:
        often = real.read[pictures.taught].mean(axis=0) >= options.collapse.share
        spared = set(map(canonical, options.collapse.spare))
        tags = [
            real.names[label]
            for label in np.flatnonzero(often & pictures.general)
            if real.names[label] not in spared
        ]
    return tuple(sorted({tag for tag in tags if tag in real.columns}))


def _collapsed(folder: Path, options: CaptionsSection) -> list[str]:
    """The features that prep.toml declares, or that `prep caption` has found."""
    if "collapse" not in options.rules:
        return []
    if options.collapse.tags != "found":
        return [canonical(tag) for tag in options.collapse.tags]
    path = folder / FOUND_FEATURES
    return list(json.loads(path.read_text(encoding="utf-8"))["tags"]) if path.is_file() else []


def _rows(manifest: Path) -> list[dict[str, Any]]:
    """At most MOST rows, one an image, in the order of their md5: as good as drawn by lot."""
    if not manifest.is_file():
        raise DatasetError(
            f"data {manifest} is missing: `prep manifest` writes it, or name the folder that the"
            " recipe's paths start at with --data"
        )
    table = MANIFEST.read(manifest).sort_by([("md5", "ascending"), ("is_reg", "ascending")])
    md5s = table.column("md5").to_pylist()
    first = [place for place, md5 in enumerate(md5s) if place == 0 or md5 != md5s[place - 1]]
    rows: list[dict[str, Any]] = table.take(first[:MOST]).to_pylist()
    return rows


def _probabilities(
    folder: Path, rows: Sequence[Mapping[str, Any]], tagger: Tagger
) -> tuple[list[int], Floats]:
    """The places of the rows that could be read, and their probabilities, [rows, labels]."""
    kept = read_parts(folder / "tables" / "probs" / tagger.key, PROBABILITIES)
    md5s = pa.array([row["md5"] for row in rows], pa.string())
    kept = kept.filter(pc.is_in(kept.column("md5"), md5s))
    known = {row["md5"]: row for row in kept.to_pylist() if row["problem"] is None}
    read: dict[int, Floats] = {}
    missing = []
    for place, row in enumerate(rows):
        if row["md5"] in known:
            read[place] = np.zeros(len(tagger.labels), np.float32)
            read[place][known[row["md5"]]["labels"]] = known[row["md5"]]["values"]
        else:
            missing.append((place, folder / row["path"]))
    if missing:
        with task("reading real pictures", len(missing), "pictures") as advance:
            for place, outcome in stream(tagger, missing):
                if not isinstance(outcome, Dropped):
                    read[place] = outcome
                advance()
    places = sorted(read)
    return places, np.array([read[place] for place in places], np.float32)


def _shown(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[set[str]]:
    """What is on each picture: the tags of its post, else of its text file, else its caption's."""
    tables = folder / "tables"
    md5s = pa.array([row["md5"] for row in rows], pa.string())
    shown = [
        {canonical(tag["tag"]) for tag in row["tags"] if tag["category"] in CATEGORIES}
        for row in rows
    ]
    place = {row["md5"]: number for number, row in enumerate(rows)}
    path = tables / "replaced.parquet"
    stands = replaced.current(REPLACED.read(path)) if path.is_file() else {}
    if (path := tables / "imported.parquet").is_file():
        imported = replaced.resolved(IMPORTED.read(path), stands)
        for row in imported.filter(pc.is_in(imported.column("md5"), md5s)).to_pylist():
            if row["tags"]:
                shown[place[row["md5"]]] = set(row["tags"])
    if (path := tables / "members.parquet").is_file():
        members = replaced.resolved(MEMBERS.read(path), stands)
        members = members.filter(pc.is_in(members.column("md5"), md5s))
        post_of = {row["post_id"]: row["md5"] for row in members.to_pylist()}
        posts = read_parts(tables / "posts", POSTS).sort_by([("id", "descending")])
        wanted = pa.array(list(post_of), pa.int64())
        # of several posts of one picture the first speaks, as it does for captions
        for row in posts.filter(pc.is_in(posts.column("id"), wanted)).to_pylist():
            tags = {tag for category in CATEGORIES for tag in row[category]}
            shown[place[post_of[row["id"]]]] = tags
    return shown


def _marked(tags: Sequence[set[str]], names: Sequence[str]) -> Bools:
    """Return [rows, labels]: which rows have which tag."""
    columns: dict[str, list[int]] = {}
    for label, name in enumerate(names):
        columns.setdefault(name, []).append(label)
    marked = np.zeros((len(tags), len(names)), dtype=bool)
    for row, own in enumerate(tags):
        for tag in own:
            marked[row, columns.get(tag, [])] = True
    return marked


def _texts(rows: Sequence[Mapping[str, Any]], labels: Mapping[str, int]) -> dict[int, str]:
    return {
        labels[name]: tag["tag"]
        for row in rows
        for tag in row["tags"]
        if tag["category"] == "general" and (name := canonical(tag["tag"])) in labels
    }


def _triggers(row: Mapping[str, Any]) -> list[str]:
    return [tag["tag"] for tag in row["tags"] if tag["category"] == "trigger"]


def _trigger(rows: Sequence[Mapping[str, Any]]) -> str:
    """The trigger that most captions begin with."""
    counted = Counter(trigger for row in rows for trigger in _triggers(row))
    return counted.most_common(1)[0][0] if counted else ""
