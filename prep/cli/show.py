"""What `prep status` and `prep doctor` look like, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from prep.chain import Status
from prep.doctor import Finding

JSON_FIELDS = ("name", "rows_in", "rows_out", "dropped", "stale", "seconds")


def status(stages: Sequence[Status]) -> None:
    """Print the stages as a table, and what is wanted below it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("stage", "in", "out", "dropped", "bytes", "seconds", "state"):
        numeric = title in ("in", "out", "bytes", "seconds")
        table.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for stage in stages:
        table.add_row(
            stage.name,
            f"{stage.rows_in:,}",
            f"{stage.rows_out:,}",
            ", ".join(f"{count} {reason}" for reason, count in stage.dropped.items()),
            _size(stage.bytes),
            f"{stage.seconds:,.1f}",
            "[yellow]wanted[/]" if stage.stale else "[green]fresh[/]",
        )
    console = Console(highlight=False)
    console.print(table)
    for stage in stages:
        if stage.stale:
            console.print(f"{stage.name} is wanted: {stage.wanted}", markup=False, soft_wrap=True)
    if any(stage.stale for stage in stages):
        console.print("`prep run` does all that is wanted")


def status_json(stages: Sequence[Status]) -> str:
    """Return the stages as one JSON object."""
    rows = [{name: asdict(stage)[name] for name in JSON_FIELDS} for stage in stages]
    return json.dumps({"stages": rows}, ensure_ascii=False, indent=1)


def doctor(findings: Sequence[Finding]) -> None:
    """Print one line per finding, with the remedy where there is one."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for finding in findings:
        mark = "[green]ok[/]" if finding.well else "[red]no[/]"
        remedy = f"\n[yellow]{finding.remedy}[/]" if finding.remedy else ""
        table.add_row(mark, finding.name, finding.found + remedy)
    Console(highlight=False).print(table)


def doctor_json(findings: Sequence[Finding]) -> str:
    """Return the findings as one JSON object."""
    return json.dumps({"findings": [asdict(one) for one in findings]}, ensure_ascii=False, indent=1)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
