"""What each stage has finished: a seal beside its tables, its drops, and a line in the log.

A stage is fresh when the fingerprint of what it would read now is the one in its seal. The seal
holds no times, so that the same inputs leave the same files; seconds go to logs/stages.jsonl.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa

from schemas.files import write_json
from schemas.tables import DROPS

STAGES = ("fetch", "dedup", "tag", "caption", "reg", "manifest", "latents")


@dataclass(frozen=True)
class Seal:
    """One finished stage: what it read, what it made, and how many rows went where."""

    inputs: str  # fingerprint of all that shaped the result
    output: str  # fingerprint of the result
    rows_in: int
    rows_out: int
    dropped: dict[str, int] = field(default_factory=dict)  # by reason
    fitted: str = ""  # fingerprint of what a frozen choice was made by


@dataclass(frozen=True)
class Drop:
    """One thing that does not go on, and why."""

    set: str
    item: str  # "post 123" or an md5
    reason: str  # few words, the same for all drops of a kind
    detail: str = ""


def read_seal(root: Path, stage: str) -> Seal | None:
    """Return the stage's seal; None when it never finished, or its file is damaged."""
    try:
        return Seal(**json.loads(_path(root, stage).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_seal(
    root: Path, stage: str, *, inputs: str, output: str, rows_in: int, rows_out: int,
    drops: list[Drop], fitted: str = "",
) -> Seal:  # fmt: skip
    """Keep the drops with their reasons, then seal the stage."""
    rows = [{"stage": stage, **asdict(drop)} for drop in drops]
    distinct = {tuple(row[name] for name in DROPS.key): row for row in rows}
    table = pa.Table.from_pylist(list(distinct.values()), schema=DROPS.schema)
    DROPS.write(drops_path(root, stage), table)
    counts = Counter(row["reason"] for row in distinct.values())
    seal = Seal(inputs, output, rows_in, rows_out, dict(sorted(counts.items())), fitted)
    write_json(_path(root, stage), asdict(seal))
    return seal


def read_drops(root: Path, stage: str) -> pa.Table:
    """Return what the stage dropped when it last finished."""
    path = drops_path(root, stage)
    return DROPS.read(path) if path.exists() else DROPS.empty()


def drops_of(root: Path, stage: str) -> list[Drop]:
    """Return the same as they were given to `write_seal`."""
    names = ("set", "item", "reason", "detail")
    return [Drop(*(row[name] for name in names)) for row in read_drops(root, stage).to_pylist()]


def drops_path(root: Path, stage: str) -> Path:
    """Where the stage's drops are listed."""
    return root / "reports" / "drops" / f"{stage}.parquet"


@contextmanager
def timed(root: Path, stage: str) -> Iterator[None]:
    """Log how long a stage took, when it ends well."""
    start = time.monotonic()
    yield
    path = root / "logs" / "stages.jsonl"
    path.parent.mkdir(exist_ok=True)
    line = {
        "stage": stage,
        "seconds": round(time.monotonic() - start, 3),
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def seconds_of(root: Path) -> dict[str, float]:
    """Return how long each stage took when it last ran."""
    path = root / "logs" / "stages.jsonl"
    if not path.exists():
        return {}
    latest: dict[str, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            latest[entry["stage"]] = float(entry["seconds"])
        except (ValueError, KeyError, TypeError):
            continue  # a line cut short by a kill
    return latest


def _path(root: Path, stage: str) -> Path:
    return root / "tables" / f"{stage}.seal.json"
