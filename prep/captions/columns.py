"""Tags of many images as columns: what every caption rule takes and gives back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tags import CATEGORIES, MADE, SENTENCE

KINDS = (*CATEGORIES, *MADE, SENTENCE)  # a tag's category is its place here
BOORU, TAGGER, RULE, PERSON = 1, 2, 4, 8  # where a tag came from; bits, as two may agree

NO_DAY = -1  # of what has no post: none is so old

Ints = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Names(tuple[str, ...]):
    """The names that tags point to, which knows the place of each: many blocks share one."""

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """The place of each name."""
        return {name: code for code, name in enumerate(self)}

    @classmethod
    def of(cls, names: tuple[str, ...]) -> "Names":
        """Return the same names, as they are where they are of this kind already."""
        return names if isinstance(names, cls) else cls(names)

    def with_(self, names: Iterable[str]) -> "Names":
        """Return these names and behind them those that are not among them."""
        new = [name for name in dict.fromkeys(names) if name not in self.codes]
        return Names((*self, *new)) if new else self


@dataclass(frozen=True)
class Images:
    """The images that get captions, one element each, in the order of (set, md5)."""

    sets: Sequence[str]
    md5s: Sequence[str]
    post_ids: Ints  # 0 for an imported image
    is_reg: Bools
    scores: Floats  # NaN for an imported image
    uploaded: Ints  # int32; days since 1970, NO_DAY for an imported image
    ratings: Ints  # int8; place in RATINGS, -1 where there is none

    @classmethod
    def of_posts(cls, sets: Sequence[str], md5s: Sequence[str], post_ids: Ints) -> "Images":
        """Return images to learn from of whose posts nothing but the tags counts."""
        count = len(md5s)
        return cls(
            sets, md5s, post_ids, np.zeros(count, bool), np.full(count, np.nan),
            np.full(count, NO_DAY, np.int32), np.full(count, -1, np.int8),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.md5s)

    def part(self, start: int, stop: int) -> "Images":
        """Return the images from `start` to before `stop`."""
        part = slice(start, stop)
        return self._with(self.sets[part], self.md5s[part], part)

    def where(self, mask: Bools) -> "Images":
        """Return the images that the mask keeps."""
        held = np.flatnonzero(mask).tolist()
        return self._with([self.sets[n] for n in held], [self.md5s[n] for n in held], mask)

    def _with(self, sets: Sequence[str], md5s: Sequence[str], which: Bools | slice) -> "Images":
        return Images(
            sets, md5s, self.post_ids[which], self.is_reg[which],
            self.scores[which], self.uploaded[which], self.ratings[which],
        )  # fmt: skip

    def places(self, sets: pa.ChunkedArray, md5s: pa.ChunkedArray) -> Ints:
        """Return the place of each pair of set and md5, -1 where it is none of these images."""
        own = _keys(pa.array(self.sets, pa.string()), pa.array(self.md5s, pa.string()))
        found = pc.fill_null(pc.index_in(_keys(sets, md5s), value_set=own), -1)
        return np.asarray(found.to_numpy(), np.int64)


@dataclass(frozen=True)
class Tags:
    """One element per tag of an image: image by image, in the order that captions will have."""

    names: tuple[str, ...]  # canonical; `tag` points in here
    image: Ints  # int32; memory is what a million images have little of
    tag: Ints  # int32
    category: Ints  # uint8
    source: Ints  # uint8
    touched: Ints  # uint32; bit n: the recipe's nth rule added or changed it
    part: Ints  # int8; place in PARTS where a person said it, else -1: by the recipe

    def __len__(self) -> int:
        return len(self.image)

    def where(self, mask: Bools) -> "Tags":
        """Return the tags that the mask keeps."""
        return self.take(np.flatnonzero(mask))

    def take(self, order: Ints | slice) -> "Tags":
        """Return the tags at these places, in this order."""
        return replace(
            self,
            image=self.image[order],
            tag=self.tag[order],
            category=self.category[order],
            source=self.source[order],
            touched=self.touched[order],
            part=self.part[order],
        )

    def sorted(self, rank: Ints) -> "Tags":
        """Return each image's tags by these ranks (below 256); equal ones stay as they stand."""
        key = (self.image.astype(np.int64) << 8) | rank
        if not len(key) or (key[1:] >= key[:-1]).all():
            return self
        return self.take(np.argsort(key, kind="stable"))

    def named(self, names: Iterable[str]) -> Bools:
        """Return which elements have one of these canonical names."""
        own = Names.of(self.names).codes
        return np.isin(self.tag, [own[name] for name in set(names) if name in own])

    def once(self, among: Bools | None = None) -> "Tags":
        """Return each tag of an image once, where it stands first, with the sources of all.

        `among`: the elements of which two may be the same; all, where it is left out.
        """
        places = np.arange(len(self)) if among is None else np.flatnonzero(among)
        key = self.image[places].astype(np.int64) * len(self.names) + self.tag[places]
        in_order = np.sort(key)
        again = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
        if not len(again):
            return self
        # only what stands more than once is put in groups: mostly that is little
        several = again[np.minimum(np.searchsorted(again, key), len(again) - 1)] == key
        places, key = places[several], key[several]
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        grouped = places[order]
        first = grouped[starts]
        source, touched = self.source.copy(), self.touched.copy()
        source[first] = np.bitwise_or.reduceat(source[grouped], starts)
        touched[first] = np.bitwise_or.reduceat(touched[grouped], starts)
        kept = np.ones(len(self), bool)
        kept[places] = False
        kept[first] = True
        return replace(self, source=source, touched=touched).where(kept)

    def with_names(self, names: Sequence[str]) -> tuple["Tags", Ints]:
        """Return the same tags able to hold these names too, and the names' codes."""
        wider = Names.of(self.names).with_(names)
        return replace(self, names=wider), np.array([wider.codes[n] for n in names], np.int32)


def ranges(starts: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """Return the numbers from each start on, as many as its length, and whose each is."""
    which = np.repeat(np.arange(len(starts)), lengths)
    before = np.cumsum(lengths) - lengths
    return which, np.arange(len(which)) + (starts - before)[which]


def made(
    names: tuple[str, ...],
    image: Ints,
    tag: Ints,
    category: str | Ints,
    source: int,
    touched: int = 0,
) -> Tags:
    """Return new tags of one source; `category` is one for all, or one each."""
    count = len(image)
    kinds = np.full(count, KINDS.index(category)) if isinstance(category, str) else category
    return Tags(
        names=names,
        image=image.astype(np.int32, copy=False),
        tag=tag.astype(np.int32, copy=False),
        category=kinds.astype(np.uint8, copy=False),
        source=np.full(count, source, np.uint8),
        touched=np.full(count, touched, np.uint32),
        part=np.full(count, -1, np.int8),
    )


def joined(first: Tags, second: Tags) -> Tags:
    """Return the tags of both, image by image, the first's before the second's.

    Both have the same names and are image by image themselves.
    """
    assert first.names == second.names
    count = len(first) + len(second)
    images = 1 + max(int(one.image[-1]) if len(one) else -1 for one in (first, second))
    held = np.bincount(first.image, minlength=images).cumsum()  # up to and with each image
    behind = np.arange(len(second)) + held[second.image]
    before = np.ones(count, bool)
    before[behind] = False

    def merged(one: Ints, other: Ints) -> Ints:
        whole = np.empty(count, one.dtype)
        whole[before], whole[behind] = one, other
        return whole

    return Tags(
        first.names,
        merged(first.image, second.image),
        merged(first.tag, second.tag),
        merged(first.category, second.category),
        merged(first.source, second.source),
        merged(first.touched, second.touched),
        merged(first.part, second.part),
    )


def _keys(sets: pa.Array | pa.ChunkedArray, md5s: pa.Array | pa.ChunkedArray) -> Any:
    """One text for each pair; an md5 has no "/"."""
    return pc.binary_join_element_wise(md5s, sets, "/")
