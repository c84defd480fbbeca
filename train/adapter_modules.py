"""What an adapter file holds, module by module: which kind each is, and the change it makes.

Whoever wrote the file: kohya-ss/sd-scripts, LyCORIS, diffusers, peft, kiroku. One module at a time
is read, so that a large file is never in memory whole. A change that is additive can be had as the
product of two factors, whatever its kind.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, prod
from pathlib import Path

import torch

from schemas.errors import ModelError
from train.adapter_names import MARKS, alpha_of, alphas_beside, kohya_name, model_of
from train.adapters import dora, lora, products
from train.blocks import ARCHITECTURES, Architecture
from train.checkpoint_file import SafetensorsFile
from train.tensor_file import Entry

KINDS = ("lora", "loha", "lokr", "full")
ENDS = frozenset(
    (
        *("alpha", "dora_scale"),
        *("lora_down.weight", "lora_mid.weight", "lora_up.weight"),
        *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
        *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
        "diff",
    )
)


@dataclass(frozen=True)
class LowRank:
    """LoRA, LoCon and DyLoRA. up: [out, rank, ...], down: [rank, in, ...]."""

    down: torch.Tensor
    up: torch.Tensor
    alpha: float

    @property
    def outputs(self) -> int:
        """How many the weight has."""
        return self.up.shape[0]

    def rows(self, rows: slice) -> torch.Tensor:
        """Return the change of these outputs, fp32 [n, in * k * k]."""
        return lora.delta(self.down, self.up[rows], self.alpha).flatten(1)

    def factors(self) -> "LowRank":
        """Return the change as two factors, which it is."""
        return self


@dataclass(frozen=True)
class Hadamard:
    """LoHa. Of each pair: left [out, rank], right [rank, in, ...]."""

    first: tuple[torch.Tensor, torch.Tensor]
    second: tuple[torch.Tensor, torch.Tensor]
    alpha: float

    @property
    def outputs(self) -> int:
        """How many the weight has."""
        return self.first[0].shape[0]

    def rows(self, rows: slice) -> torch.Tensor:
        """Return the change of these outputs, fp32 [n, in * k * k]."""
        (left, right), (left2, right2) = self.first, self.second
        return products.loha((left[rows], right), (left2[rows], right2), self.alpha)

    def factors(self) -> LowRank:
        """Return the change as two factors, of the product of both ranks at most."""
        inputs = self.first[1].shape[1:]
        return _low_rank(products.loha_factors(self.first, self.second, self.alpha), inputs)


@dataclass(frozen=True)
class Kronecker:
    """LoKr. Each side is a matrix, or two whose product it is: [a, b], and [c, d, ...]."""

    first: tuple[torch.Tensor, ...]
    second: tuple[torch.Tensor, ...]
    scale: float

    @cached_property
    def one(self) -> torch.Tensor:
        """The first side, [a, b]."""
        return _product(self.first)

    @cached_property
    def two(self) -> torch.Tensor:
        """The second side, [c, d, ...]."""
        return _product(self.second)

    @property
    def outputs(self) -> int:
        """How many the weight has."""
        return self.first[0].shape[0] * self.second[0].shape[0]

    def rows(self, rows: slice) -> torch.Tensor:
        """Return the change of these outputs, fp32 [n, in * k * k]."""
        return products.lokr(self.one, self.two, self.scale, rows)

    def factors(self) -> LowRank:
        """Return the change as two factors, of the product of both sides' ranks."""
        sides = _narrow(self.first, self.one), _narrow(self.second, self.two)
        inputs = (self.one.shape[1] * self.two.shape[1], *self.two.shape[2:])
        return _low_rank(products.lokr_factors(*sides, self.scale), inputs)


@dataclass(frozen=True)
class Whole:
    """Full fine-tuning. change: of the weight's shape."""

    change: torch.Tensor

    @property
    def outputs(self) -> int:
        """How many the weight has."""
        return self.change.shape[0]

    def rows(self, rows: slice) -> torch.Tensor:
        """Return the change of these outputs, fp32 [n, in * k * k]."""
        return self.change[rows].float().flatten(1)

    def factors(self) -> LowRank:
        """Return the change as two factors, of which the narrower is the identity."""
        return _low_rank(products.whole_factors(self.rows(slice(None))), self.change.shape[1:])


Plain = LowRank | Hadamard | Kronecker | Whole


@dataclass(frozen=True)
class Change:
    """What a module adds to its weight. magnitude: DoRA's lengths, which may stand on any kind."""

    plain: Plain
    magnitude: torch.Tensor | None = None

    @property
    def needs_whole(self) -> bool:
        """Whether one output's change depends on the others: DoRA with a length per input."""
        return self.magnitude is not None and self.magnitude.shape[0] != self.plain.outputs

    def delta(self, base: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return the change of outputs `rows`, which are `base` [n, in, ...], fp32, in its shape.

        Raises RuntimeError where the shapes do not go together.
        """
        change = self.plain.rows(rows).reshape(base.shape)
        if self.magnitude is None:
            return change
        magnitude = self.magnitude.float()
        if magnitude.shape[0] == self.plain.outputs:
            magnitude = magnitude[rows]
        flat = magnitude.reshape(magnitude.shape[0], -1)
        ones = [1] * (base.dim() - 2)
        return dora.scaled(base, change, flat.reshape(*flat.shape, *ones))


@dataclass(frozen=True)
class Module:
    """A module in an adapter file. name: as its architecture's files have it."""

    name: str
    written: str  # as this file has it, in kohya's manner
    keys: Mapping[str, str]  # of its tensors, by their ends in kohya's files

    @property
    def ends(self) -> frozenset[str]:
        """What it has of `lora_up.weight` and the like."""
        return frozenset(self.keys)

    @property
    def kind(self) -> str:
        """lora, loha, lokr or full, dora where a length stands on one; "" for any other."""
        kinds = {MARKS[end] for end in self.ends & MARKS.keys()}
        if len(kinds) != 1 or self.ends - ENDS or not kinds <= set(KINDS):
            return ""
        return "dora" if "dora_scale" in self.ends else kinds.pop()


@dataclass(frozen=True)
class AdapterFile:
    """An adapter file, unread but for its header."""

    file: SafetensorsFile
    architecture: Architecture

    @cached_property
    def modules(self) -> tuple[Module, ...]:
        """Its modules, in the order of their names."""
        found = _by_module(self.file)
        return tuple(
            Module(self.architecture.own_name(name), name, keys)
            for name, keys in sorted(found.items())
        )

    @cached_property
    def _alphas(self) -> Mapping[str, float]:
        return alphas_beside(self.file.path, self.file.metadata)

    def read(self, module: Module) -> Change:
        """Return the change that a module of a known kind makes. Raises ModelError."""
        tensors = {end: self.file.tensor(entry) for end, entry in self._entries(module).items()}
        alpha = alpha_of(module.written, self._alphas)
        if alpha is not None and "alpha" not in tensors:
            tensors["alpha"] = torch.tensor(alpha)
        return self._built(module, tensors)

    def sketch(self, module: Module) -> Change:
        """Return the same on the meta device, for its shapes alone. Raises ModelError."""
        empty = {
            end: torch.empty(entry.shape, dtype=entry.dtype, device="meta")
            for end, entry in self._entries(module).items()
            if end != "alpha"
        }
        return self._built(module, empty)

    def factors(self, module: Module) -> LowRank:
        """Return the change that a module of an additive kind makes, as two factors.

        down is in the form of the module's kernel. Raises ModelError.
        """
        plain = self.read(module).plain
        with self._told(module):
            plain.rows(slice(0, 1))  # shapes that do not go together show at one output, too
            found = plain.factors()
        sides = found.up.isfinite().all() and found.down.isfinite().all()
        if not (sides and isfinite(found.alpha)):
            raise ModelError(
                f"{self.file.name}: {module.written} has weights that are not finite: the file is"
                " of no use"
            )
        kernel = self.architecture.kernel(module.name)
        if found.down.dim() == 2 and found.down.shape[1] % prod(kernel) == 0:  # as LyCORIS has it
            return replace(found, down=found.down.reshape(found.down.shape[0], -1, *kernel))
        return found

    def _built(self, module: Module, tensors: Mapping[str, torch.Tensor]) -> Change:
        with self._told(module):
            return build(tensors)

    @contextmanager
    def _told(self, module: Module) -> Iterator[None]:
        """Say it in a sentence where tensors are missing or do not go together."""
        try:
            yield
        except (KeyError, RuntimeError, IndexError) as error:
            said = f"no {error.args[0]}" if isinstance(error, KeyError) else "their shapes differ"
            raise ModelError(
                f"{self.file.name}: the tensors of {module.written} make no change ({said}): get it"
                " again"
            ) from None

    def _entries(self, module: Module) -> dict[str, Entry]:
        return {end: self._by_name[key] for end, key in module.keys.items()}

    @cached_property
    def _by_name(self) -> dict[str, Entry]:
        return {entry.name: entry for entry in self.file.entries}


def open_adapter(path: Path, architecture: Architecture | None = None) -> AdapterFile:
    """Return the adapter in a file; its architecture, where not given, is seen from its names.

    Raises ModelError when it is missing, cut off, or holds no adapter.
    """
    file = SafetensorsFile(path, f"adapter {path.name}")
    if not path.is_file():
        raise ModelError(f"adapter {path} is missing: name a .safetensors file")
    modules = _by_module(file)
    if not is_adapter(file.shapes):
        raise ModelError(
            f"{path.name} holds no adapter that is known here (LoRA, LoHa, LoKr, full)"
        )
    if architecture is None:
        model = model_of(file.shapes, modules, file.metadata)
        architecture = next((a for kind, a in ARCHITECTURES.items() if kind == model), None)
    if architecture is None:
        raise ModelError(f"adapter {path.name} is of another kind of model than SD1.5 and SDXL")
    return AdapterFile(file, architecture)


def is_adapter(names: Iterable[str]) -> bool:
    """Whether a file with these tensors is an adapter."""
    return any(kohya_name(name).end in MARKS for name in names)


def _by_module(file: SafetensorsFile) -> dict[str, dict[str, str]]:
    """The names of the tensors of each module, by their ends."""
    found: dict[str, dict[str, str]] = {}
    for key in file.shapes:
        name = kohya_name(key)
        found.setdefault(name.module, {})[name.end] = key
    return found


def build(tensors: Mapping[str, torch.Tensor]) -> Change:
    """Return the change that the tensors of a module, by the ends of their names, make.

    Without alpha the factors count as they are. Raises KeyError for what is missing, RuntimeError
    for shapes that do not go together.
    """
    if "lora_down.weight" in tensors:
        down, up = tensors["lora_down.weight"], tensors["lora_up.weight"]
        if "lora_mid.weight" in tensors:
            down = products.tucker(tensors["lora_mid.weight"], down)
        plain: Plain = LowRank(down, up, _alpha(tensors, down.shape[0]))
    elif "hada_w1_a" in tensors:
        rank = tensors["hada_w1_b"].shape[0]
        plain = Hadamard(_pair(tensors, 1), _pair(tensors, 2), _alpha(tensors, rank))
    elif "diff" in tensors:
        plain = Whole(tensors["diff"])
    else:
        plain = _kronecker(tensors)
    return Change(plain, tensors.get("dora_scale"))


def _alpha(tensors: Mapping[str, torch.Tensor], rank: int) -> float:
    return float(tensors["alpha"]) if "alpha" in tensors else float(rank)


def _pair(tensors: Mapping[str, torch.Tensor], number: int) -> tuple[torch.Tensor, torch.Tensor]:
    left, right = tensors[f"hada_w{number}_a"], tensors[f"hada_w{number}_b"]
    if f"hada_t{number}" in tensors:
        return left.T, products.tucker(tensors[f"hada_t{number}"], right)
    return left, right


def _kronecker(tensors: Mapping[str, torch.Tensor]) -> Kronecker:
    """LoKr, either side of which may be whole; where both are, alpha means nothing."""
    ranks = [tensors[end].shape[0] for end in ("lokr_w1_b", "lokr_w2_b") if end in tensors]
    scale = _alpha(tensors, ranks[0]) / ranks[0] if ranks else 1.0
    sides: list[tuple[torch.Tensor, ...]] = []
    for side in ("lokr_w1", "lokr_w2"):
        if side in tensors:
            sides.append((tensors[side],))
            continue
        left, right = tensors[f"{side}_a"], tensors[f"{side}_b"]
        if side == "lokr_w2" and "lokr_t2" in tensors:
            left, right = left.T, products.tucker(tensors["lokr_t2"], right)
        sides.append((left, right))
    return Kronecker(sides[0], sides[1], scale)


def _product(side: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """A side of LoKr as one matrix, fp32."""
    if len(side) == 1:
        return side[0].float()
    left, right = side
    product = left.float() @ right.float().flatten(1)
    return product.reshape(-1, *right.shape[1:])


def _narrow(side: tuple[torch.Tensor, ...], matrix: torch.Tensor) -> products.Factors:
    """The factors of a side of LoKr, where they are narrower than the matrix that they make."""
    flat = matrix.flatten(1)
    if len(side) == 2 and side[1].shape[0] < min(flat.shape):
        return side[0], side[1].flatten(1)
    return products.whole_factors(flat)


def _low_rank(factors: products.Factors, inputs: Sequence[int]) -> LowRank:
    """Factors that count as they are. inputs: [in, k, k]."""
    up, down = factors
    return LowRank(down.reshape(-1, *inputs), up, float(down.shape[0]))
