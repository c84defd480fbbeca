"""Every image through the taggers once; probabilities are kept, thresholds come later."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from prep import calibration, knowledge, seals
from prep.cache import fill
from prep.dataset import Dataset
from prep.fetch import site_of
from prep.probabilities import index_path, labels_path
from prep.seals import Drop, Seal
from schemas.errors import DataError
from schemas.files import fingerprint, sha256_of, write_bytes, write_json
from schemas.progress import say
from schemas.tables import PROBABILITIES, THRESHOLDS
from taggers.locate import Files, locate
from taggers.stream import Dropped, stream
from taggers.thresholds import LEAST
from taggers.wd14 import Tagger, load

STAGE = "tag"
AT_ONCE = 64  # images whose probabilities are kept together


def inputs(dataset: Dataset) -> str:
    """What shapes this stage: the images, the taggers' bytes, and what thresholds are fitted by."""
    options = dataset.recipe.tag
    keys = [files.key for files in _located(dataset).values()]
    fitted = [options.combine, sorted(options.weight.items())] if options.calibrated else []
    return fingerprint(dataset.images.digest(), keys, fitted)


def intact(dataset: Dataset) -> bool:
    """Whether the fitted thresholds are there, where the recipe wants them."""
    return not dataset.recipe.tag.calibrated or dataset.path_of(THRESHOLDS).is_file()


def tag(dataset: Dataset, *, calibrate: bool = False, refit: bool = False) -> Seal:
    """Run what is missing through each tagger of the recipe. A bad image is one dropped row.

    `calibrate`, or `calibrated` in the recipe: fit thresholds per tag, if there is no fit to these
    taggers yet. `refit`: fit them anew.
    """
    located = _located(dataset)
    shaped_by = inputs(dataset)
    with seals.timed(dataset.root, STAGE):
        images = {
            row["md5"]: dataset.root / row["path"]
            for row in dataset.images.read().to_pylist()
            if row["problem"] is None
        }
        there = [md5 for md5, path in images.items() if path.is_file()]
        drops: list[Drop] = []
        ran = 0
        for name, files in located.items():
            ran += _fill(dataset, name, files, images, there)
            drops += _problems(dataset, files.key)
        write_json(index_path(dataset), {name: files.key for name, files in located.items()})
        if ran:  # it may have seen tags that no post has
            knowledge.learn(dataset, site_of(dataset))
        in_use = dataset.recipe.tag.calibrated
        fitted = _fitted(dataset, wanted=calibrate or refit or in_use, refit=refit)
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=shaped_by,
            output=fingerprint(
                [dataset.probabilities(files.key).digest() for files in located.values()],
                sha256_of(dataset.path_of(THRESHOLDS)) if in_use else "",
            ),
            rows_in=len(there),
            rows_out=len(there) - len({drop.item for drop in drops}),
            drops=drops,
            fitted=fitted,
        )


def _fitted(dataset: Dataset, *, wanted: bool, refit: bool) -> str:
    """By what the thresholds were fitted, now or earlier; "" when they never were."""
    seal = seals.read_seal(dataset.root, STAGE)
    there = seal is not None and dataset.path_of(THRESHOLDS).is_file()
    kept = seal.fitted if seal is not None and there else ""
    made_by = calibration.made_by(dataset)
    if wanted and (refit or kept != made_by):
        calibration.calibrate(dataset)
        return made_by
    return kept


def _located(dataset: Dataset) -> dict[str, Files]:
    """The taggers' files; a folder may be given from the dataset folder."""
    found = {}
    for name in dataset.recipe.tag.taggers:
        folder = dataset.root / name
        found[name] = locate(folder if folder.is_dir() else name)
    return found


def _fill(
    dataset: Dataset, name: str, files: Files, images: Mapping[str, Path], there: Sequence[str]
) -> int:
    cache = dataset.probabilities(files.key)

    def work(md5s: Sequence[str]) -> Iterator[pa.Table]:
        # opened only here: a session costs seconds, and mostly nothing is missing
        tagger = load(files, dataset.recipe.tag.device)
        say(tagger.describe())
        yield from _rows(tagger, [(md5, images[md5]) for md5 in md5s])

    if not labels_path(dataset, files.key).is_file():
        write_bytes(labels_path(dataset, files.key), files.tags.read_bytes())
    return fill(cache, there, work, f"tag: {Path(name).name}")


def _rows(tagger: Tagger, items: Sequence[tuple[str, Path]]) -> Iterator[pa.Table]:
    """Probabilities of at least LEAST, the likeliest first, in tables of AT_ONCE images."""
    rows: list[dict[str, object]] = []
    for md5, outcome in stream(tagger, items):
        if isinstance(outcome, Dropped):
            rows.append({"md5": md5, "labels": [], "values": [], "problem": outcome.reason})
        else:
            if not np.isfinite(outcome).all():
                raise DataError(
                    f"tagger {tagger.name}: image {md5} gave probabilities that are no numbers"
                )
            order = np.argsort(-outcome, kind="stable")
            order = order[outcome[order] >= LEAST]
            rows.append({"md5": md5, "labels": order, "values": outcome[order], "problem": None})
        if len(rows) == AT_ONCE:
            yield pa.Table.from_pylist(rows, schema=PROBABILITIES.schema)
            rows = []
    yield pa.Table.from_pylist(rows, schema=PROBABILITIES.schema)


def _problems(dataset: Dataset, key: str) -> list[Drop]:
    rows = dataset.probabilities(key).columns("problem").to_pylist()
    return [
        Drop("", row["md5"], "unreadable image", row["problem"]) for row in rows if row["problem"]
    ]
