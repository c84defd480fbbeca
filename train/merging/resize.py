"""LoRA and LoCon cut to smaller ranks, each module to the nearest change that its rank allows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import torch

from schemas.errors import ModelError, UsageError
from schemas.files import sha256_of
from train.adapter_file import PRECISIONS, write_adapter
from train.adapter_modules import AdapterFile, LowRank, Module, open_adapter
from train.blocks import TEXT, block_of_name
from train.merging.block_weights import named_blocks
from train.merging.factors import Spectrum, spectrum
from train.merging.target import Target, rank_by_values, ranks_by_size
from train.tensor_file import Entry, header

RECORD = "kiroku.resized"  # in metadata: what the file was made from, and how
STALE = ("sshs_model_hash", "sshs_legacy_hash")
RECORDED = 1_000  # bytes that metadata may gain at most: figures, hashes, the record
DYNAMIC = "Dynamic"  # in metadata, as other programs have it: a rank per module

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


@dataclass(frozen=True)
class _Opened:
    """An adapter taken apart. Names are as the file has them; down: the shape of each factor."""

    file: AdapterFile
    spectra: Mapping[str, Spectrum]
    scales: Mapping[str, float]
    down: Mapping[str, tuple[int, ...]]
    blocks: Mapping[str, str]
    precision: str


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
    opened = _open(adapter, precision)
    own = _targets_of_blocks(opened, blocks or {})
    return [_cut(opened, target, own, out) for target, out in zip(targets, outs, strict=True)]


def _open(path: Path, precision: Precision) -> _Opened:
    file = open_adapter(path)
    spectra, scales, shapes, blocks = {}, {}, {}, {}
    dtypes = {entry.dtype for entry in file.file.entries if not entry.name.endswith(".alpha")}
    for module in file.modules:
        plain = low_rank(file, module)
        rank = plain.down.shape[0]
        spectra[module.written] = spectrum(plain.up.flatten(1), plain.down.flatten(1))
        scales[module.written] = plain.alpha / rank
        shapes[module.written] = tuple(plain.down.shape)
        blocks[module.written] = block_of_name(module.name) or TEXT
    same = next((name for name, dtype in PRECISIONS.items() if dtype in dtypes), "fp32")
    return _Opened(
        file, spectra, scales, shapes, blocks, same if precision == "same" else precision
    )


def low_rank(file: AdapterFile, module: Module) -> LowRank:
    """Return the factors of a module. Raises ModelError where it has none to be cut or joined."""
    what = f"{file.file.name}: {module.written}"
    if module.kind == "dora":
        raise ModelError(
            f"{what} is a DoRA, whose lengths were learnt with these very factors: what it changes"
            " depends on the weights it lies on, and the nearest factors do not give the nearest"
            " change; merge it into a checkpoint, or train it at the rank"
        )
    plain = file.read(module).plain if module.kind else None
    if not isinstance(plain, LowRank):
        kind = {"loha": "LoHa", "lokr": "LoKr"}.get(module.kind, "of an unknown kind")
        raise ModelError(
            f"{what} is {kind}: only LoRA and LoCon have factors that can be cut or joined; merge"
            " it into a checkpoint"
        )
    return plain


def _targets_of_blocks(opened: _Opened, blocks: Mapping[str, Target]) -> dict[str, Target]:
    """The target of each block that has one of its own."""
    found = {}
    for names, target in blocks.items():
        for block in named_blocks(names, opened.file.architecture, "--block"):
            found[block] = target
    return found


def _cut(opened: _Opened, target: Target, own: Mapping[str, Target], out: Path) -> Resized:
    dtype = PRECISIONS[opened.precision]
    ranks: dict[str, int] = {}
    for one in sorted({*own.values()} - {target}, key=lambda one: one.text):
        ranks |= _ranks(opened, one, [n for n, b in opened.blocks.items() if own.get(b) == one])
    rest = [name for name in opened.spectra if name not in ranks]
    taken = _bytes_beside(opened, ranks, dtype) if target.measure == "size" else 0
    ranks |= _ranks(opened, replace(target, value=target.value - taken), rest)
    tensors: dict[str, torch.Tensor] = {}
    for name, rank in ranks.items():
        factors = opened.spectra[name].largest(rank)
        scale, shape = opened.scales[name], opened.down[name]
        tensors |= file_tensors(name, *factors, scale, shape[1:], dtype)
    error, errors = _errors(opened, ranks)
    metadata = _metadata(opened, ranks, target, own, error)
    write_adapter(out, tensors, metadata, opened.precision)
    least, most = min(ranks.values()), max(ranks.values())
    return Resized(target.text, out, out.stat().st_size, (least, most), error, errors)


def _ranks(opened: _Opened, target: Target, names: Sequence[str]) -> dict[str, int]:
    """The rank that a target gives to each of these modules."""
    spectra = {name: opened.spectra[name] for name in names}
    if target.measure == "size":
        itemsize = PRECISIONS[opened.precision].itemsize
        return ranks_by_size(target, spectra, opened.scales, itemsize)
    return {name: rank_by_values(target, found.values) for name, found in spectra.items()}


def _bytes_beside(opened: _Opened, ranks: Mapping[str, int], dtype: torch.dtype) -> int:
    """What a file takes beside the factors of the modules that have no rank yet, at most."""
    entries = []
    for name, found in opened.spectra.items():
        rank = ranks.get(name, len(found.values))
        entries += [
            Entry(f"{name}.alpha", dtype, ()),
            Entry(f"{name}.lora_up.weight", dtype, (len(found.left), rank, 1, 1)),
            Entry(f"{name}.lora_down.weight", dtype, (rank, *opened.down[name][1:])),
        ]
    factors = sum(e.size for e in entries if e.shape and e.name.partition(".")[0] in ranks)
    alphas = sum(e.size for e in entries if not e.shape)
    return factors + alphas + len(header(entries, opened.file.file.metadata)) + RECORDED


def file_tensors(
    name: str,
    up: torch.Tensor,
    down: torch.Tensor,
    scale: float,
    inputs: Sequence[int],
    dtype: torch.dtype,
) -> dict[str, torch.Tensor]:
    """Return a module's tensors in a file; up: [out, rank], down: [rank, in * k * k].

    alpha is scale * rank; what `dtype` cannot hold of that goes into `up`.
    """
    rank = down.shape[0]
    alpha = torch.tensor(scale * rank).to(dtype).float()
    held = float(alpha)
    return {
        f"{name}.alpha": alpha,
        f"{name}.lora_down.weight": down.reshape(rank, *inputs),
        f"{name}.lora_up.weight": (up * (scale * rank / held if held else 1.0)).reshape(
            *up.shape, *(1 for _ in inputs[1:])
        ),
    }


def _errors(opened: _Opened, ranks: Mapping[str, int]) -> tuple[float, dict[str, float]]:
    """What is lost of the whole change, and of that of each block."""
    lost: dict[str, float] = {}
    whole: dict[str, float] = {}
    for name, found in opened.spectra.items():
        block, scale = opened.blocks[name], opened.scales[name] ** 2
        whole[block] = whole.get(block, 0.0) + scale * float(found.energy.sum())
        lost[block] = lost.get(block, 0.0) + scale * float(found.energy[ranks[name] :].sum())

    def share(part: float, of: float) -> float:
        return sqrt(part / of) if of else 0.0

    order = [block for block in opened.file.architecture.blocks if block in whole]
    by_block = {block: share(lost[block], whole[block]) for block in order}
    return share(sum(lost.values()), sum(whole.values())), by_block


def _metadata(
    opened: _Opened,
    ranks: Mapping[str, int],
    target: Target,
    own: Mapping[str, Target],
    error: float,
) -> dict[str, str]:
    """The file's metadata, with its ranks as they are now."""
    file = opened.file.file
    kept = {key: value for key, value in file.metadata.items() if key not in STALE}
    wide = {name for name, shape in opened.down.items() if shape[2:] not in ((), (1, 1))}
    dim, alpha = _figures(opened, {n: rank for n, rank in ranks.items() if n not in wide})
    told = {"ss_network_dim": dim, "ss_network_alpha": alpha}
    if wide:
        conv_dim, conv_alpha = _figures(opened, {name: ranks[name] for name in wide})
        arguments = _arguments(kept) | {"conv_dim": conv_dim, "conv_alpha": conv_alpha}
        told["ss_network_args"] = json.dumps(arguments)
    record = {
        "from": {"name": file.path.name, "sha256": sha256_of(file.path)},
        "to": target.text,
        "blocks": {block: one.text for block, one in own.items()},
        "error": round(error, 6),
    }
    return {**kept, **told, RECORD: json.dumps(record, sort_keys=True)}


def _arguments(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the trainer was given for the network; {} where another program says it otherwise."""
    try:
        found = json.loads(metadata.get("ss_network_args", ""))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _figures(opened: _Opened, ranks: Mapping[str, int]) -> tuple[str, str]:
    """Rank and alpha that all of these modules have, or that each has its own."""
    pairs = {(rank, opened.scales[name] * rank) for name, rank in ranks.items()}
    if len(pairs) != 1:
        return DYNAMIC, DYNAMIC
    rank, alpha = pairs.pop()
    return str(rank), f"{alpha:g}"
