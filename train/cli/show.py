"""What a plan and `train evaluate` look like, for people."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from train.evaluate import CheckpointResult, Evaluation
from train.preflight import Plan
from train.read_back import Figures
from train.rehearsal import Cost
from train.relora import Cycle

WEAKEST = 8  # tags that are shown
SHOWN = 10  # problems


def plan(found: Plan) -> None:
    """Print what a training would do."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    places = sum(bucket.images for bucket in found.buckets)
    each = f", at {places} sizes in all" if places > found.trained else ""
    numbers = sum(math.prod(shape) for shape in found.adapter.values()) - found.modules
    told = f"{found.trained} trained{each}, {found.held_out} held out, {found.left_out} left out"
    table.add_row("images", told)
    table.add_row("cropped", f"{found.mean_crop:.1%} of an image, {found.most_crop:.1%} at most")
    lost = ", ".join(f"{count} at {limit} tokens" for limit, count in found.lost_tags.items())
    table.add_row("tags lost", lost)
    table.add_row("empty captions", str(found.empty_captions))
    table.add_row("adapter", f"{found.modules} modules, {numbers:,} parameters")
    table.add_row("steps", f"{found.steps}, {found.epochs:.1f} epochs")
    table.add_row("images seen", f"{found.images_seen} (as many steps at batch 1)")
    if found.cost is not None:
        for row in _cost(found.cost):
            table.add_row(*row)
    console.print(table)
    shapes = _table("bucket", "images")
    for bucket in found.buckets:
        shapes.add_row(f"{bucket.width}x{bucket.height}", str(bucket.images))
    console.print()
    console.print(shapes)
    for problem in found.problems[:SHOWN]:
        console.print(problem, markup=False, soft_wrap=True)
    if more := len(found.problems[SHOWN:]):
        console.print(f"and {more} more: --json lists them")


def _cost(found: Cost) -> list[tuple[str, str]]:
    """The rows of memory, time and attention."""
    memory = found.memory
    parts = ", ".join(
        f"{_size(getattr(memory, name))} {told}"
        for name, told in (
            ("weights", "frozen weights"),
            ("adapter", "adapter"),
            ("optimizer", "optimizer"),
            ("step", "activations and gradients"),
        )
    )
    rows = [("memory", f"{_size(memory.total)}: {parts}")]
    if found.pace is not None and found.hours is not None:
        pace = found.pace
        rows.append(
            (
                "time",
                f"{_hours(found.hours)}: {pace.batch:.2f} s a batch at {pace.width}x{pace.height},"
                f" measured here, {pace.optimizer:.2f} s the optimizer's step",
            )
        )
    rows.append(("attention", found.attention))
    return rows


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def cycles(planned: Sequence[Cycle]) -> None:
    """Print the cycles of a ReLoRA training, with the rate that each begins at."""
    table = _table("cycle", "sets", "steps", "rate")
    for cycle in planned:
        sets, rate = ", ".join(cycle.recipe.sets) or "all", cycle.recipe.optimizer.lr
        table.add_row(cycle.name, sets, str(cycle.steps), f"{rate:g}")
    console = Console(highlight=False)
    console.print(table)
    console.print()


def evaluation(found: Evaluation, folder: Path) -> None:
    """Print the figures, each beside what is possible and what chance gives, then the weakest tags.

    folder: where the grids of pictures lie.
    """
    console = Console(highlight=False)
    console.print(_figures(found))
    if found.signature_tags:
        console.print(f"\nsignature: {', '.join(found.signature_tags)}", soft_wrap=True)
    console.print()
    console.print(_tags(found))
    console.print()
    for name in found.grids:
        console.print(str(folder / name), markup=False, soft_wrap=True)


def _figures(found: Evaluation) -> Table:
    earlier = found.checkpoints[:-1]
    titles = ["base", *(f"step {one.step}" for one in earlier), "adapter", "real", "shuffled"]
    table = _table("", *titles)
    columns: list[Figures | CheckpointResult] = [found.base, *earlier, found.adapter]
    columns += [found.real, found.shuffled]
    table.add_row("tags asked for that are read", *(_share(one.recall) for one in columns))
    table.add_row("signature, by the trigger alone", *(_share(one.signature) for one in columns))
    table.add_row("tags read that nobody asked for", *(_count(one.unasked) for one in columns))
    return table


def _tags(found: Evaluation) -> Table:
    table = _table("weakest tags", "base", "adapter", "real")
    for one in found.tags[:WEAKEST]:
        table.add_row(one.tag, _share(one.base), _share(one.adapter), _share(one.ceiling))
    return table


def _table(first: str, *titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first)
    for title in titles:
        table.add_column(title, justify="right")
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
