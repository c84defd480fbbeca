"""Adapters of additive kinds cut to LoRAs, each module to the nearest change of its rank."""

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
    Measured,
    additive,
    is_wide,
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
    additive kind, UsageError where a file is there already or a block's name is unknown.
    """
    for out in outs:
        if out.exists() and (not overwrite or out.samefile(adapter)):
            raise UsageError(f"{out} is there already: give another name, or --overwrite")
    file = open_adapter(adapter)
    own = _targets_of_blocks(file, blocks or {})
    modules = additive(file)
    parts = take_apart(lambda name: file.factors(modules[name]), modules, file.architecture)
    saved = precision_of([file]) if precision == "same" else precision
    dtype = PRECISIONS[saved]
    series = [_ranks(file, parts, target, own, dtype) for target in targets]
    made = []
    for target, out, ranks, tensors in zip(
        targets, outs, series, parts.cut(series, dtype), strict=True
    ):
        error, errors = parts.errors(ranks)
        write_adapter(out, tensors, _metadata(file, parts, ranks, target, own, error), saved)
        span = min(ranks.values()), max(ranks.values())
        made.append(Resized(target.text, out, out.stat().st_size, span, error, errors))
    return made


def _targets_of_blocks(file: AdapterFile, blocks: Mapping[str, Target]) -> dict[str, Target]:
    """The target of each block that has one of its own."""
    found = {}
    for names, target in blocks.items():
        for block in named_blocks(names, file.architecture, "--block"):
            found[block] = target
    return found


def _ranks(
    file: AdapterFile,
    parts: Apart,
    target: Target,
    own: Mapping[str, Target],
    dtype: torch.dtype,
) -> dict[str, int]:
    """The rank of each module: by the target of its block, else by `target`."""
    ranks: dict[str, int] = {}
    for one in sorted({*own.values()} - {target}, key=lambda one: one.text):
        held = {name: of for name, of in parts.modules.items() if own.get(of.block) == one}
        ranks |= _ranks_of(held, one, dtype)
    rest = {name: of for name, of in parts.modules.items() if name not in ranks}
    taken = _bytes_beside(file, parts, ranks, dtype) if target.measure == "size" else 0
    return ranks | _ranks_of(rest, replace(target, value=target.value - taken), dtype)


def _ranks_of(
    modules: Mapping[str, Measured], target: Target, dtype: torch.dtype
) -> dict[str, int]:
    """The rank that a target gives to each of these modules."""
    if target.measure == "size":
        return ranks_by_size(target, modules, dtype.itemsize)
    return {name: rank_by_values(target, of.values) for name, of in modules.items()}


def _bytes_beside(
    file: AdapterFile, parts: Apart, ranks: Mapping[str, int], dtype: torch.dtype
) -> int:
    """What a file takes beside the factors of the modules that have no rank yet, at most."""
    entries = []
    for name, of in parts.modules.items():
        rank = ranks.get(name, len(of.values))
        entries += [
            Entry(f"{name}.alpha", dtype, ()),
            Entry(f"{name}.lora_up.weight", dtype, (of.outputs, rank, 1, 1)),
            Entry(f"{name}.lora_down.weight", dtype, (rank, *of.inputs)),
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
    figures = [
        (ranks[name], of.scale * ranks[name], is_wide(of.inputs))
        for name, of in parts.modules.items()
    ]
    record = {
        "from": {"name": file.file.path.name, "sha256": sha256_of(file.file.path)},
        "to": target.text,
        "blocks": {block: one.text for block, one in own.items()},
        "error": round(error, 6),
    }
    told = {RECORD: json.dumps(record, sort_keys=True)}
    return {**kept, **network_metadata(figures, kept), **told}
