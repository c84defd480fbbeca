"""LoRA and LoCon cut to smaller ranks, each module to the nearest change that its rank allows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from schemas.errors import UsageError
from schemas.files import sha256_of
from train.adapter_file import PRECISIONS, write_adapter
from train.adapter_modules import AdapterFile, open_adapter
from train.merging.block_weights import named_blocks
from train.merging.low_rank import (
    STALE,
    Apart,
    is_wide,
    low_rank,
    network_metadata,
    precision_of,
    take_apart,
)
from train.merging.target import Target, rank_by_values, ranks_by_size
from train.tensor_file import Entry, header

RECORD = "kiroku.resized"  # in metadata: what the file was made from, and how
RECORDED = 1_000  # bytes that metadata may gain at most: figures, hashes, the record

Precision = Literal["same", "fp32", "fp16", "bf16"]


@dataclass(frozen=True)
class Resized:
    """A file that was made. Errors are shares of the change's Frobenius norm that are lost."""

    target: str
    path: Path
    size: int  # bytes
    ranks: tuple[int, int]  # the least and the largest
    error: float
    errors: Mapping[str, float]  # by block


def resize(
    adapter: Path,
    targets: Sequence[Target],
    outs: Sequence[Path],
    *,
    blocks: Mapping[str, Target] | None = None,
    precision: Precision = "same",
    overwrite: bool = False,
) -> list[Resized]:
    """Write `adapter` cut to each target to the file of `outs` that stands at its place.

    blocks: targets of their own by names of blocks ("OUT03-06"). Raises ModelError where it is no
    LoRA or LoCon, UsageError where a file is there already or a block's name is unknown.
    """
    for out in outs:
        if out.exists() and (not overwrite or out.samefile(adapter)):
            raise UsageError(f"{out} is there already: give another name, or --overwrite")
    file = open_adapter(adapter)
    own = _targets_of_blocks(file, blocks or {})
    factors = {module.name: low_rank(file, module) for module in file.modules}
    parts = take_apart(factors, file.architecture)
    saved = precision_of([file]) if precision == "same" else precision
    return [
        _cut(file, parts, target, own, out, saved)
        for target, out in zip(targets, outs, strict=True)
    ]


def _targets_of_blocks(file: AdapterFile, blocks: Mapping[str, Target]) -> dict[str, Target]:
    """The target of each block that has one of its own."""
    found = {}
    for names, target in blocks.items():
        for block in named_blocks(names, file.architecture, "--block"):
            found[block] = target
    return found


def _cut(
    file: AdapterFile,
    parts: Apart,
    target: Target,
    own: Mapping[str, Target],
    out: Path,
    precision: str,
) -> Resized:
    dtype = PRECISIONS[precision]
    ranks: dict[str, int] = {}
    for one in sorted({*own.values()} - {target}, key=lambda one: one.text):
        names = [name for name, block in parts.blocks.items() if own.get(block) == one]
        ranks |= _ranks(parts, one, names, dtype)
    rest = [name for name in parts.spectra if name not in ranks]
    taken = _bytes_beside(file, parts, ranks, dtype) if target.measure == "size" else 0
    ranks |= _ranks(parts, replace(target, value=target.value - taken), rest, dtype)
    error, errors = parts.errors(ranks)
    metadata = _metadata(file, parts, ranks, target, own, error)
    write_adapter(out, parts.tensors(ranks, dtype), metadata, precision)
    least, most = min(ranks.values()), max(ranks.values())
    return Resized(target.text, out, out.stat().st_size, (least, most), error, errors)


def _ranks(
    parts: Apart, target: Target, names: Sequence[str], dtype: torch.dtype
) -> dict[str, int]:
    """The rank that a target gives to each of these modules."""
    spectra = {name: parts.spectra[name] for name in names}
    if target.measure == "size":
        return ranks_by_size(target, spectra, parts.scales, dtype.itemsize)
    return {name: rank_by_values(target, found.values) for name, found in spectra.items()}


def _bytes_beside(
    file: AdapterFile, parts: Apart, ranks: Mapping[str, int], dtype: torch.dtype
) -> int:
    """What a file takes beside the factors of the modules that have no rank yet, at most."""
    entries = []
    for name, found in parts.spectra.items():
        rank = ranks.get(name, len(found.values))
        entries += [
            Entry(f"{name}.alpha", dtype, ()),
            Entry(f"{name}.lora_up.weight", dtype, (len(found.left), rank, 1, 1)),
            Entry(f"{name}.lora_down.weight", dtype, (rank, *parts.inputs[name])),
        ]
    factors = sum(e.size for e in entries if e.shape and e.name.partition(".")[0] in ranks)
    alphas = sum(e.size for e in entries if not e.shape)
    return factors + alphas + len(header(entries, file.file.metadata)) + RECORDED


def _metadata(
    file: AdapterFile,
    parts: Apart,
    ranks: Mapping[str, int],
    target: Target,
    own: Mapping[str, Target],
    error: float,
) -> dict[str, str]:
    """The file's metadata, with its ranks as they are now."""
    kept = {key: value for key, value in file.file.metadata.items() if key not in STALE}
    figures = {
        name: (rank, parts.scales[name] * rank, is_wide(parts.inputs[name]))
        for name, rank in ranks.items()
    }
    record = {
        "from": {"name": file.file.path.name, "sha256": sha256_of(file.file.path)},
        "to": target.text,
        "blocks": {block: one.text for block, one in own.items()},
        "error": round(error, 6),
    }
    told = {RECORD: json.dumps(record, sort_keys=True)}
    return {**kept, **network_metadata(figures.values(), kept), **told}
