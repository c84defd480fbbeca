"""Adapters that are nothing but two factors for each module: read, taken apart, written."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch

from schemas.errors import ModelError
from train.adapter_file import PRECISIONS
from train.adapter_modules import AdapterFile, LowRank, Module
from train.blocks import TEXT, Architecture, block_of_name
from train.merging.factors import Spectrum, spectrum

STALE = ("sshs_model_hash", "sshs_legacy_hash")  # metadata that is of the bytes of one file
DYNAMIC = "Dynamic"  # in metadata, as other programs have it: a rank per module


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


def precision_of(files: Iterable[AdapterFile]) -> str:
    """Return the widest precision that the files' factors have."""
    found = {
        entry.dtype
        for file in files
        for entry in file.file.entries
        if not entry.name.endswith(".alpha")
    }
    return next((name for name, dtype in PRECISIONS.items() if dtype in found), "fp32")


@dataclass(frozen=True)
class Apart:
    """An adapter taken apart; everything by the modules' names.

    A change is scale * the spectrum's. inputs: [in, k, k] of a weight. blocks: TE for what lies in
    none.
    """

    architecture: Architecture
    spectra: Mapping[str, Spectrum]
    scales: Mapping[str, float]
    inputs: Mapping[str, tuple[int, ...]]
    blocks: Mapping[str, str]

    def tensors(self, ranks: Mapping[str, int], dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Return the tensors of a file in which each module has its rank."""
        found: dict[str, torch.Tensor] = {}
        for name, rank in ranks.items():
            up, down = self.spectra[name].largest(rank)
            found |= file_tensors(name, up, down, self.scales[name], self.inputs[name], dtype)
        return found

    def errors(self, ranks: Mapping[str, int]) -> tuple[float, dict[str, float]]:
        """Return the share of the Frobenius norm that is lost, of the whole and by block."""
        lost: dict[str, float] = {}
        whole: dict[str, float] = {}
        for name, found in self.spectra.items():
            block, scale = self.blocks[name], self.scales[name] ** 2
            whole[block] = whole.get(block, 0.0) + scale * float(found.energy.sum())
            lost[block] = lost.get(block, 0.0) + scale * float(found.energy[ranks[name] :].sum())
        order = [block for block in self.architecture.blocks if block in whole]
        by_block = {block: _root(lost[block], whole[block]) for block in order}
        return _root(sum(lost.values()), sum(whole.values())), by_block


def take_apart(factors: Mapping[str, LowRank], architecture: Architecture) -> Apart:
    """Return the decomposition of every module."""
    return Apart(
        architecture,
        {name: spectrum(f.up.flatten(1), f.down.flatten(1)) for name, f in factors.items()},
        {name: f.alpha / f.down.shape[0] for name, f in factors.items()},
        {name: tuple(f.down.shape[1:]) for name, f in factors.items()},
        {name: block_of_name(name) or TEXT for name in factors},
    )


def _root(part: float, whole: float) -> float:
    return sqrt(part / whole) if whole else 0.0


def is_wide(inputs: Sequence[int]) -> bool:
    """Whether these inputs [in, k, k] are those of a kernel above 1x1."""
    return any(size > 1 for size in inputs[1:])


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


def network_metadata(
    figures: Iterable[tuple[int, float, bool]], metadata: Mapping[str, str]
) -> dict[str, str]:
    """Return what metadata says of ranks and alphas.

    figures: rank, alpha and whether it is a wide convolution, of each module. metadata: what the
    file says already, whose other arguments of the network stay.
    """
    narrow: set[tuple[int, float]] = set()
    wide: set[tuple[int, float]] = set()
    for rank, alpha, is_conv in figures:
        (wide if is_conv else narrow).add((rank, alpha))
    dim, alpha_told = _told(narrow or wide)
    found = {"ss_network_dim": dim, "ss_network_alpha": alpha_told}
    if wide:
        conv_dim, conv_alpha = _told(wide)
        arguments = _arguments(metadata) | {"conv_dim": conv_dim, "conv_alpha": conv_alpha}
        found["ss_network_args"] = json.dumps(arguments)
    return found


def _told(pairs: set[tuple[int, float]]) -> tuple[str, str]:
    """Rank and alpha that all modules have, or that each has its own."""
    if len(pairs) != 1:
        return DYNAMIC, DYNAMIC
    rank, alpha = next(iter(pairs))
    return str(rank), f"{alpha:g}"


def _arguments(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the trainer was given for the network; {} where another program says it otherwise."""
    try:
        found = json.loads(metadata.get("ss_network_args", ""))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
