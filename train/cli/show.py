"""What `train evaluate` looks like, for people."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from train.evaluate import CheckpointResult, Evaluation
from train.read_back import Figures

WEAKEST = 8  # tags that are shown


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
