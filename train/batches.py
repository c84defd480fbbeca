"""Which images a step sees: a pure function of (seed, step, manifest).

An epoch holds every image as often as it repeats, in each of its *places* (see schemas.geometry):
each such exposure is a *ticket*. Tickets are shuffled anew each epoch and cut into batches of one
bucket shape; a bucket's last batch may be smaller, and none is left out. Steps, resumes and ranks
need one integer: the batch's number.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa

# what a random stream is for
NOISE, TIMESTEP, SHUFFLE, EPOCH, OFFSET, PERTURBATION, DROP_CAPTION, DROP_TAG, VARIANT = range(9)


@dataclass(frozen=True)
class Batch:
    """A forward pass: places of images (int64 [n]) and which repeat of each it is."""

    places: np.ndarray
    copies: np.ndarray


@dataclass(frozen=True, eq=False)
class Batches:
    """The endless row of batches over some places of a manifest's images.

    places, repeats, shapes (any number naming a bucket): int64 [n]. batch: images in a batch.
    """

    places: np.ndarray
    repeats: np.ndarray
    shapes: np.ndarray
    batch: int
    seed: int

    @cached_property
    def sha256(self) -> str:
        """The hash of everything that shapes the batches."""
        digest = hashlib.sha256(f"{self.batch} {self.seed}".encode())
        for column in (self.places, self.repeats, self.shapes):
            digest.update(column.astype(np.int64).tobytes())
        return digest.hexdigest()

    @cached_property
    def per_epoch(self) -> int:
        """How many batches an epoch has: the same for every epoch."""
        index, _ = self._tickets
        _, counts = np.unique(self.shapes[index], return_counts=True)
        return int((-(-counts // self.batch)).sum())

    def __getitem__(self, number: int) -> Batch:
        """Return batch `number`, counted from 0 over all epochs."""
        epoch, place = divmod(number, self.per_epoch)
        order, ends = self._epoch(epoch)
        chosen = order[ends[place] : ends[place + 1]]
        index, copies = self._tickets
        return Batch(self.places[index[chosen]], copies[chosen])

    def images(self, batches: int) -> int:
        """Return how many images the first `batches` batches hold, repeats counted."""
        epochs, rest = divmod(batches, self.per_epoch)
        return epochs * int(self.repeats.sum()) + (int(self._epoch(epochs)[1][rest]) if rest else 0)

    def exposures(self, batches: int) -> np.ndarray:
        """Return how often each of `places` is seen in the first `batches` batches: int64 [n]."""
        epochs, rest = divmod(batches, self.per_epoch)
        seen = self.repeats * epochs
        if rest:
            order, ends = self._epoch(epochs)
            index, _ = self._tickets
            seen = seen + np.bincount(index[order[: ends[rest]]], minlength=len(self.places))
        return seen

    @cached_property
    def _tickets(self) -> tuple[np.ndarray, np.ndarray]:
        """Per ticket: the number in `places`, and which repeat of it this is."""
        index = np.repeat(np.arange(len(self.places)), self.repeats)
        first = np.repeat(np.cumsum(self.repeats) - self.repeats, self.repeats)
        return index, np.arange(len(index)) - first

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return _epoch_order(self, epoch)


@lru_cache(maxsize=4)
def _epoch_order(batches: Batches, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tickets of an epoch in order, and the borders between its batches."""
    random = stream(batches.seed, EPOCH, epoch)
    index, _ = batches._tickets
    tickets = random.permutation(len(index))
    shapes = batches.shapes[index[tickets]]
    tickets = tickets[np.argsort(shapes, kind="stable")]
    _, counts = np.unique(shapes, return_counts=True)
    starts, lengths = _cut(counts, batches.batch)
    shuffled = random.permutation(len(starts))
    starts, lengths = starts[shuffled], lengths[shuffled]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(starts - ends[:-1], lengths) + np.arange(ends[-1])
    return tickets[places], ends


def _cut(counts: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut runs of `counts` tickets into batches; return each batch's start and length."""
    pieces = -(-counts // batch)
    run = np.repeat(np.arange(len(counts)), pieces)
    within = np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = (np.cumsum(counts) - counts)[run] + within * batch
    return starts, np.minimum(batch, counts[run] - within * batch)


def stream(seed: int, purpose: int, *key: int) -> np.random.Generator:
    """Return the random stream of a seed, a purpose and a key: the same wherever it is drawn."""
    return np.random.default_rng([abs(seed), int(seed < 0), purpose, *key])


def held_out(groups: pa.ChunkedArray, share: float) -> np.ndarray:
    """Return which rows fall into the held-out `share`: bool [rows].

    By hash of the group alone, so that duplicates stay on one side, and the choice is the same
    for every seed and when images are added.
    """
    codes = groups.combine_chunks().dictionary_encode()
    limit = int(share * 2**64)
    chosen = [
        int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < limit
        for name in codes.dictionary.to_pylist()
    ]
    rows: np.ndarray = np.array(chosen, dtype=bool)[codes.indices.to_numpy()]
    return rows
