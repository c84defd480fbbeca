"""Files written whole or not at all: aside, fsynced, renamed. And the names of bytes."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from schemas.errors import DiskError

ASIDE = ".aside"  # suffix of files not yet whole; `prep gc` frees those a kill left behind
CHUNK = 1 << 20


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a path aside; when the block ends well its bytes are synced and take `path`'s place.

    Raises DiskError when there is no space or no permission; the old file then stays as it was.
    """
    aside = path.with_name(f"{path.name}.{uuid4().hex[:8]}{ASIDE}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        with aside.open("rb+") as written:
            os.fsync(written.fileno())
        aside.replace(path)
    except OSError as error:
        _discard(aside)
        if told := disk_error(error, path):
            raise told from error
        raise
    except BaseException:
        _discard(aside)
        raise


def disk_error(error: OSError, path: Path) -> DiskError | None:
    """No space or no permission, in clear words; None where it is something else."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError(f"no space left to write {path}: free some, then run the command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DiskError(f"no permission to write {path}: change it, or choose another folder")
    return None


def put(place: Path, make: Callable[[Path], object]) -> None:
    """Let `make` write a file aside, which then takes its place: none is written into.

    Not synced, unlike what `writing` writes: for what can be made again in no time.
    """
    aside = place.with_name(place.name + ASIDE)
    place.parent.mkdir(parents=True, exist_ok=True)
    aside.unlink(missing_ok=True)  # left by a kill; nothing can be linked to it
    make(aside)
    aside.replace(place)


def link(source: Path, place: Path) -> bool:
    """Let `place` be `source` by another name; False on another drive, or where none can be."""
    try:
        put(place, partial(os.link, source))
    except OSError:
        return False
    return True


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with writing(path) as aside:
        aside.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 with `\\n` line ends, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON with sorted keys, so that the same value is the same bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def sha256_of(*paths: Path) -> str:
    """Hex SHA-256 over the bytes of the files, in order: what a model *is*, whatever its name."""
    return _digest(paths, hashlib.sha256)


def md5_of(path: Path) -> str:
    """Hex md5 of a file's bytes: the name of an image."""
    return _digest([path], lambda: hashlib.md5(usedforsecurity=False))


def fingerprint(*parts: Any) -> str:
    """16 hex digits that name the values (anything JSON can hold) that shaped a result."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _discard(aside: Path) -> None:
    with contextlib.suppress(OSError):  # what went wrong is told by the error at hand
        aside.unlink()


def _digest(paths: Any, make: Callable[[], Any]) -> str:
    digest = make()
    for path in paths:
        with Path(path).open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return str(digest.hexdigest())
