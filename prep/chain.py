"""The chain: its steps in order, which of them are fresh, and doing those that are not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prep import caption, dedup, fetch, manifest, reg, seals, tag
from prep.dataset import Dataset
from prep.lock import locked
from prep.seals import Seal
from schemas.errors import DatasetError, KirokuError
from schemas.progress import say


@dataclass(frozen=True)
class Step:
    """One stage as the chain sees it."""

    name: str
    needs: tuple[str, ...]  # stages that must have finished
    inputs: Callable[[Dataset], str]  # fingerprint of all that shapes the result now
    work: Callable[[Dataset], Seal]
    intact: Callable[[Dataset], bool] = lambda dataset: True  # whether the result is still there


@dataclass(frozen=True)
class Status:
    """What `prep status` says of one stage."""

    name: str
    rows_in: int
    rows_out: int
    dropped: dict[str, int]
    stale: bool
    seconds: float
    wanted: str  # why it is stale; "" when it is not
    bytes: int  # that its results take on disk


STEPS = (
    Step("fetch", (), fetch.inputs, fetch.update),
    Step("dedup", ("fetch",), dedup.inputs, dedup.dedup),
    Step("tag", ("fetch",), tag.inputs, tag.tag, tag.intact),
    Step("caption", ("dedup", "tag"), caption.inputs, caption.caption),
    Step("reg", ("dedup", "caption"), reg.inputs, reg.reg),
    Step("manifest", ("caption", "reg"), manifest.inputs, manifest.manifest, manifest.intact),
)

FOLDERS = {
    "fetch": (
        "images",
        "tables/posts",
        "tables/images",
        "tables/variants",
        "tables/members.parquet",
        "tables/twins.parquet",
        "tables/shown.parquet",
        "tables/site_tags.parquet",
        "tables/fetched.json",
    ),
    "dedup": ("tables/hashes", "tables/groups.parquet"),
    "tag": ("tables/probs", "tables/thresholds.parquet"),
    "caption": ("tables/captions.parquet", "tables/percentiles.parquet"),
    "reg": ("tables/chosen.parquet", "tables/reg_choices.json"),
    "manifest": ("manifest.parquet",),
    "latents": ("latents",),
}


def run(dataset: Dataset, steps: Sequence[Step] = STEPS) -> list[str]:
    """Do, in order, every step that is not fresh; return their names."""
    with locked(dataset.root):
        dataset.note_removed()
        done = []
        for step in steps:
            if _why_stale(dataset, step):
                say(summary(step.name, step.work(dataset)))
                done.append(step.name)
    return done


def run_one(dataset: Dataset, step: Step, work: Callable[[Dataset], Seal] | None = None) -> Seal:
    """Do one step, whether it is fresh or not. Raises DatasetError when it lacks what it needs."""
    with locked(dataset.root):
        dataset.note_removed()
        check_needs(dataset, step)
        seal = (work or step.work)(dataset)
    say(summary(step.name, seal))
    return seal


def check_needs(dataset: Dataset, step: Step) -> None:
    """Tell which stages that a step needs are not up to date.

    Raises DatasetError when one has never finished.
    """
    for needed in step.needs:
        if seals.read_seal(dataset.root, needed) is None:
            raise DatasetError(
                f"{dataset.root}: {step.name} needs what `prep {needed}` makes:"
                " run that first, or `prep run` for all that is wanted"
            )
    for other in STEPS:
        if other.name in step.needs and _why_stale(dataset, other):
            say(f"{step.name}: {other.name} is not up to date; `prep run` does all of it")


def status(dataset: Dataset, steps: Sequence[Step] = STEPS) -> list[Status]:
    """Return where each stage stands, without doing any work."""
    dataset.note_removed()
    seconds = seals.seconds_of(dataset.root)
    found = []
    upstream_stale = False
    for step in steps:
        seal = seals.read_seal(dataset.root, step.name) or Seal("", "", 0, 0)
        why = _why_stale(dataset, step) or ("an earlier stage changes first" * upstream_stale)
        upstream_stale |= bool(why)
        found.append(
            Status(
                name=step.name,
                rows_in=seal.rows_in,
                rows_out=seal.rows_out,
                dropped=seal.dropped,
                stale=bool(why),
                seconds=seconds.get(step.name, 0.0),
                wanted=why,
                bytes=sum(_bytes(dataset.root / name) for name in FOLDERS[step.name]),
            )
        )
    return found


def summary(name: str, seal: Seal) -> str:
    """One line: rows in, rows out, dropped by reason."""
    drops = ", ".join(f"{count} {reason}" for reason, count in seal.dropped.items())
    return f"{name}: {seal.rows_in} in, {seal.rows_out} out" + (f"; dropped: {drops}" * bool(drops))


def _why_stale(dataset: Dataset, step: Step) -> str:
    seal = seals.read_seal(dataset.root, step.name)
    if seal is None:
        return "has not run yet"
    try:
        if step.inputs(dataset) != seal.inputs:
            return "what it reads has changed"
    except KirokuError as error:
        return str(error)
    return "" if step.intact(dataset) else "its result was changed or removed"


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
