"""Which captions an edit is about: images as they came, by what stands for them now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.columns import Images, Ints, ranges
from prep.dataset import Dataset
from schemas.tables import GROUPS


@dataclass(frozen=True)
class Places:
    """The places in `Images` that each md5 speaks of: its keeper's, in every set that has it."""

    md5s: pa.Array  # each once
    starts: Ints  # where the places of each begin
    places: Ints

    def of(self, md5s: Iterable[str]) -> tuple[Ints, Ints]:
        """Return which of the md5s is meant and a place of it, pair by pair, by the former.

        An md5 that nothing is known of has no pair.
        """
        found = pc.index_in(pa.array(md5s, pa.string()), value_set=self.md5s)
        known = np.flatnonzero(np.asarray(found.is_valid()))
        codes = found.drop_null().to_numpy().astype(np.int64)
        which, at = ranges(self.starts[codes], self.starts[codes + 1] - self.starts[codes])
        return known[which], self.places[at]


def places_of(dataset: Dataset, images: Images) -> Places:
    """Return where every image of a group, under every name it ever had, has its caption."""
    groups = dataset.table(GROUPS).select(["set", "md5", "keeper"])
    at = images.places(groups["set"], groups["keeper"])
    md5s, at = groups["md5"].filter(pa.array(at >= 0)), at[at >= 0]
    if not (originals := dataset.originals()):
        return _indexed(md5s, at)
    named = _with_earlier_names(list(zip(md5s.to_pylist(), at.tolist(), strict=True)), originals)
    return _indexed(
        pa.array([md5 for md5, _ in named], pa.string()), np.array([n for _, n in named], np.int64)
    )


def _with_earlier_names(
    named: list[tuple[str, int]], originals: Mapping[str, str]
) -> list[tuple[str, int]]:
    """The same, for the image that came and for all that ever stood in its place."""
    names: dict[str, list[str]] = {}
    for later, first in originals.items():
        names.setdefault(first, [first]).append(later)
    return [
        (name, n)
        for md5, n in named
        for name in names.get(originals.get(md5, md5), (md5,))
    ]  # fmt: skip


def _indexed(md5s: pa.Array | pa.ChunkedArray, places: Ints) -> Places:
    encoded = md5s.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.to_numpy().astype(np.int64)
    order = np.lexsort((places, codes))
    starts = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
    return Places(encoded.dictionary, starts, places[order])
