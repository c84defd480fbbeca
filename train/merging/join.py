"""Adapters joined into one LoRA: exactly, by joining their factors, or at a rank.

    up @ down = sum of strength * factor of the block * up_i @ down_i * alpha_i / rank_i

Factors side by side give the sum itself, with no products of one adapter's up and another's down;
the rank is the sum of the ranks, of a LoHa the product of its two. Cut to a rank, each module is
the nearest to the sum. No module's rank is above what its weight can have.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from schemas.errors import ModelError, UsageError
from train.adapter_file import KINDS, PRECISIONS, write_adapter
from train.adapter_modules import AdapterFile, LowRank, Module, open_adapter
from train.adapters.products import whole_factors
from train.blocks import TEXT, Architecture, block_of_name
from train.kinds import SPOKEN
from train.merging.block_weights import block_weights
from train.merging.factors import balanced
from train.merging.low_rank import (
    additive,
    file_tensors,
    is_wide,
    network_metadata,
    precision_of,
    take_apart,
)
from train.merging.merge import RECORD, Precision, record_of
from train.merging.sources import Source

DOWN = ".lora_down.weight"


@dataclass(frozen=True)
class Joined:
    """What became of the adapters. error: the share of the Frobenius norm that a rank cut away."""

    kind: str
    modules: int
    ranks: tuple[int, int]  # the least and the largest
    error: float
    errors: Mapping[str, float]  # by block; empty where nothing was cut


@dataclass(frozen=True)
class Part:
    """What an adapter adds to a module, and what it counts."""

    file: AdapterFile
    module: Module
    factor: float


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
    of no additive kind, or of another kind of model; UsageError where `out` cannot be written.
    """
    if out is not None:
        _check_out(sources, out, overwrite)
    files = [open_adapter(source.path) for source in sources]
    architecture = _architecture(files)
    parts = _parts(files, sources, architecture)
    saved = precision_of(files) if precision == "same" else precision
    error, errors = 0.0, dict[str, float]()
    if rank:
        apart = take_apart(lambda name: _sum(parts[name]), parts, architecture)
        ranks = {name: min(rank, len(of.values)) for name, of in apart.modules.items()}
        (tensors,) = apart.cut([ranks], PRECISIONS[saved])
        error, errors = apart.errors(ranks)
    else:
        tensors = _exact(parts, PRECISIONS[saved])
    shapes = [tensor.shape for name, tensor in tensors.items() if name.endswith(DOWN)]
    if out is not None:
        record = {"sources": [record_of(source) for source in sources], "rank": rank}
        figures = [(shape[0], float(shape[0]), is_wide(shape[1:])) for shape in shapes]
        metadata = {
            **KINDS[architecture.kind],
            "ss_output_name": out.stem,
            **network_metadata(figures, {}),
            **{"modelspec.sai_model_spec": "1.0.0", "modelspec.title": out.stem},
            RECORD: json.dumps([record], sort_keys=True, ensure_ascii=False),
        }
        write_adapter(out, tensors, metadata, saved)
    told = [shape[0] for shape in shapes]
    return Joined(architecture.kind, len(shapes), (min(told), max(told)), error, errors)


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


def _parts(
    files: Sequence[AdapterFile], sources: Sequence[Source], architecture: Architecture
) -> dict[str, list[Part]]:
    """What is added up for every module of which something is left."""
    found: dict[str, list[Part]] = {}
    for file, source in zip(files, sources, strict=True):
        weights = block_weights(source.blocks, architecture)
        for name, module in additive(file).items():
            factor = source.strength * weights[block_of_name(name) or TEXT]
            if factor:
                found.setdefault(name, []).append(Part(file, module, factor))
    if not found:
        raise UsageError("nothing is left: every block of every adapter counts 0")
    return dict(sorted(found.items()))


def _sum(parts: Sequence[Part]) -> LowRank:
    """The factors of a module's changes side by side, or their sum's own where it is narrower."""
    changes = [part.file.factors(part.module) for part in parts]
    inputs = changes[0].down.shape[1:]
    ups, downs = [], []
    for part, own in zip(parts, changes, strict=True):
        if (own.outputs, own.down.shape[1:]) != (changes[0].outputs, inputs):
            raise ModelError(
                f"{part.file.file.name}: {part.module.written} is of another shape than in the"
                " adapters before it: they were made for different models"
            )
        scale = part.factor * own.alpha / own.down.shape[0]
        ups.append(own.up.float().flatten(1) * scale)
        downs.append(own.down.float().flatten(1))
    up, down = torch.cat(ups, dim=1), torch.cat(downs)
    if len(down) > min(len(up), down.shape[1]):
        up, down = whole_factors(up @ down)
    return LowRank(down.reshape(-1, *inputs), up, float(len(down)))


def _exact(parts: Mapping[str, Sequence[Part]], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The tensors of a file in which each module has all its factors."""
    tensors: dict[str, torch.Tensor] = {}
    for name, own in parts.items():
        found = _sum(own)
        up, down = balanced(found.up, found.down.flatten(1))
        tensors |= file_tensors(name, up, down, 1.0, found.down.shape[1:], dtype)
    return tensors
