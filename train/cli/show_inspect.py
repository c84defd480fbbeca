"""What an inspected adapter looks like, for people."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from train.inspect import Inspection, Part
from train.kinds import SPOKEN

TAGS = 12  # that are shown
BAR = 20  # characters of the longest
TRAINED = {  # what of the metadata is shown, and the unit behind it
    "ss_steps": " steps",
    "ss_optimizer": "",
    "ss_learning_rate": " rate",
    "ss_lr_scheduler": "",
    "ss_resolution": " px",
    "ss_num_train_images": " images with repeats",
    "modelspec.date": "",
}


def inspection(found: Inspection) -> None:
    """Print the kind, the figures of each block with a bar of how much it changes, the tags."""
    console = Console(highlight=False)
    console.print(found.file, markup=False, soft_wrap=True)
    about = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    about.add_column(no_wrap=True)
    about.add_column(overflow="fold")
    for name, text in _about(found).items():
        if text:
            about.add_row(name, text)
    console.print(about)
    console.print()
    console.print(_blocks(found))
    for problem in found.problems:
        console.print(problem, markup=False, soft_wrap=True)


def _about(found: Inspection) -> Mapping[str, str]:
    model = {"sd2": "SD2", **SPOKEN}.get(found.model, "another model")
    base = [name for name in (found.base_model, found.base_model_hash) if name]
    tags = [f"{tag} {count}" for tag, count in list(found.tags.items())[:TAGS]]
    more = len(found.tags) - len(tags)
    trained = [
        found.metadata[key] + unit
        for key, unit in TRAINED.items()
        if found.metadata.get(key, "None") != "None"
    ]
    return {
        "kind": f"{found.kind} of {model}; {found.naming}'s names, {found.precision}",
        "modules": f"{found.whole.modules}, {found.parameters:,} parameters",
        "dim": _counted(found.whole.dims, found.whole.modules),
        "alpha": _counted(found.whole.alphas, found.whole.modules),
        "3x3": f"{found.wide.modules} of the modules" if found.wide.modules else "",
        "base model": ", ".join(base),
        "trained": ", ".join(trained),
        "tags": ", ".join(tags) + (f" and {more} more" if more > 0 else ""),
    }


def _counted(values: Mapping[int, int] | Mapping[float, int], modules: int) -> str:
    """Values with how many modules have each, where they are not all the same."""
    if len(values) == 1 and set(values.values()) == {modules}:
        return f"{next(iter(values)):g}"
    return ", ".join(f"{value:g} in {count}" for value, count in values.items())


def _blocks(found: Inspection) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("block")
    for title in ("modules", "dim", "alpha", "norm"):
        table.add_column(title, justify="right")
    table.add_column("")
    most = max((part.norm or 0.0 for part in found.blocks.values()), default=0.0)
    for block, part in found.blocks.items():
        table.add_row(
            *(block, str(part.modules), _range(part.dims), _range(part.alphas)),
            *(_norm(part), _bar(part, most)),
        )
    return table


def _range(values: Mapping[int, int] | Mapping[float, int]) -> str:
    if not values:
        return "-"
    least, most = min(values), max(values)
    return f"{least:g}" if least == most else f"{least:g}-{most:g}"


def _norm(part: Part) -> str:
    return "-" if part.norm is None else f"{part.norm:.3g}"


def _bar(part: Part, most: float) -> str:
    if part.norm is None or not 0 < most < float("inf"):
        return ""
    return "█" * round(BAR * part.norm / most)
