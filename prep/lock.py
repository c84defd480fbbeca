"""One process at a time in a dataset folder: two would write each other's tables."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from schemas.errors import Failure


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the folder's lock within the block. Raises Failure when another process holds it.

    The system frees the lock when its holder ends, however it ends: a kill leaves nothing behind.
    """
    path = root / "logs" / "lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        try:
            _take(file)
        except OSError:
            raise Failure(
                f"{root}: another prep is at work in this folder: wait until it is done"
            ) from None
        yield


if sys.platform == "win32":
    import msvcrt

    def _take(file: IO[str]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
