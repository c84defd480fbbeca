"""How quick dedup is: on files, beside imagededup's PHash; and on a million stored hashes.

    python tests/bench/bench_dedup.py files [--images N] [--drawings N] [--long PIXELS]
    python tests/bench/bench_dedup.py index [--hashes N] [--flat N] [--bits N]

`files` draws some pictures at `--long` pixels and saves each many times over as JPEG, mirrored or
not and at different qualities, until there are `--images` files. It times the bare reduced decode,
the stage's hashing and grouping, and `PHash().find_duplicates` of imagededup (0.3.3 or later, with
all its defaults), each end to end over the same files, in that order. imagededup's networks and,
where matplotlib is missing, its plots are left out: empty modules stand in.

`index` times `stars` and `near_any` on hashes as images have them: half of the bits set, some of
them likelier than others, a tenth near-copies, and `--flat` of them a few bits from one of three.
Both print one line of JSON, with CPU seconds beside the clock's, as machines may be busy.
"""

import argparse
import importlib.util
import io
import json
import os
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import MagicMock

import numpy as np
from PIL import Image

from prep.demo.drawing import draw
from prep.demo.portrait import sample
from prep.hamming import near_any, stars
from prep.hashes import HASHED_SIZE, hash_one
from prep.likeness import Likeness
from taggers.images import read

BIAS = 0.5  # of a bit, in standard deviations; drawings show half of that


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["files", "index"])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--drawings", type=int, default=100)
    parser.add_argument("--long", type=int, default=1400)
    parser.add_argument("--hashes", type=int, default=1_000_000)
    parser.add_argument("--flat", type=int, default=50_000)
    parser.add_argument("--bits", type=int, default=6)
    given = parser.parse_args()
    if given.what == "index":
        print(json.dumps(of_index(given.hashes, given.flat, given.bits)))
        return
    with TemporaryDirectory() as scratch:
        paths = made_files(Path(scratch), given.images, given.drawings, given.long)
        print(json.dumps(of_files(Path(scratch), paths, given.bits)))


def of_files(folder: Path, paths: list[Path], bits: int) -> dict[str, float]:
    phash = imagededup()(verbose=False)
    bare = timed("bare decode", lambda: in_threads(lambda path: read(path, HASHED_SIZE), paths))
    ours = timed("dedup", lambda: dedup(paths, bits))
    theirs = timed(
        "imagededup",
        lambda: phash.find_duplicates(str(folder), max_distance_threshold=bits),
    )
    rates = {name: len(paths) / seconds["seconds"] for name, seconds in
             (("bare", bare), ("dedup", ours), ("imagededup", theirs))}  # fmt: skip
    return {
        **rates,
        "over imagededup": rates["dedup"] / rates["imagededup"],
        "over imagededup, CPU": theirs["cpu"] / ours["cpu"],
        "of bare": rates["dedup"] / rates["bare"],
    }


def dedup(paths: list[Path], bits: int) -> None:
    """What the stage does with files: hash all, then group them."""
    rows = in_threads(lambda path: hash_one(path.name, path), paths)
    hashes = np.array([row["phash"] for row in rows], np.uint64)
    smalls = [row["small"] for row in rows]

    def judge(places: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        row = np.zeros(len(hashes), np.int64)
        row[places] = np.arange(len(places))
        small = Likeness.of([smalls[place] for place in places.tolist()])
        return lambda first, second: small.alike(row[first], row[second])

    stars(hashes, bits, judge=judge)


def imagededup() -> type:
    """PHash of imagededup, imported before anything is timed."""
    sys.modules |= {f"imagededup.{name}": MagicMock() for name in ("methods.cnn", "utils.models")}
    if importlib.util.find_spec("matplotlib") is None:
        for name in ("matplotlib", "matplotlib.gridspec", "matplotlib.pyplot"):
            sys.modules[name] = MagicMock()
    from imagededup.methods import PHash

    return PHash


def in_threads(work: Callable[[Path], object], paths: list[Path]) -> list:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, paths))


def of_index(count: int, flat: int, bits: int) -> dict[str, float]:
    hashes = made_hashes(count, flat)
    stood = timed("stars", lambda: stars(hashes, bits))
    near = timed("near_any", lambda: near_any(hashes[: count // 10], hashes[count // 10 :], bits))
    return {
        "stars": stood["seconds"], "stars, CPU": stood["cpu"],
        "near_any": near["seconds"], "near_any, CPU": near["cpu"], "peak GiB": peak(),
    }  # fmt: skip


def peak() -> float:
    """The most memory this process ever had, GiB; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0.0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def made_hashes(count: int, flat: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    weights = np.uint64(1) << np.arange(63, -1, -1, dtype=np.uint64)
    bias = rng.normal(0, BIAS, 64)
    bias[0] = 9  # the picture's mean
    hashes = np.empty(count, np.uint64)
    for start in range(0, count, 50_000):
        levels = rng.normal(0, 1, (min(50_000, count - start), 64)) + bias
        above = levels > np.median(levels, axis=1, keepdims=True)
        hashes[start : start + len(levels)] = (above * weights).sum(1, dtype=np.uint64)
    one = np.uint64(1)
    patterns = np.array([1 << 63, 0x8080808080808080, 0xFF << 56], np.uint64)
    hashes[:flat] = patterns[rng.integers(0, 3, flat)]
    for _ in range(4):
        flipped = one << rng.integers(0, 64, flat, dtype=np.uint64)
        hashes[:flat] ^= np.where(rng.random(flat) < 0.6, flipped, np.uint64(0))
    copies = slice(flat, flat + count // 10)
    flipped = one << rng.integers(0, 64, count // 10, dtype=np.uint64)
    hashes[copies] = hashes[-(count // 10) :] ^ flipped
    return rng.permutation(hashes)


def made_files(folder: Path, count: int, drawings: int, long: int) -> list[Path]:
    paths = []
    each = -(-count // drawings)
    for number in range(drawings):
        drawing = draw(sample(random.Random(number)), long * 5 // 7, long)
        mirrored = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for copy in range(min(each, count - len(paths))):
            paths.append(folder / f"{number:04}-{copy:03}.jpg")
            written = io.BytesIO()
            (mirrored if copy % 2 else drawing).save(written, "JPEG", quality=95 - copy // 2 % 20)
            paths[-1].write_bytes(written.getvalue())
    return paths


def timed(name: str, work: Callable[[], object]) -> dict[str, float]:
    """Seconds by the clock, and of the CPU in this process and its children."""
    start, before = time.perf_counter(), os.times()
    work()
    seconds, after = time.perf_counter() - start, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    print(f"{name}: {seconds:.1f} s, {cpu:.1f} s of CPU", file=sys.stderr)
    return {"seconds": seconds, "cpu": cpu}


if __name__ == "__main__":
    main()
