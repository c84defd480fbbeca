"""`prep fetch --plan` for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prep.dataset import Dataset
from prep.fetch import site_of
from prep.missing_files import RESERVE, told
from prep.plan import FetchPlan, ListingPlan, SetPlan, plan

UNKNOWN = "not known"
MANY = 1000  # tags: more than any search has


def show(folder: Path, changes: Sequence[str], *, as_json: bool) -> None:
    """Make the plan of a dataset's fetch and print it."""
    dataset = Dataset.open(folder, changes)
    made = plan(dataset, site_of(dataset))
    if as_json:
        print(json.dumps(asdict(made), ensure_ascii=False, indent=1))
    else:
        options = dataset.recipe.fetch
        pace = f"{options.requests_per_second:g} requests and {options.files_per_second:g} files/s"
        _print(made, pace)


def _print(made: FetchPlan, pace: str) -> None:
    console = Console(highlight=False)
    tags = "as many tags as one likes" if made.tag_limit > MANY else f"{made.tag_limit} tags"
    console.print(f"account: {made.level}, {tags} at a time", markup=False)
    for one in made.sets:
        console.print(f"\n{one.name}: {one.query}", markup=False, style="bold", soft_wrap=True)
        console.print(_rows(_set_rows(one)))
    for name, where in made.folders.items():
        console.print(f"\n{name}: the folder {where}", markup=False, style="bold", soft_wrap=True)
    console.print("\nall of it", style="bold")
    console.print(
        _rows(
            [
                ("requests", _number(made.requests)),
                ("files", _number(made.files)),
                ("bytes", _bytes(made.bytes)),
                ("time", f"{_time(made.seconds)} at {pace}"),
                ("free on the disk", _bytes(made.free)),
            ]
        )
    )
    if made.bytes is not None and made.bytes > made.free - RESERVE:
        console.print(
            f"[red]it will not fit[/], as {told(RESERVE)} of the disk are kept free:"
            " free some space, or lower a limit"
        )


def _set_rows(one: SetPlan) -> list[tuple[str, str]]:
    rows = []
    for listing in one.listings:
        rows.append(("asked of the site", f"{listing.asked or '(everything)'}{_answers(listing)}"))
        rows.append(("tested here", listing.tested_here or "nothing"))
    if one.sorted_by:
        rows.append(("sorted by", one.sorted_by))
    if one.limit:
        rows.append(("at most", f"{one.limit:,} files"))
    here = f", {one.held:,} are here already" * (one.held > 0)
    rows.append(("posts", _about(one.posts)))
    rows.append(("files", f"{_about(one.files)}, {_bytes(one.bytes)}{here}"))
    rows += [("note", note) for note in one.notes]
    return rows


def _answers(listing: ListingPlan) -> str:
    return f"  ({_number(listing.posts)} posts, {_number(listing.requests)} requests)"


def _rows(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _about(count: int | None) -> str:
    return UNKNOWN if count is None else f"about {count:,}"


def _number(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def _bytes(count: int | None) -> str:
    if count is None:
        return UNKNOWN
    return told(count)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
