"""Pixels to train on, drawn by as many processes as there are cores."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from prep.demo.drawing import draw
from prep.demo.portrait import Portrait
from schemas import progress

CHUNK = 32  # drawings a job

Pixels = npt.NDArray[np.uint8]


def drawn(
    portrait: Callable[[int, int], Portrait], seed: int, rows: range, width: int, height: int
) -> Pixels:
    """The pictures of `portrait(seed, row)`: uint8 [n, height, width, 3]; `portrait` pickles."""
    if len(rows) <= CHUNK:  # sooner drawn than processes are started
        return _part(portrait, seed, width, height, rows)
    pixels = np.empty((len(rows), height, width, 3), np.uint8)
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    with (
        ProcessPoolExecutor(mp_context=get_context("spawn")) as pool,
        progress.task(f"draw {width}x{height}", len(rows), "drawings") as advance,
    ):
        done = 0
        for part in pool.map(partial(_part, portrait, seed, width, height), chunks):
            pixels[done : done + len(part)] = part
            done += len(part)
            advance(len(part))
    return pixels


def _part(
    portrait: Callable[[int, int], Portrait], seed: int, width: int, height: int, rows: range
) -> Pixels:
    return np.stack([np.asarray(draw(portrait(seed, row), width, height)) for row in rows])
