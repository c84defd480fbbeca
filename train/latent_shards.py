"""One file of latents: a safetensors shard of one bucket shape, memory-mapped. No torch.

A shard holds `latents` float32 [n, channels, height / 8, width / 8] and `crc32` int64 [n], and in
its metadata the fingerprint of the keys of its rows, so that a shard that was damaged, or belongs
to other images, is known before a value of it is used. Where an image of it is transparent
somewhere, it also holds `masks` uint8 [n, height / 8, width / 8] and their `masks_crc32`.
"""

import json
import zlib
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from schemas.errors import DataError
from schemas.files import fingerprint, write_bytes

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]  # [height / 8, width / 8]: 255 where all a latent pixel covers counts

FORMAT = 3
OPAQUE = 255
SHRINK = 8  # pixels of an image for one of its latent, along each side
SUFFIX = ".safetensors"


def write(
    folder: Path,
    bucket: tuple[int, int],
    keys: Sequence[str],
    latents: Floats,
    masks: Sequence[Mask | None],
) -> str:
    """Write `latents` [n, c, h, w] and `masks` of the n `keys` as a new shard; return its name.

    The name follows from the keys, so that work done again after a kill is named the same. A file
    that has the name already is of no use to any index; when it cannot be removed (Windows, while
    somebody still maps it) the next free name is taken.
    """
    named = fingerprint(*keys)
    path = _free(folder, f"{bucket[0]}x{bucket[1]}-{named}")
    rows = np.ascontiguousarray(latents, dtype=np.float32)
    tensors = {"latents": rows, "crc32": _sums(rows)}
    if any(mask is not None for mask in masks):
        opaque = np.full(rows.shape[2:], OPAQUE, np.uint8)
        held = np.stack([opaque if mask is None else mask for mask in masks])
        tensors |= {"masks": held, "masks_crc32": _sums(held)}
    # One metadata key of canonical JSON: safetensors writes several in any order.
    about = json.dumps({"format": FORMAT, "keys": named}, sort_keys=True)
    # As bytes: safetensors' own writing to a file hides a full disk in an error of its own.
    write_bytes(path, save(tensors, metadata={"kiroku": about}))
    return path.name


def _sums(rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return np.array([zlib.crc32(row.tobytes()) for row in rows], dtype=np.int64)


class Shard:
    """A shard, mapped: its header is read now, its rows when they are asked for."""

    def __init__(self, path: Path, bucket: tuple[int, int], keys: Sequence[str]) -> None:
        """Open the shard that should hold `keys`. Raises DataError when it is not that."""
        self.path = path
        try:
            file: Any = safe_open(path, framework="numpy")
            about = json.loads((file.metadata() or {}).get("kiroku", "{}"))
            self._latents = file.get_slice("latents")
            shape, kind = self._latents.get_shape(), self._latents.get_dtype()
            self._sums: npt.NDArray[np.int64] = file.get_tensor("crc32")
            self.has_masks = "masks" in file.keys()  # noqa: SIM118  it is no dict
            if self.has_masks:
                self._masks = file.get_slice("masks")
                self._mask_sums: npt.NDArray[np.int64] = file.get_tensor("masks_crc32")
        except FileNotFoundError:
            raise self._refused("is missing") from None
        except (SafetensorError, OSError, ValueError) as error:
            raise self._refused("is damaged") from error
        height, width = bucket[1] // SHRINK, bucket[0] // SHRINK
        if (
            about != {"format": FORMAT, "keys": fingerprint(*keys)}
            or kind != "F32"
            or len(shape) != 4
            or shape[0] != len(keys)
            or tuple(shape[2:]) != (height, width)
            or self._sums.shape != (len(keys),)
        ):
            raise self._refused("holds other latents than the index says")

    def read(self, row: int) -> Floats:
        """Return one latent, float32 [c, h, w], copied. Raises DataError when it is damaged."""
        latent: Floats = self._latents[row : row + 1][0]
        if zlib.crc32(latent.tobytes()) != self._sums[row]:
            raise self._refused("is damaged")
        return latent

    def mask(self, row: int) -> Mask | None:
        """Return one latent's mask, copied; None where all counts. Raises DataError as `read`."""
        if not self.has_masks:
            return None
        mask: Mask = self._masks[row : row + 1][0]
        if zlib.crc32(mask.tobytes()) != self._mask_sums[row]:
            raise self._refused("is damaged")
        return None if (mask == OPAQUE).all() else mask

    def _refused(self, why: str) -> DataError:
        return DataError(f"{self.path} {why}: remove it and run `prep latents` again")


def _free(folder: Path, stem: str) -> Path:
    for number in count(1):
        path = folder / (f"{stem}{SUFFIX}" if number == 1 else f"{stem}-{number}{SUFFIX}")
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            continue
        return path
    raise AssertionError("unreachable")
