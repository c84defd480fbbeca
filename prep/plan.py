"""What a fetch would do: `prep fetch --plan`. Counts and a sample page or two; no downloads."""

import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from prep.booru.client import ABOVE_ALL, NUMBERED_PAGES, PAGE, BooruClient
from prep.dataset import Dataset
from prep.listing import read_page, read_queries, splits_of
from prep.query.ast import Not, clauses
from prep.query.render import render, text
from prep.query.split import Split
from schemas.progress import task
from schemas.tables import MEMBERS, TWINS, Table


@dataclass(frozen=True)
class ListingPlan:
    """One listing on the site. posts: that answer to what is asked; None: the site cannot say."""

    asked: str
    tested_here: str
    posts: int | None
    requests: int | None


@dataclass(frozen=True)
class SetPlan:
    """What fetching one set is expected to cost. None: not known, as the site cannot count.

    posts: that the query finds; files: to download; held: that are here already; bytes: of `files`.
    """

    name: str
    query: str
    listings: tuple[ListingPlan, ...]
    sorted_by: str  # "", "the site", "us"
    limit: int
    posts: int | None
    files: int | None
    held: int
    bytes: int | None
    requests: int | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FetchPlan:
    """The plan of a whole fetch. seconds: at the recipe's pace, if the line is quick enough."""

    level: str
    tag_limit: int
    sets: tuple[SetPlan, ...]
    folders: dict[str, str]  # of the sets that take no query
    free: int  # bytes on the disk
    bytes: int | None
    requests: int | None
    files: int | None
    seconds: float | None


@dataclass
class _Sample:
    """What a page or two of a listing say of the rest."""

    listed: int = 0
    passing: int = 0
    usable: int = 0
    sizes: list[int] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the listed posts, those that pass what is tested here."""
        return self.passing / self.listed if self.listed else 0.0

    @property
    def usable_share(self) -> float:
        """Of the listed posts, those that pass and whose files can be used."""
        return self.usable / self.listed if self.listed else 0.0


def plan(dataset: Dataset, client: BooruClient) -> FetchPlan:
    """Return what a fetch would ask for and bring, downloading nothing.

    Costs a few requests: the account, the counts among which there is a choice, and for each
    listing one count and at most two pages of posts. Raises QueryError and SiteError as fetch does.
    """
    recipe, now = dataset.recipe, datetime.now(UTC)
    queries = read_queries(recipe.sets)
    splits = splits_of(client, recipe.sets, queries, now)
    sets = []
    with task("fetch: planning", len(splits), "sets") as advance:
        for name, found in splits.items():
            sets.append(_set_plan(dataset, client, name, found, now))
            advance()
    folders = {name: part.folder for name, part in recipe.sets.items() if part.folder}
    requests, files = _sum(one.requests for one in sets), _sum(one.files for one in sets)
    options = recipe.fetch
    return FetchPlan(
        level=client.level(),
        tag_limit=client.tag_limit(),
        sets=tuple(sets),
        folders=folders,
        free=shutil.disk_usage(dataset.root).free,
        bytes=_sum(one.bytes for one in sets),
        requests=requests,
        files=files,
        seconds=None
        if requests is None or files is None
        else requests / options.requests_per_second + files / options.files_per_second,
    )


def _set_plan(
    dataset: Dataset, client: BooruClient, name: str, found: Split, now: datetime
) -> SetPlan:
    samples: list[_Sample] = []
    counts: list[int | None] = []
    for part in found.parts:
        # an order narrows nothing, and costs a tag
        counts.append(client.count(text(part.sent)))
        samples.append(_sampled(client, found, len(samples), counts[-1], dataset, now))
    listings = tuple(
        ListingPlan(
            found.asked(part),
            "" if part.whole else text(part.tested),
            posts,
            _pages(found, posts, sample),
        )
        for part, posts, sample in zip(found.parts, counts, samples, strict=True)
    )
    pairs = list(zip(counts, samples, strict=True))
    posts = _sum(None if n is None else round(n * sample.share) for n, sample in pairs)
    usable = _sum(None if n is None else round(n * sample.usable_share) for n, sample in pairs)
    if found.limit and usable is not None:
        usable = min(usable, found.limit)
    elif found.limit:
        usable = found.limit
    held = _rows(dataset, MEMBERS, name)
    # of posts with the pixels of one that is here none is downloaded
    files = None if usable is None else max(usable - held - _rows(dataset, TWINS, name), 0)
    sizes = [size for sample in samples for size in sample.sizes]
    mean = sum(sizes) / len(sizes) if sizes else 0.0
    return SetPlan(
        name=name,
        query=render(found.query),
        listings=listings,
        sorted_by="the site" if found.ordered else "us" if found.sort else "",
        limit=found.limit,
        posts=posts,
        files=files,
        held=held,
        bytes=None if files is None else round(files * mean),
        requests=_sum(one.requests for one in listings),
        notes=tuple(_notes(found, counts)),
    )


def _sampled(
    client: BooruClient,
    found: Split,
    number: int,
    count: int | None,
    dataset: Dataset,
    now: datetime,
) -> _Sample:
    """Look at the newest page, and at one from the middle: older files are smaller."""
    part, sample = found.parts[number], _Sample()
    below, asked = ABOVE_ALL, text(part.sent)
    for _ in range(2):
        page = client.page(asked, below)
        rows, posts = read_page(page, part, dataset.recipe.fetch, now)
        usable = [post.id for post in posts if post.unusable is None]
        sizes = rows.filter(pc.is_in(rows["id"], value_set=pa.array(usable, pa.int64())))
        sample.listed += len(page)
        sample.passing += len(posts)
        sample.usable += len(usable)
        sample.sizes += sizes["file_size"].to_pylist()
        if not page or (count is not None and count <= 2 * PAGE):
            break
        below = max(int(post["id"]) for post in page) // 2
    return sample


def _pages(found: Split, posts: int | None, sample: _Sample) -> int | None:
    """Requests that a listing takes: its pages and the empty one, or as many as the limit wants."""
    all_of_them = None if posts is None else math.ceil(posts / PAGE) + 1
    if found.ordered and all_of_them is not None:
        all_of_them = min(all_of_them, NUMBERED_PAGES)
    if not found.stops_early or not sample.usable:
        return all_of_them
    enough = math.ceil(found.limit / sample.usable_share / PAGE)
    return enough if all_of_them is None else min(enough, all_of_them)


def _notes(found: Split, counts: Sequence[int | None]) -> list[str]:
    notes = []
    order = found.query.order
    if found.sort:
        notes.append(
            f"order:{order} does not go to the site with the rest: all is listed, then sorted here"
        )
    elif order and not found.limit:
        notes.append(f"order:{order} changes nothing without a limit")
    for part, count in zip(found.parts, counts, strict=True):
        asked = clauses(part.sent)
        if not found.stops_early and all(isinstance(clause, Not) for clause in asked):
            but = f' but for "{text(part.sent)}"' if asked else ""
            notes.append(
                f"every post of the site{but} is listed: name a tag that all wanted posts have"
            )
        if count == 0:
            notes.append(
                f'no post answers to "{text(part.sent)}": check the spelling of its tags there'
            )
        if count is None:
            notes.append(f'the site takes too long to count "{text(part.sent)}"')
    return notes


def _rows(dataset: Dataset, table: Table, name: str) -> int:
    """How many rows of a table are of this set."""
    return int(pc.sum(pc.equal(dataset.table(table)["set"], name)).as_py() or 0)


def _sum(numbers: Iterable[int | None]) -> int | None:
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total
