"""`prep lint`: every check over the captions, in the order of how much they matter."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from prep.dataset import Dataset
from prep.lint import bleeding, contradictions, length, people, untagged
from prep.lint.evidence import Evidence, gather
from prep.lint.finding import Finding
from prep.lint.frequency import CONSTANT, RARE, frequency
from prep.lint.regularization import EMPTY, GENERATED, regularization
from prep.lint.trigger import NO_TRIGGER, NOT_THERE, SHARED, trigger
from prep.lint.words import Words
from schemas.tables import FINDINGS

CHECKS = (
    trigger, bleeding.bleeding, people.people, untagged.untagged, contradictions.contradictions,
    regularization, length.length, frequency,
)  # fmt: skip
NAMES = (  # of all findings there are
    NOT_THERE, SHARED, bleeding.NAME, people.NAME, untagged.NAME, contradictions.NAME, EMPTY,
    GENERATED, length.NAME, NO_TRIGGER, CONSTANT, RARE,
)  # fmt: skip


def lint(dataset: Dataset, words: Words, limit: int = 225) -> tuple[Evidence, list[Finding]]:
    """Return what is amiss, the grave first; writes nothing.

    `words`: how the model to train cuts tags; `limit`: tokens of a caption that training reads.
    Raises DatasetError where there are no captions of these images.
    """
    evidence = gather(dataset, words, limit)
    found = [finding for check in CHECKS for finding in check(evidence)]
    return evidence, sorted(found, key=lambda finding: not finding.grave)


def report_path(dataset: Dataset) -> Path:
    """Where the images of each finding are listed."""
    return dataset.root / "reports" / f"{FINDINGS.name}.parquet"


def write_report(evidence: Evidence, found: Sequence[Finding]) -> Path:
    """Write every image of every finding, and return where."""
    path = report_path(evidence.dataset)
    places = np.concatenate([np.empty(0, np.int64), *(finding.images for finding in found)])
    number = np.repeat(np.arange(len(found)), [len(finding.images) for finding in found])
    rows = pa.table(
        {
            "finding": pa.array(number + 1, pa.int32()),
            "name": pa.array([one.name for one in found], pa.string()).take(pa.array(number)),
            "set": pa.array(list(evidence.images.sets), pa.string()).take(pa.array(places)),
            "md5": pa.array(list(evidence.images.md5s), pa.string()).take(pa.array(places)),
        },
        schema=FINDINGS.schema,
    )
    FINDINGS.write(path, rows)
    return path
