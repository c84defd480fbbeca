"""Adapters whose modules are, or can be had as, two factors each: read, measured, cut, written."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import torch

from schemas.errors import ModelError
from schemas.progress import task
from train.adapter_file import NETWORKS, PRECISIONS
from train.adapter_modules import AdapterFile, LowRank, Module
from train.blocks import TEXT, Architecture, block_of_name
from train.merging.factors import singular_values, spectrum

STALE = ("sshs_model_hash", "sshs_legacy_hash")  # metadata that is of the bytes of one file
LORA, _ = NETWORKS["lora"]  # as metadata calls the network
DYNAMIC = "Dynamic"  # in metadata, as other programs have it: a rank per module


def additive(file: AdapterFile) -> dict[str, Module]:
    """Return the modules of a file by name. Raises ModelError unless all are of additive kinds."""
    for module in file.modules:
        what = f"{file.file.name}: {module.written}"
        if module.kind == "dora":
            raise ModelError(
                f"{what} is a DoRA, whose lengths were learnt with these very factors: what it"
                " changes depends on the weights it lies on, and the nearest factors do not give"
                " the nearest change; merge it into a checkpoint, or train it at the rank"
            )
        if not module.kind:
            raise ModelError(
                f"{what} is of a kind not known here, so that it can neither be cut nor joined"
            )
    return {module.name: module for module in file.modules}


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
class Measured:
    """A module's change before it is cut.

    values: singular values, fp64 in falling order. scale: alpha / rank, which is in them. inputs:
    [in, k, k] of the weight. block: TE for what lies in none.
    """

    values: torch.Tensor
    scale: float
    outputs: int
    inputs: tuple[int, ...]
    block: str

    @property
    def energy(self) -> torch.Tensor:
        """The square of each value; their sum is the square of the change's Frobenius norm."""
        return self.values.square()

    @property
    def numbers(self) -> int:
        """How many a file holds for each rank."""
        return self.outputs + prod(self.inputs)


@dataclass(frozen=True)
class Apart:
    """An adapter that is to be cut: its modules by name, and whence each one's factors come.

    They are read twice, to be measured and to be cut: those of all modules together may take more
    memory than there is.
    """

    architecture: Architecture
    modules: Mapping[str, Measured]
    read: Callable[[str], LowRank]

    def cut(
        self, series: Sequence[Mapping[str, int]], dtype: torch.dtype
    ) -> list[dict[str, torch.Tensor]]:
        """Return the tensors of a file for each of the series: ranks by the modules' names."""
        files: list[dict[str, torch.Tensor]] = [{} for _ in series]
        with task("cut", len(self.modules), "modules") as advance:
            for name, of in self.modules.items():
                factors = self.read(name)
                found = spectrum(factors.up.flatten(1), factors.down.flatten(1))
                for file, ranks in zip(files, series, strict=True):
                    up, down = found.largest(ranks[name])
                    file |= file_tensors(name, up, down, of.scale, of.inputs, dtype)
                advance()
        return files

    def errors(self, ranks: Mapping[str, int]) -> tuple[float, dict[str, float]]:
        """Return the share of the Frobenius norm that is lost, of the whole and by block."""
        lost: dict[str, float] = {}
        whole: dict[str, float] = {}
        for name, of in self.modules.items():
            whole[of.block] = whole.get(of.block, 0.0) + float(of.energy.sum())
            lost[of.block] = lost.get(of.block, 0.0) + float(of.energy[ranks[name] :].sum())
        order = [block for block in self.architecture.blocks if block in whole]
        by_block = {block: _root(lost[block], whole[block]) for block in order}
        return _root(sum(lost.values()), sum(whole.values())), by_block


def take_apart(
    read: Callable[[str], LowRank], names: Collection[str], architecture: Architecture
) -> Apart:
    """Measure the modules whose factors `read` gives by name."""
    modules = {}
    with task("measure", len(names), "modules") as advance:
        for name in names:
            factors = read(name)
            scale = factors.alpha / factors.down.shape[0]
            values = singular_values(factors.up.flatten(1), factors.down.flatten(1)) * abs(scale)
            inputs, block = tuple(factors.down.shape[1:]), block_of_name(name) or TEXT
            modules[name] = Measured(values, scale, factors.outputs, inputs, block)
            advance()
    return Apart(architecture, modules, read)


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
    alpha = torch.tensor(scale * rank).to(dtype)
    held = float(alpha)
    up = up * (scale * rank / held if held else 1.0)
    return {
        f"{name}.alpha": alpha,
        f"{name}.lora_down.weight": down.reshape(rank, *inputs).to(dtype),
        f"{name}.lora_up.weight": up.reshape(*up.shape, *(1 for _ in inputs[1:])).to(dtype),
    }


def network_metadata(
    figures: Iterable[tuple[int, float, bool]], metadata: Mapping[str, str]
) -> dict[str, str]:
    """Return what metadata says of the network, which is a LoRA, and of its ranks and alphas.

    figures: rank, alpha and whether it is a wide convolution, of each module. metadata: what the
    file says already; a LoRA's other arguments stay.
    """
    narrow: set[tuple[int, float]] = set()
    wide: set[tuple[int, float]] = set()
    for rank, alpha, is_conv in figures:
        (wide if is_conv else narrow).add((rank, alpha))
    dim, alpha_told = _told(narrow or wide)
    was_lora = metadata.get("ss_network_module", LORA) == LORA
    arguments = _arguments(metadata) if was_lora else {}
    if wide:
        conv_dim, conv_alpha = _told(wide)
        arguments |= {"conv_dim": conv_dim, "conv_alpha": conv_alpha}
    return {
        "ss_network_module": LORA,
        "ss_network_dim": dim,
        "ss_network_alpha": alpha_told,
        "ss_network_args": json.dumps(arguments),
    }


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
