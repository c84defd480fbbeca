"""Many image files through a tagger: decoding in threads ahead of inference, results in order."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from taggers.images import Pixels, Unreadable, preprocess, read
from taggers.wd14 import Tagger

Key = TypeVar("Key")
Row = npt.NDArray[np.float32]  # [labels]
AHEAD = 3  # batches decoded or being decoded while one is in inference


@dataclass(frozen=True)
class Dropped:
    """An image that could not be read: a reason to count by, and a sentence naming the file."""

    reason: str
    text: str


def stream(
    tagger: Tagger, items: Iterable[tuple[Key, Path | Image.Image]], workers: int | None = None
) -> Iterator[tuple[Key, Row | Dropped]]:
    """Yield (key, probabilities float32 [labels], or why there are none), in the order of `items`.

    `items` are taken only as fast as they are worked off. `workers`: decoding threads (None: one
    a core, at most 8). A row does not depend on the images beside it.
    """
    waiting: deque[tuple[Key, Future[Pixels]]] = deque()
    rest = iter(items)
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1), "decode") as pool:
        try:
            while True:
                wanted = (1 + AHEAD) * tagger.batch - len(waiting)
                for key, source in islice(rest, max(0, wanted)):
                    waiting.append((key, pool.submit(_pixels, source, tagger.size)))
                if not waiting:
                    return
                count = min(tagger.batch, len(waiting))
                yield from _infer(tagger, [waiting.popleft() for _ in range(count)])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _infer(
    tagger: Tagger, batch: list[tuple[Key, Future[Pixels]]]
) -> list[tuple[Key, Row | Dropped]]:
    decoded = [(key, _outcome(future)) for key, future in batch]
    pixels = [value for _, value in decoded if not isinstance(value, Dropped)]
    rows = iter(tagger.probabilities(np.stack(pixels)) if pixels else ())
    return [(key, value if isinstance(value, Dropped) else next(rows)) for key, value in decoded]


def _outcome(future: Future[Pixels]) -> Pixels | Dropped:
    try:
        return future.result()
    except Unreadable as error:
        return Dropped(error.reason, str(error))


def _pixels(source: Path | Image.Image, size: int) -> Pixels:
    image = source if isinstance(source, Image.Image) else read(source, size)
    return preprocess(image, size)
