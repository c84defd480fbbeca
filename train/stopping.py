"""Ctrl-C and SIGTERM in a long loop: the first asks to stop, the second takes effect at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from schemas.progress import say


@dataclass
class Stop:
    """Whether somebody asked to stop."""

    asked: bool = False


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Within the block a first signal only sets `asked`; the loop looks at it when it can stop.

    Outside the main thread, where Python hears no signals, it is never set.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for kind, handler in before.items():
            signal.signal(kind, handler)

    def ask(kind: int, frame: FrameType | None) -> None:
        stop.asked = True
        restore()
        say("stopping after this step; once more to stop at once")

    for kind in before:
        signal.signal(kind, ask)
    try:
        yield stop
    finally:
        restore()
