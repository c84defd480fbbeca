"""Images through the VAE into the cache: decoding ahead in threads, batches of one bucket shape."""

import contextlib
import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from diffusers import AutoencoderKL

from schemas.errors import DeviceError, ModelError
from schemas.progress import Advance, task
from train import latent_index
from train.latent_index import SHARD_ROWS, Encoded
from train.latent_shards import SHRINK, Floats, Mask
from train.pixels import Changed, Decoded, Picture, Unreadable, decode

BATCH_PIXELS = 1 << 20  # of a batch: one image of 1024 x 1024, or four of 512 x 512
AHEAD_PIXELS = 1 << 24  # decoded before the VAE asks for them: 48 MiB
MOST_THREADS = 8  # that decode
NON_FINITE = "non-finite latent"


@dataclass(frozen=True)
class Outcome:
    """What a run of the VAE leaves."""

    index: pa.Table
    failures: dict[str, str]  # key -> reason, of files that may be mended; not in the index
    encoded: int


def encode_missing(
    keys: pa.Table,
    pictures: Sequence[Picture],
    folder: Path,
    index: pa.Table,
    vae: AutoencoderKL,
    device: torch.device,
) -> Outcome:
    """Encode n images, `keys` and `pictures` in the same order (by bucket), shard by shard.

    The same images in the same order make the same shards, so that what a kill interrupted goes on
    at the shard that was lost.
    """
    names = latent_index.names(keys).to_pylist()
    failures = {
        name: "missing"
        for name, picture in zip(names, pictures, strict=True)
        if not picture.path.exists()
    }
    there = [row for row, name in enumerate(names) if name not in failures]
    if not there:
        return Outcome(index, failures, 0)
    vae.to(device).float().eval()
    encoded = 0
    with (
        task("latents", len(names), "images") as advance,
        contextlib.closing(_decoded([pictures[row] for row in there])) as decoded,
    ):
        advance(len(failures))
        for rows in _shards_of(there, pictures):
            shard = _encode_shard(rows, pictures[rows[0]].bucket, decoded, vae, device, advance)
            encoded += shard.encoded
            failures |= {names[row]: reason for row, reason in shard.failures.items()}
            kept = [row for row in rows if row not in shard.failures]
            if kept:
                problems = [shard.problems.get(row) for row in kept]
                made = Encoded(keys.take(kept), shard.latents, shard.masks, problems)
                index = latent_index.add(folder, index, made)
    return Outcome(index, failures, encoded)


@dataclass(frozen=True)
class _Shard:
    """One shard's images: latents of those without a problem, and why the others have none."""

    latents: list[Floats]
    masks: list[Mask | None]  # of the same rows
    problems: dict[int, str]  # row -> reason that will not change
    failures: dict[int, str]  # row -> reason of this time only
    encoded: int


def _shards_of(rows: Sequence[int], pictures: Sequence[Picture]) -> Iterator[list[int]]:
    for _, group in groupby(rows, key=lambda row: pictures[row].bucket):
        of_bucket = list(group)
        for start in range(0, len(of_bucket), SHARD_ROWS):
            yield of_bucket[start : start + SHARD_ROWS]


def _encode_shard(
    rows: Sequence[int],
    bucket: tuple[int, int],
    decoded: Iterator[Decoded | Exception],
    vae: AutoencoderKL,
    device: torch.device,
    advance: Advance,
) -> _Shard:
    """Take the next len(rows) images of `decoded` through the VAE, a batch at a time."""
    batch = max(1, BATCH_PIXELS // (bucket[0] * bucket[1]))
    latents: list[Floats] = []
    masks: list[Mask | None] = []
    problems: dict[int, str] = {}
    failures: dict[int, str] = {}
    encoded = 0
    for start in range(0, len(rows), batch):
        images: dict[int, Decoded] = {}
        for row, image in zip(rows[start : start + batch], decoded, strict=False):
            if isinstance(image, Unreadable):
                problems[row] = f"unreadable image: {image.reason}"
            elif isinstance(image, Changed):
                failures[row] = str(image)
            elif isinstance(image, Exception):
                raise image
            else:
                images[row] = image
        if images:
            pixels = np.stack([image.pixels for image in images.values()])
            means = posterior_means(vae, pixels, device)
            for row, mean in zip(images, means, strict=True):
                if np.isfinite(mean).all():
                    latents.append(mean)
                    masks.append(images[row].mask)
                else:
                    problems[row] = NON_FINITE
        encoded += len(images)
        advance(len(rows[start : start + batch]))
    return _Shard(latents, masks, problems, failures, encoded)


def posterior_means(
    vae: AutoencoderKL, pixels: npt.NDArray[np.uint8], device: torch.device
) -> Floats:
    """Return the unscaled posterior means of uint8 [n, h, w, 3]: float32 [n, c, h / 8, w / 8].

    A batch that does not fit into the device's memory is halved. Raises DeviceError when one image
    does not fit, ModelError when the VAE does not shrink 8 times.
    """
    count, height, width, _ = pixels.shape
    means: Floats | None = None
    with contextlib.suppress(torch.OutOfMemoryError):
        means = _forward(vae, pixels, device)
    # Here, not in an `except`: the error's traceback would keep the batch's memory.
    if means is None and count == 1:
        raise DeviceError(
            f"{device} has too little memory to encode {width}x{height} pixels:"
            " lower [latents] resolution, or free the device"
        )
    if means is None:
        halves = (pixels[: count // 2], pixels[count // 2 :])
        return np.concatenate([posterior_means(vae, half, device) for half in halves])
    if means.shape[2:] != (height // SHRINK, width // SHRINK):
        raise ModelError(
            f"this VAE makes {means.shape[3]}x{means.shape[2]} latents of {width}x{height} pixels;"
            f" one that shrinks {SHRINK} times is needed"
        )
    return means


@torch.no_grad()
def _forward(vae: AutoencoderKL, pixels: npt.NDArray[np.uint8], device: torch.device) -> Floats:
    images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    with _without_tf32():
        means: Floats = vae.encode(images).latent_dist.mean.float().cpu().numpy()
    return means


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Compute fp32 as fp32: TF32's rounding shows at 1e-3, where latents promise 1e-4."""
    convolutions = torch.backends.cudnn.allow_tf32
    products = torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def _decoded(pictures: Sequence[Picture]) -> Generator[Decoded | Exception, None, None]:
    """Yield each picture's pixels, or why there are none, in order, decoding ahead in threads."""
    ahead: deque[tuple[Future[Decoded | Exception], int]] = deque()
    waiting = 0  # pixels of the buckets in `ahead`
    pool = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1))
    try:
        for picture in pictures:
            size = picture.bucket[0] * picture.bucket[1]
            ahead.append((pool.submit(_decode, picture), size))
            waiting += size
            while waiting > AHEAD_PIXELS:
                future, size = ahead.popleft()
                waiting -= size
                yield future.result()
        while ahead:
            yield ahead.popleft()[0].result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(picture: Picture) -> Decoded | Exception:
    try:
        return decode(picture)
    except Exception as error:  # the caller knows which of them are the image's own fault
        return error
