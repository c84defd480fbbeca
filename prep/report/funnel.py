"""How many images are left after each stage, by set, and what took the others away."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from prep import seals
from prep.dataset import Dataset
from prep.report.html import Html, element
from prep.report.run import Run, seen
from schemas.tables import CAPTIONS, GROUPS, MANIFEST


@dataclass(frozen=True)
class Level:
    """One step of the chain: how much of each set is there, and what fell away before it."""

    name: str
    counts: Mapping[str, int]  # by set
    lost: Mapping[str, int] = field(default_factory=dict)  # by reason

    @property
    def total(self) -> int:
        """Over all sets."""
        return sum(self.counts.values())


def levels(dataset: Dataset, run: Run | None) -> list[Level]:
    """Return the levels that the dataset has reached so far."""
    if seals.read_seal(dataset.root, "fetch") is None:
        return []
    members = dataset.members()
    dropped = seals.read_drops(dataset.root, "fetch")
    images = members.group_by(["set", "md5"]).aggregate([])
    found = [
        Level(_listed(dataset), _by_set(members) + _by_set(dropped)),
        Level("files fetched", _by_set(members), _reasons(dropped)),
    ]
    if shared := members.num_rows - images.num_rows:
        lost = {"posts of an image that another has": shared}
        found.append(Level("images", _by_set(images), lost))
    groups = dataset.table(GROUPS)
    keepers = groups.filter(pc.equal(groups["md5"], groups["keeper"]))
    made = {
        "dedup": ("without duplicates", keepers),
        "caption": ("captioned", dataset.table(CAPTIONS)),
        "manifest": ("in the manifest", _manifest(dataset)),
    }
    for stage, (name, table) in made.items():
        if seals.read_seal(dataset.root, stage) is None:
            return found
        found.append(Level(name, _by_set(table), _dropped(dataset, stage)))
    if seals.read_seal(dataset.root, "latents") is None:
        return found
    drops = seals.read_drops(dataset.root, "latents")
    encoded = _by_set(_manifest(dataset)) - _by_set(drops)
    found.append(Level("encoded", encoded, _reasons(drops)))
    if run is not None and (exposures := seen(run)) is not None:
        trained, left_out = exposures
        found.append(Level("trained on", trained, left_out - Counter(found[-1].lost)))
    return found


def funnel(levels: Sequence[Level], reg: Sequence[str]) -> Html:
    """Draw the levels as bars under each other; regularization sets have a shade of their own."""
    most = max((level.total for level in levels), default=1) or 1
    return element("ol", (_row(level, most, reg) for level in levels), class_="funnel")


def _row(level: Level, most: int, reg: Sequence[str]) -> Html:
    bars = (
        element(
            "i",
            class_="reg" if name in reg else "learnt",
            style=f"width:{number / most:.2%}",
            title=f"{name}: {number:,}",
        )
        for name, number in sorted(level.counts.items(), key=lambda item: item[0] in reg)
        if number
    )
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in level.lost.items())
    return element(
        "li",
        element("b", f"{level.total:,}"),
        element("span", level.name, class_="name"),
        element("span", bars, class_="track"),
        element("small", f"left out: {reasons}") if reasons else None,
    )


def sets_table(dataset: Dataset, levels: Sequence[Level]) -> Html:
    """Return the recipe's sets: what was asked for, what for, and how much came of it."""
    words = [element("th", name, scope="col") for name in ("set", "asked for", "role")]
    numbers = [element("th", name, scope="col", class_="number") for name in ("repeats", "images")]
    at = levels[-1].counts if levels else {}
    rows = (
        element(
            "tr",
            element("th", name, scope="row"),
            element("td", element("code", part.query or part.folder)),
            element("td", "to learn" if part.role == "train" else "regularization"),
            element("td", part.repeats, class_="number"),
            element("td", f"{at.get(name, 0):,}", class_="number"),
        )
        for name, part in dataset.recipe.sets.items()
    )
    head = element("tr", words, numbers)
    table = element("table", element("thead", head), element("tbody", rows))
    return element("div", table, class_="scroll sets")


def described(levels: Sequence[Level]) -> str:
    """Return the funnel in one sentence."""
    if not levels:
        return ""
    first, last = levels[0], levels[-1]
    return f"{first.total:,} {first.name}, {last.total:,} {last.name}." if last != first else ""


def _listed(dataset: Dataset) -> str:
    """What the sets are made of, as the first level names it."""
    queried = {bool(part.query) for part in dataset.recipe.sets.values()}
    if queried == {True}:
        return "posts listed"
    return "files found" if queried == {False} else "posts and files found"


def _manifest(dataset: Dataset) -> pa.Table:
    path = dataset.manifest
    return MANIFEST.read(path) if path.is_file() else MANIFEST.empty()


def _dropped(dataset: Dataset, stage: str) -> Counter[str]:
    return _reasons(seals.read_drops(dataset.root, stage))


def _reasons(drops: pa.Table) -> Counter[str]:
    return Counter(sorted(drops["reason"].to_pylist()))


def _by_set(table: pa.Table) -> Counter[str]:
    return Counter(table["set"].to_pylist())
