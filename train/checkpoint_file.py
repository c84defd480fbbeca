"""A checkpoint in one file: what tensors it holds, without reading them, and those that are wanted.

Of a .safetensors file the header suffices, and torch is not imported. A .ckpt is a pickle, which
could run anything: only its tensors are taken, what else stands in it is never called.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import ModelError

if TYPE_CHECKING:
    import torch

    from train.tensor_file import Entry

PICKLED = (".ckpt", ".pt", ".pth", ".bin")
CHUNK = 1 << 24


class Shapes(dict[str, tuple[int, ...]]):
    """Shapes of a file's tensors; one that is asked for and is not there is a ModelError."""

    def __init__(self, file: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__(shapes)
        self._file = file

    def __missing__(self, name: str) -> tuple[int, ...]:
        raise ModelError(f"{self._file} lacks {name}, which its kind has: it is not whole")


@dataclass(frozen=True)
class SafetensorsFile:
    """A .safetensors file. `name` is how the recipe calls it, for messages."""

    path: Path
    name: str

    @cached_property
    def _header(self) -> tuple[int, dict[str, Any]]:
        """Where the tensors' bytes start, and what the header says. Raises ModelError."""
        size = self.path.stat().st_size
        try:
            with self.path.open("rb") as file:
                start = 8 + int.from_bytes(file.read(8), "little")
                if start > size:
                    raise ValueError("its header is cut")
                header = dict(json.loads(file.read(start - 8)))
            ends = [
                entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"
            ]
        except (ValueError, TypeError, LookupError) as error:
            raise ModelError(
                f"{self.name} is no safetensors file ({error}): get it again"
            ) from None
        if start + max(ends, default=0) > size:
            raise ModelError(
                f"{self.name} is cut off: it has {size:,} of {start + max(ends):,} bytes; get it"
                " again"
            )
        return start, header

    @cached_property
    def shapes(self) -> "Shapes":
        """The shape of every tensor. Raises ModelError."""
        header = self._header[1]
        entries = ((key, entry) for key, entry in header.items() if key != "__metadata__")
        return Shapes(self.name, {key: tuple(entry["shape"]) for key, entry in entries})

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._header[1].get("__metadata__") or {}

    def read(self, names: Iterable[str]) -> "dict[str, torch.Tensor]":
        """Return these tensors, as they are stored."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise ModelError(
                f"{self.name} is no safetensors file ({error}): get it again"
            ) from None

    @cached_property
    def entries(self) -> "tuple[Entry, ...]":
        """What the header says of every tensor, in the order of their bytes. Raises ModelError."""
        from train.tensor_file import DTYPES, Entry

        stored = [item for item in self._header[1].items() if item[0] != "__metadata__"]
        stored.sort(key=lambda item: item[1]["data_offsets"][0])
        if strange := {entry["dtype"] for _, entry in stored} - DTYPES.keys():
            raise ModelError(f"{self.name} holds numbers of a kind not known here: {min(strange)}")
        return tuple(
            Entry(name, DTYPES[entry["dtype"]], tuple(entry["shape"])) for name, entry in stored
        )

    def tensor(self, entry: "Entry") -> "torch.Tensor":
        """Return one tensor as it is stored, not mapped: its memory is free when it is dropped."""
        import torch

        start, header = self._header
        data = bytearray(entry.size)
        with self.path.open("rb") as file:
            file.seek(start + header[entry.name]["data_offsets"][0])
            file.readinto(data)
        if not data:
            return torch.empty(entry.shape, dtype=entry.dtype)
        return torch.frombuffer(data, dtype=entry.dtype).reshape(entry.shape)

    def sha256(self, names: Mapping[str, str]) -> str:
        """Return the hash over tensors' bytes; names: in this file -> as they are to be hashed."""
        start, header = self._header
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            for name, called in sorted(names.items(), key=lambda pair: pair[1]):
                entry = header[name]
                digest.update(f"{called} {entry['dtype']} {entry['shape']}\n".encode())
                begin, end = entry["data_offsets"]
                file.seek(start + begin)
                while begin < end:
                    chunk = file.read(min(CHUNK, end - begin))
                    digest.update(chunk)
                    begin += len(chunk)
        return digest.hexdigest()


class _Ignored:
    """Stands for whatever a pickle names beside tensors: made, and left alone."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


@dataclass(frozen=True)
class PickledFile:
    """A .ckpt file. `name` is how the recipe calls it, for messages."""

    path: Path
    name: str

    @cached_property
    def _tensors(self) -> "dict[str, torch.Tensor]":
        """Every tensor, mapped from the file. Raises ModelError."""
        import torch

        try:
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(self.path)
            with torch.serialization.safe_globals([(_Ignored, name) for name in unknown]):
                found = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # torch raises anything here, UnpicklingError to RuntimeError
            raise ModelError(
                f"{self.name} gives no weights: it is broken, or of an old format; convert it to"
                " .safetensors"
            ) from error
        inner = found.get("state_dict", found) if isinstance(found, dict) else {}
        return {name: t for name, t in inner.items() if isinstance(t, torch.Tensor)}

    @cached_property
    def shapes(self) -> "Shapes":
        """The shape of every tensor. Raises ModelError."""
        found = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}
        return Shapes(self.name, found)

    @property
    def metadata(self) -> Mapping[str, str]:
        return {}

    def read(self, names: Iterable[str]) -> "dict[str, torch.Tensor]":
        """Return these tensors, as they are stored."""
        return {name: self._tensors[name] for name in names}

    @cached_property
    def entries(self) -> "tuple[Entry, ...]":
        """What is known of every tensor, in the order of the file. Raises ModelError."""
        from train.tensor_file import Entry

        return tuple(Entry(name, t.dtype, tuple(t.shape)) for name, t in self._tensors.items())

    def tensor(self, entry: "Entry") -> "torch.Tensor":
        """Return a copy of one tensor."""
        return self._tensors[entry.name].clone()

    def sha256(self, names: Mapping[str, str]) -> str:
        """Return the hash over tensors' bytes; names: in this file -> as they are to be hashed."""
        import torch

        digest = hashlib.sha256()
        for name, called in sorted(names.items(), key=lambda pair: pair[1]):
            tensor = self._tensors[name].contiguous()
            digest.update(f"{called} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


CheckpointFile = SafetensorsFile | PickledFile


def open_checkpoint(path: Path, name: str) -> CheckpointFile:
    """Return the file, unread. Raises ModelError for a suffix that is none of a checkpoint."""
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return SafetensorsFile(path, name)
    if suffix in PICKLED:
        return PickledFile(path, name)
    raise ModelError(
        f"{name} is a file of no kind that is read here: give a .safetensors or .ckpt file, a"
        " diffusers folder, or a Hub id (owner/name)"
    )
