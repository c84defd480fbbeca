"""What adapters and other checkpoints add to the tensors of a checkpoint, and how it is added.

    W = W0 + sum of strength * factor of the block * change(W0)

Every change is that of the base as it was, so that the order does not matter. It is computed in
fp32, some outputs at a time: beside the tensor itself no more than a few MB are needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Protocol

import torch

from schemas.errors import ModelError
from train.adapter_modules import AdapterFile, Module
from train.merging.checkpoint import Checkpoint, TensorFile, TensorKey
from train.tensor_file import Entry

AT_ONCE = 1 << 22  # numbers of a weight that are changed at once, 16 MiB in fp32


class Delta(Protocol):
    """A change of a weight."""

    @property
    def needs_whole(self) -> bool:
        """Whether one output's change depends on the others."""
        ...

    def delta(self, base: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return the change of outputs `rows`, which are `base` [n, ...], fp32, in its shape."""
        ...


@dataclass(frozen=True)
class Addition:
    """A change of some rows of a tensor, and what it counts."""

    rows: slice
    factor: float
    change: Delta


@dataclass(frozen=True)
class AdapterInUse:
    """An adapter, its strength times the factor of each block, and the modules that are there."""

    adapter: AdapterFile
    factors: Mapping[str, float]
    matched: Mapping[str, Module]  # by name

    def additions(self, part: TensorFile, entry: Entry) -> Iterator[Addition]:
        """Read and yield what is added to a tensor."""
        for piece in part.pieces.get(entry.name, ()):
            factor = self.factors[piece.block]
            if factor and piece.module in self.matched:
                change = self.adapter.read(self.matched[piece.module])
                yield Addition(piece.rows, factor, change)


@dataclass(frozen=True)
class Difference:
    """Another checkpoint's tensor, less the base's or, where it is given, a third one's."""

    other: torch.Tensor
    third: torch.Tensor | None
    needs_whole = False

    def delta(self, base: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return the difference in these rows, fp32."""
        return self.other[rows].float() - (base if self.third is None else self.third[rows].float())


@dataclass(frozen=True)
class CheckpointInUse:
    """Another checkpoint in the base's layout; third: what it is compared with, else the base."""

    other: Checkpoint
    factors: Mapping[str, float]
    matched: frozenset[TensorKey]
    third: Checkpoint | None = None

    def additions(self, part: TensorFile, entry: Entry) -> Iterator[Addition]:
        """Read and yield what is added to a tensor."""
        pieces, key = part.pieces.get(entry.name, ()), part.key(entry)
        if pieces and key in self.matched and (factor := self.factors[pieces[0].block]):
            other = self.other.read(key)
            third = None if self.third is None else self.third.read(key)
            yield Addition(slice(0, len(other)), factor, Difference(other, third))


InUse = AdapterInUse | CheckpointInUse


def changed(
    tensor: torch.Tensor, additions: Sequence[Addition], dtype: torch.dtype, name: str
) -> torch.Tensor:
    """Return the tensor with everything added, in `dtype`; what was handed in may be overwritten.

    Raises ModelError where a number becomes too large for `dtype`.
    """
    result = tensor if tensor.dtype == dtype else tensor.to(dtype)
    if not additions:
        return result
    base, into = (one if one.dim() else one[None] for one in (tensor, result))
    for rows in _chunks(base, additions):
        before = base[rows].float()
        after = before.clone()
        for addition in additions:
            start, stop = addition.rows.start, addition.rows.stop
            if start <= rows.start and rows.stop <= stop:
                own = slice(rows.start - start, rows.stop - start)
                after.add_(addition.change.delta(before, own), alpha=addition.factor)
        into[rows] = after.to(dtype)
        if not _fits(after, dtype) and _fits(before, dtype):
            raise ModelError(
                f"{name} becomes too large for {str(dtype).removeprefix('torch.')}: lower the"
                " strengths, or write it with --precision bf16 or fp32"
            )
    return result


def _fits(numbers: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether all are finite in `dtype`."""
    low, high = torch.aminmax(numbers)
    limit = torch.finfo(dtype).max
    return -limit <= float(low) and float(high) <= limit


def _chunks(tensor: torch.Tensor, additions: Sequence[Addition]) -> Iterator[slice]:
    """The rows that are changed, some at a time; no addition begins or ends within a chunk."""
    edges = {edge for one in additions for edge in (one.rows.start, one.rows.stop)}
    if not any(one.change.needs_whole for one in additions):
        step = max(1, AT_ONCE // max(1, prod(tensor.shape[1:])))
        edges |= set(range(min(edges), max(edges), step))
    for start, stop in pairwise(sorted(edges)):
        if any(one.rows.start <= start and stop <= one.rows.stop for one in additions):
            yield slice(start, stop)
