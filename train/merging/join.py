"""Adapters joined into one adapter: exactly, by joining their factors, or at a rank.

    up @ down = sum of strength * factor of the block * up_i @ down_i * alpha_i / rank_i

Factors side by side give the sum itself, with no products of one adapter's up and another's down;
the rank is the sum of the ranks. Cut to a rank, each module is the nearest to the sum.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from schemas.errors import ModelError, UsageError
from train.adapter_file import KINDS, PRECISIONS, write_adapter
from train.adapter_modules import AdapterFile, LowRank, open_adapter
from train.blocks import TEXT, Architecture, block_of_name
from train.kinds import SPOKEN
from train.merging.block_weights import block_weights
from train.merging.low_rank import (
    file_tensors,
    is_wide,
    low_rank,
    network_metadata,
    precision_of,
    take_apart,
)
from train.merging.merge import RECORD, Precision, record_of
from train.merging.sources import Source


@dataclass(frozen=True)
class Joined:
    """What became of the adapters. error: the share of the Frobenius norm that a rank cut away."""

    kind: str
    modules: int
    ranks: tuple[int, int]  # the least and the largest
    error: float
    errors: Mapping[str, float]  # by block; empty where nothing was cut


def join(
    sources: Sequence[Source],
    out: Path | None,
    *,
    rank: int = 0,
    precision: Precision = "same",
    overwrite: bool = False,
) -> Joined:
    """Write one adapter that does what all sources do together to `out`; None writes nothing.

    rank: of each module at most, 0 for as many as all have together. Raises ModelError where one is
    no LoRA or LoCon, or of another kind of model; UsageError where `out` cannot be written.
    """
    if out is not None:
        _check_out(sources, out, overwrite)
    files = [open_adapter(source.path) for source in sources]
    architecture = _architecture(files)
    joined = _joined(files, sources, architecture)
    saved = precision_of(files) if precision == "same" else precision
    dtype = PRECISIONS[saved]
    error, errors = 0.0, dict[str, float]()
    tensors: dict[str, torch.Tensor] = {}
    if rank:
        parts = take_apart(joined, architecture)
        ranks = {name: min(rank, len(found.values)) for name, found in parts.spectra.items()}
        tensors = parts.tensors(ranks, dtype)
        error, errors = parts.errors(ranks)
    else:
        ranks = {name: found.down.shape[0] for name, found in joined.items()}
        for name, found in joined.items():
            up, down = found.up.flatten(1), found.down.flatten(1)
            tensors |= file_tensors(name, up, down, 1.0, found.down.shape[1:], dtype)
    if out is not None:
        figures = [
            (ranks[name], float(ranks[name]), is_wide(found.down.shape[1:]))
            for name, found in joined.items()
        ]
        record = {"sources": [record_of(source) for source in sources], "rank": rank}
        metadata = {
            **KINDS[architecture.kind],
            **{"ss_network_module": "networks.lora", "ss_output_name": out.stem},
            **network_metadata(figures, {}),
            **{"modelspec.sai_model_spec": "1.0.0", "modelspec.title": out.stem},
            RECORD: json.dumps([record], sort_keys=True, ensure_ascii=False),
        }
        write_adapter(out, tensors, metadata, saved)
    told = min(ranks.values()), max(ranks.values())
    return Joined(architecture.kind, len(ranks), told, error, errors)


def _check_out(sources: Sequence[Source], out: Path, overwrite: bool) -> None:
    if out.suffix != ".safetensors":
        raise UsageError(f"the result is a .safetensors file: give {out} that ending")
    if out.exists():
        if any(out.samefile(source.path) for source in sources):
            raise UsageError(f"{out} is one of the files that are merged: give another name")
        if not overwrite:
            raise UsageError(f"{out} is there already: give another name, or --overwrite")


def _architecture(files: Sequence[AdapterFile]) -> Architecture:
    """The architecture that all have. Raises ModelError."""
    first = files[0]
    for file in files[1:]:
        if file.architecture != first.architecture:
            one, other = (SPOKEN[each.architecture.kind] for each in (first, file))
            raise ModelError(
                f"{first.file.name} is of {one} and {file.file.name} of {other}: only adapters of"
                " one kind of model can be joined"
            )
    return first.architecture


def _joined(
    files: Sequence[AdapterFile], sources: Sequence[Source], architecture: Architecture
) -> dict[str, LowRank]:
    """The factors of every module that something is left of, side by side; alpha is the rank."""
    found: dict[str, list[LowRank]] = {}
    for file, source in zip(files, sources, strict=True):
        weights = block_weights(source.blocks, architecture)
        for module in file.modules:
            plain = low_rank(file, module)
            factor = source.strength * weights[block_of_name(module.name) or TEXT]
            if factor:
                scale = factor * plain.alpha / plain.down.shape[0]
                held = LowRank(plain.down.float(), plain.up.float() * scale, 0.0)
                found.setdefault(module.name, []).append(held)
                _check_shape(found[module.name], file, module.written)
    if not found:
        raise UsageError("nothing is left: every block of every adapter counts 0")
    return {
        name: LowRank(
            torch.cat([part.down for part in parts]),
            torch.cat([part.up for part in parts], dim=1),
            float(sum(part.down.shape[0] for part in parts)),
        )
        for name, parts in sorted(found.items())
    }


def _check_shape(parts: Sequence[LowRank], file: AdapterFile, name: str) -> None:
    first, last = parts[0], parts[-1]
    if first.down.shape[1:] != last.down.shape[1:] or first.outputs != last.outputs:
        raise ModelError(
            f"{file.file.name}: {name} is of another shape than in the adapters before it: they"
            " were made for different models"
        )
