"""What the runs and the results of experiments look like, for people and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from schemas.experiment_results import ExperimentResult
from train.compare.compare import PlannedRun


def runs(planned: Sequence[PlannedRun], as_json: bool) -> None:
    """Print every run with what is left to do for it, and the hours of that."""
    if as_json:
        print(json.dumps([asdict(one) for one in planned], ensure_ascii=False, indent=1))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("experiment", "arm", "seed", "state", "training"):
        table.add_column(title, justify="right" if title in ("seed", "training") else "left")
    for one in planned:
        took = "" if one.seconds is None else _time(one.seconds)
        table.add_row(one.experiment, one.arm, str(one.seed), one.state, took)
    console = Console(highlight=False)
    console.print(table)
    waiting = [one for one in planned if one.state in ("to go on", "to train")]
    shared = {one.training: one for one in reversed(waiting) if one.training}
    left = [*shared.values(), *(one for one in waiting if not one.training)]
    known = [one.seconds for one in left if one.seconds is not None]
    text = f"{len(planned)} runs, {len(left)} trainings to do"
    if known:
        text += f": {_time(sum(known))}"
        text += f", and {len(left) - len(known)} of unknown length" * (len(known) < len(left))
    console.print(f"\n{text}")


def results(found: Sequence[ExperimentResult], folder: Path, as_json: bool) -> None:
    """Print what each experiment came to, and where its page lies."""
    if as_json:
        told = [one.model_dump(mode="json") for one in found]
        print(json.dumps(told, ensure_ascii=False, indent=1))
        return
    for one in found:
        print(f"{one.name}: {one.verdict}\n{folder / f'{one.name}.html'}")


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
