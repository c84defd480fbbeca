"""Safetensors files written tensor by tensor, so that no more than one of them is in memory.

The library writes a file whole, from tensors that are all there, and puts metadata in random order.
Layout as published in the format's specification: header length (u64, little-endian), JSON header,
the tensors' bytes without gaps.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from schemas.files import writing

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
HASH = "modelspec.hash_sha256"  # of a checkpoint: 0x and the SHA-256 of the bytes behind the header
UNKNOWN = "0x" + "0" * 64

Put = Callable[[torch.Tensor], None]


@dataclass(frozen=True)
class Entry:
    """What the header says of a tensor, but for its place."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * self.dtype.itemsize


def header(entries: Iterable[Entry], metadata: Mapping[str, str]) -> bytes:
    """Return what stands before the tensors' bytes: metadata sorted, entries as they come."""
    told: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for entry in entries:
        told[entry.name] = {
            "dtype": NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [end, end + entry.size],
        }
        end += entry.size
    text = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """Return a tensor's bytes, in the order of the format; no copy of a contiguous one."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


@contextmanager
def writing_tensors(
    path: Path, entries: Iterable[Entry], metadata: Mapping[str, str]
) -> Iterator[Put]:
    """Yield `put(tensor)`, to be called once for each entry in order; whole or not at all.

    Where the metadata has `HASH`, its value becomes the hash of what was written. Raises DiskError.
    """
    entries = list(entries)
    told = {**metadata, HASH: UNKNOWN} if HASH in metadata else metadata
    start = header(entries, told)
    digest = hashlib.sha256()
    left = iter(entries)
    with writing(path) as aside, aside.open("wb") as file:
        file.write(start)

        def put(tensor: torch.Tensor) -> None:
            entry = next(left)
            assert (tensor.dtype, tuple(tensor.shape)) == (entry.dtype, entry.shape), entry
            data = bytes_of(tensor)
            digest.update(data)
            file.write(data)

        yield put
        assert next(left, None) is None
        if HASH in metadata:
            known = start.replace(UNKNOWN.encode(), b"0x" + digest.hexdigest().encode(), 1)
            file.seek(0)
            file.write(known)
