"""Which modules of an adapter, or tensors of a checkpoint, are found in the base, and why not."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from schemas.errors import ModelError
from train.adapter_modules import ENDS, AdapterFile, Module, open_adapter
from train.blocks import TEXT, block_of_name
from train.kinds import SPOKEN
from train.merging.block_weights import block_weights
from train.merging.changes import AdapterInUse, CheckpointInUse
from train.merging.checkpoint import Checkpoint, open_base
from train.merging.sources import Source

ABSENT = "not in the checkpoint"
OF_ANOTHER_SHAPE = "of another shape in the checkpoint"


@dataclass(frozen=True)
class Match:
    """What a file gives to the base. Counts are of modules, of a checkpoint's file of tensors."""

    name: str
    kinds: Mapping[str, int]  # lora, dora, loha, lokr; or checkpoint
    strength: float
    factors: Mapping[str, float]  # of the blocks in which it has something, strength included
    matched: int
    unmatched: Mapping[str, str]  # reasons by name

    @property
    def found(self) -> int:
        return self.matched + len(self.unmatched)


def match_adapter(base: Checkpoint, source: Source) -> tuple[AdapterInUse, Match]:
    """Find the modules of an adapter in the base. Raises ModelError, UsageError."""
    adapter = open_adapter(source.path, base.architecture)
    factors = _factors(source, base)
    matched, unmatched = find_modules(adapter, base.shapes())
    told = Match(
        source.path.name,
        dict(Counter(module.kind for module in matched.values())),
        source.strength,
        _held(factors, {block_of_name(name) or TEXT for name in matched}),
        len(matched),
        unmatched,
    )
    return AdapterInUse(adapter, factors, matched), told


def find_modules(
    adapter: AdapterFile, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Module], dict[str, str]]:
    """Return an adapter's modules that weights of these shapes have, by name, and why not others.

    shapes: by the modules' names; the reasons: by the names that the file has.
    """
    matched: dict[str, Module] = {}
    unmatched: dict[str, str] = {}
    for module in adapter.modules:
        if reason := _reason(adapter, module, shapes.get(module.name)):
            unmatched[module.written] = reason
        else:
            matched[module.name] = module
    return matched, unmatched


def match_checkpoint(
    base: Checkpoint, source: Source, third: Checkpoint | None
) -> tuple[CheckpointInUse, Match]:
    """Find the tensors of the base in another checkpoint. Raises ModelError, UsageError."""
    other = open_base(source.path)
    for one in (other, *([third] if third else [])):
        _check_layout(base, one)
    factors = _factors(source, base)
    unmatched = {}
    matched = set()
    for key, (_, entry) in base.tensors.items():
        if not entry.dtype.is_floating_point:
            continue
        name = "/".join(filter(None, key))
        for one in (other, *([third] if third else [])):
            there = one.tensors.get(key)
            if there is None:
                unmatched[name] = f"not in {one.path.name}"
            elif there[1].shape != entry.shape:
                unmatched[name] = f"of another shape in {one.path.name}"
        if name not in unmatched:
            matched.add(key)
    told = Match(
        source.path.name,
        {"checkpoint": len(matched)},
        source.strength,
        factors,
        len(matched),
        unmatched,
    )
    return CheckpointInUse(other, factors, frozenset(matched), third), told


def check_match(match: Match, allow_unmatched: bool) -> None:
    """Raise ModelError unless everything was found, or enough where the rest may be left out."""
    if allow_unmatched and match.matched:
        return
    remedy = "--dry-run lists them, --allow-unmatched leaves them out"
    check_found(match.name, match.matched, match.unmatched, remedy)


def check_found(name: str, matched: int, unmatched: Mapping[str, str], remedy: str) -> None:
    """Raise ModelError, with what can be done, unless everything of the file `name` was found."""
    if not unmatched:
        return
    module, reason = next(iter(unmatched.items()))
    if not matched:
        raise ModelError(
            f"nothing of {name} is found in the checkpoint ({module}: {reason}): it was made"
            " for another kind of model"
        )
    raise ModelError(
        f"{len(unmatched)} of {matched + len(unmatched)} modules of {name} are not found"
        f" ({module}: {reason}): {remedy}"
    )


def _factors(source: Source, base: Checkpoint) -> dict[str, float]:
    weights = block_weights(source.blocks, base.architecture)
    return {block: source.strength * weight for block, weight in weights.items()}


def _held(factors: Mapping[str, float], blocks: set[str]) -> dict[str, float]:
    """The factors of the blocks that something lies in; what is in no block counts as TE."""
    return {block: factor for block, factor in factors.items() if block in blocks}


def _reason(adapter: AdapterFile, module: Module, shape: tuple[int, ...] | None) -> str:
    """Why a module is not merged; "" when it can be."""
    if not module.kind:
        strange = ", ".join(f".{end}" for end in sorted(module.ends - ENDS or module.ends))
        return f"of a kind not known here ({strange})"
    if shape is None:
        return ABSENT
    sketch = adapter.sketch(module)
    try:
        sketch.delta(torch.empty(shape, device="meta"), slice(0, shape[0]))
    except RuntimeError:
        return OF_ANOTHER_SHAPE
    return "" if sketch.plain.outputs == shape[0] else OF_ANOTHER_SHAPE


def _check_layout(base: Checkpoint, other: Checkpoint) -> None:
    if other.architecture != base.architecture:
        kinds = SPOKEN[base.architecture.kind], SPOKEN[other.architecture.kind]
        raise ModelError(f"{base.path.name} is {kinds[0]} and {other.path.name} is {kinds[1]}")
    if base.path.is_dir() != other.path.is_dir():
        raise ModelError(
            f"{base.path.name} and {other.path.name} are of two layouts, a single file and a"
            " folder: give both in one"
        )
