"""Progress of a long step: a bar with rate and time left on a terminal, plain lines elsewhere.

Libraries call `task` and `say`; both are silent until a command calls `show()`. Everything goes to
stderr, so that stdout stays free for results and `--json`.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[..., None]
PLAIN_INTERVAL = 10.0  # seconds between plain lines
BESIDE = 16  # characters of a note that stand beside a bar on 80 columns; longer ones go beneath

_console: "Console | None" = None


def show() -> None:
    """Let `task` and `say` be seen, on stderr."""
    from rich.console import Console

    global _console
    _console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One line for the person who waits (the device in use, what was skipped)."""
    if _console is not None:
        _console.print(text, markup=False)


@contextmanager
def task(label: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Yield `advance(n=1, note="")` for a step of `total` units (None: not known beforehand)."""
    if _console is None:
        yield lambda n=1, note="": None
    elif _console.is_terminal and not _console.is_dumb_terminal:
        with _bar(_console, label, total, unit) as advance:
            yield advance
    else:
        lines = _Lines(label, total, unit)
        yield lines.advance
        lines.finish()


@contextmanager
def _bar(console: "Console", label: str, total: int | None, unit: str) -> Iterator[Advance]:
    from rich.console import RenderableType
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Task as RichTask
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: RichTask) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.1f} {unit}/s" if speed else f"- {unit}/s")

    class Noted(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            if note := self.tasks[0].fields["long"] if self.tasks else "":
                yield Text(note, no_wrap=True, overflow="ellipsis")

    with Noted(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    ) as bar:
        handle = bar.add_task(label, total=total, note="", long="")

        def advance(n: int = 1, note: str | None = None) -> None:
            bar.advance(handle, n)
            if note is not None:
                beneath = len(note) > BESIDE
                bar.update(handle, note="" if beneath else note, long=note if beneath else "")

        yield advance


class _Lines:
    """Plain progress for logs: a line now and then, and one at the end."""

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self.note = 0, ""
        self.start = self.printed = time.monotonic()

    def advance(self, n: int = 1, note: str | None = None) -> None:
        self.done += n
        if note is not None:
            self.note = note
        if time.monotonic() - self.printed >= PLAIN_INTERVAL:
            self._print()

    def finish(self) -> None:
        self._print()

    def _print(self) -> None:
        self.printed = time.monotonic()
        elapsed = max(self.printed - self.start, 1e-6)
        rate = self.done / elapsed
        count = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        line = f"{self.label}: {count} {self.unit}, {rate:,.1f}/s, {elapsed:.0f} s"
        if self.total is not None and 0 < self.done < self.total:
            line += f", {(self.total - self.done) / rate:.0f} s left"
        print(f"{line} {self.note}".rstrip(), file=sys.stderr, flush=True)
