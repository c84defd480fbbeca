"""Adapters and other checkpoints merged into a checkpoint, in the layout in which it came.

Tensors are read, changed and written one by one: names, order, metadata and precision stay.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import torch

from schemas.errors import DiskError, UsageError
from schemas.files import ASIDE, disk_error, sha256_of
from schemas.progress import Advance, task
from train.adapter_modules import is_adapter
from train.checkpoint_file import SafetensorsFile
from train.merging.changes import InUse, changed
from train.merging.checkpoint import PARTS, Checkpoint, TensorFile, open_base
from train.merging.low_rank import STALE
from train.merging.match import Match, check_match, match_adapter, match_checkpoint
from train.merging.sources import Source
from train.tensor_file import HASH, Entry, writing_tensors

RECORD = "kiroku.merged"  # in metadata: a list of what was merged, the last merge last
WEIGHTS = ("*.safetensors", "*.bin", "*.msgpack", "*.ckpt", "*.onnx", "*.onnx_data", "*.h5")

Precision = Literal["same", "fp32", "fp16", "bf16"]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Plan:
    """What a merge does. layout: "single file" or "folder"."""

    base: str
    kind: str
    layout: str
    tensors: int
    matches: tuple[Match, ...]


def plan(
    base: Path, sources: Sequence[Source], less: Path | None = None
) -> tuple[Plan, Checkpoint, list[InUse]]:
    """Find what the sources change in the base. Raises ModelError, UsageError."""
    checkpoint = open_base(base)
    third = None if less is None else open_base(less)
    found: list[tuple[InUse, Match]] = []
    for source in sources:
        if holds_adapter(source.path):
            found.append(match_adapter(checkpoint, source))
        else:
            found.append(match_checkpoint(checkpoint, source, third))
    if third and not any("checkpoint" in match.kinds for _, match in found):
        raise UsageError("--less is what checkpoints are compared with, and none is merged here")
    told = Plan(
        base.name,
        checkpoint.architecture.kind,
        "folder" if base.is_dir() else "single file",
        sum(len(part.file.entries) for part in checkpoint.files),
        tuple(match for _, match in found),
    )
    return told, checkpoint, [use for use, _ in found]


def merge(
    base: Path,
    sources: Sequence[Source],
    out: Path,
    *,
    less: Path | None = None,
    precision: Precision = "same",
    allow_unmatched: bool = False,
    overwrite: bool = False,
) -> Plan:
    """Write `base` with the sources merged into it to `out`; return what was merged.

    less: a checkpoint that merged checkpoints are compared with, instead of the base. precision: of
    the U-Net and the text encoders. Raises ModelError (not found, not all matched, too large),
    UsageError (`out` is there, or of the other layout) and DiskError.
    """
    _check_out(base, [*(source.path for source in sources), *([less] if less else [])], out)
    if out.exists() and not overwrite:
        raise UsageError(f"{out} is there already: give another name, or --overwrite")
    told, checkpoint, uses = plan(base, sources, less)
    for match in told.matches:
        check_match(match, allow_unmatched)
    record = _record(checkpoint, sources, less)
    dtype = DTYPES.get(precision)
    with task("merge", told.tensors, "tensors") as advance, _target(base, out) as target:
        for part in checkpoint.files:
            _write(part, uses, target / part.place, dtype, record, advance)
    return told


def _write(
    part: TensorFile,
    uses: Sequence[InUse],
    path: Path,
    dtype: torch.dtype | None,
    record: dict[str, Any],
    advance: Advance,
) -> None:
    """Write a file of the base with everything added. dtype: None keeps each tensor's."""
    entries = [
        Entry(one.name, dtype if dtype and _is_cast(part, one) else one.dtype, one.shape)
        for one in part.file.entries
    ]
    stored = {entry.name: entry for entry in part.file.entries}
    entries.sort(key=lambda entry: -entry.dtype.itemsize)  # each then starts at a multiple of it
    kept = {key: value for key, value in part.file.metadata.items() if key not in STALE}
    merges = [*json.loads(kept.get(RECORD, "[]")), record]
    told = json.dumps(merges, sort_keys=True, ensure_ascii=False)
    with writing_tensors(path, entries, {"format": "pt", **kept, RECORD: told, HASH: ""}) as put:
        for entry in entries:
            additions = [one for use in uses for one in use.additions(part, stored[entry.name])]
            tensor = part.file.tensor(stored[entry.name])
            put(changed(tensor, additions, entry.dtype, entry.name))
            advance()


def _is_cast(part: TensorFile, entry: Entry) -> bool:
    """Whether --precision is for this tensor: a VAE stays as it is, for fp16 is too narrow."""
    return entry.name in part.pieces and entry.dtype.is_floating_point


def _record(base: Checkpoint, sources: Sequence[Source], less: Path | None) -> dict[str, Any]:
    """What metadata says of a merge."""
    record: dict[str, Any] = {
        "base": {"name": base.path.name, "sha256": base.sha256()},
        "sources": [record_of(source) for source in sources],
    }
    return record if less is None else {**record, "less": _sha256(less)}


def record_of(source: Source) -> dict[str, Any]:
    """Return what metadata says of what was merged."""
    return {
        "name": source.path.name,
        "sha256": _sha256(source.path),
        "strength": source.strength,
        "blocks": source.blocks,
    }


def _sha256(path: Path) -> str:
    return open_base(path).sha256() if path.is_dir() else sha256_of(path)


def holds_adapter(path: Path) -> bool:
    """Whether an adapter lies there, by the names of its tensors. Raises ModelError."""
    is_one = path.suffix.lower() == ".safetensors" and path.is_file()
    return is_one and is_adapter(SafetensorsFile(path, path.name).shapes)


def _check_out(base: Path, sources: Sequence[Path], out: Path) -> None:
    """Raise UsageError where the result cannot stand at `out`."""
    if any(out.exists() and out.samefile(path) for path in (base, *sources) if path.exists()):
        raise UsageError(f"{out} is one of the files that are merged: give another name")
    if base.is_dir() and out.suffix in (".safetensors", ".ckpt"):
        raise UsageError(f"{base.name} is a folder, and so is the result: {out} names a file")
    if not base.is_dir() and out.suffix != ".safetensors":
        raise UsageError(f"the result is a .safetensors file: give {out} that ending")
    if not base.is_dir():
        return
    place = out.resolve()
    if place.is_relative_to(base.resolve()):
        raise UsageError(f"{out} lies in {base}, which is merged into: choose a place beside it")
    inside = any(path.resolve().is_relative_to(place) for path in (base, *sources))
    if inside or (out.exists() and not (out / "unet").is_dir()):
        raise UsageError(f"{out} holds other things than a model: give another name")


@contextmanager
def _target(base: Path, out: Path) -> Iterator[Path]:
    """Yield where to write: the file, or a folder aside with a copy of all else that base has."""
    if not base.is_dir():
        yield out
        return
    aside, old = (out.with_name(f"{out.name}.{uuid4().hex[:8]}{ASIDE}") for _ in range(2))
    weights = shutil.ignore_patterns(*WEIGHTS)

    def ignored(folder: str, names: list[str]) -> set[str]:
        own = Path(folder).parent == base and Path(folder).name in PARTS
        return weights(folder, names) if own else set()

    try:
        shutil.copytree(base, aside, ignore=ignored)
        yield aside
        if out.exists():
            out.rename(old)
        aside.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except shutil.Error as error:
        raise DiskError(f"{base} cannot be copied to {out}: {error.args[0][0][2]}") from error
    except OSError as error:
        if told := disk_error(error, out):
            raise told from error
        raise
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(aside, ignore_errors=True)
