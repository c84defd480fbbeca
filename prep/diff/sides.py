"""The two sides of a comparison as columns over one list of words: captions then and now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import filterfalse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.columns import KINDS, Bools, Ints, Tags
from prep.captions.render import Words as Texts
from prep.captions.render import source_of
from prep.captions.stored import blocks
from schemas.tables import CAPTIONS, PARTS

SHARED = 4  # lists of words that are kept with their codes
BITS = range(16)  # of the sources of a tag
COLUMNS = ("tag", "text", "category", "source", "part")
_ALL = ("image", *COLUMNS, "first", "last")


class Words:
    """All texts that are met, each with its code: names, texts, categories, parts, rules."""

    def __init__(self) -> None:
        self.all: list[str] = []  # by code
        self._codes: dict[str, int] = {}
        self._shared: list[tuple[Any, Ints]] = []

    def __len__(self) -> int:
        return len(self.all)

    def code(self, word: str) -> int:
        """Return the code of a word."""
        code = self._codes.setdefault(word, len(self.all))
        if code == len(self.all):
            self.all.append(word)
        return code

    def codes(self, words: Sequence[str]) -> Ints:
        """Return the codes of some words."""
        for new in dict.fromkeys(filterfalse(self._codes.__contains__, words)):
            self.code(new)
        return np.fromiter(map(self._codes.__getitem__, words), np.int32, len(words))

    def codes_of(self, words: Sequence[str] | pa.Array) -> Ints:
        """Return the codes of a list that blocks of images share: they are looked up once."""
        for held, codes in self._shared:
            if held is words:
                return codes
        codes = self.codes(words.to_pylist() if isinstance(words, pa.Array) else words)
        self._shared = [(words, codes), *self._shared[: SHARED - 1]]
        return codes

    def places(self, words: Sequence[str], other: int) -> Ints:
        """Return by the code of a word its place among some, `other` for what is none of them."""
        codes = self.codes(words)
        found = np.full(len(self), other)
        found[codes] = np.arange(len(codes))
        return found

    def coded(self, column: pa.DictionaryArray) -> Ints:
        """Return the codes of a column."""
        return _at(self.codes(column.dictionary.to_pylist()), column.indices.to_numpy())


@dataclass(frozen=True)
class Side:
    """Captions of images on one side, an element for each tag, image by image, in their order.

    All but `image` are codes of `Words`.
    """

    image: Ints  # place among the images that are compared
    tag: Ints
    text: Ints
    category: Ints
    source: Ints
    part: Ints
    first: Ints  # the first rule that touched the tag; -1: none did
    last: Ints

    def __len__(self) -> int:
        return len(self.image)

    def take(self, which: Bools | Ints | slice) -> "Side":
        """Return the tags at these places, or that a mask keeps."""
        return Side(*(getattr(self, name)[which] for name in _ALL))

    def counts(self, images: int) -> Ints:
        """Return how many tags each image has."""
        return np.bincount(self.image, minlength=images).astype(np.int64)


def side_of(tags: Tags, texts: Texts, rules: Sequence[str], words: Words) -> Side:
    """Return tags as captions have them. texts: by the code of a tag its name and its text."""
    bits = pa.array(tags.touched).dictionary_encode()
    which = bits.indices.to_numpy()
    touching = [
        [name for n, name in enumerate(rules) if held >> n & 1]
        for held in bits.dictionary.to_pylist()
    ]
    return Side(
        tags.image,
        _at(words.codes_of(texts[0]), tags.tag),
        _at(words.codes_of(texts[1]), tags.tag),
        _at(words.codes(KINDS), tags.category),
        _at(words.codes([source_of(held) for held in BITS]), tags.source),
        _at(words.codes(PARTS), tags.part),
        _at(_ends(touching, 0, words), which),
        _at(_ends(touching, -1, words), which),
    )


class Stored:
    """The table of captions, if there is one, read in its order and never held whole."""

    def __init__(self, path: Path, words: Words) -> None:
        """Begin to read. `keys` raises DataError where it is no such table."""
        self.there = path.exists()
        self._path, self._words = path, words
        self._blocks = blocks(path, ["tags"])
        self._rest: Any = pa.array([], pa.list_(pa.null()))  # of the block that is being read
        self._at = 0  # the row that is read next

    def keys(self) -> pa.Table:
        """Return set and md5 of all captions."""
        if not self.there:
            return CAPTIONS.empty()
        return pa.concat_tables([*blocks(self._path, ["set", "md5"]), CAPTIONS.only().empty()])

    def rows(self, first: int, last: int) -> Side:
        """Return the captions from row `first` to before `last`; `image` is 0 for the first.

        What was read once does not come again: `first` is no less than the `last` of before.
        """
        parts = []
        while self._at < last:
            if not len(self._rest):
                self._rest = next(self._blocks)["tags"].combine_chunks()
            behind = self._rest[: last - self._at]
            wanted = behind[max(0, first - self._at) :]
            side = self._side(wanted)
            at = self._at + len(behind) - len(wanted) - first
            parts.append(replace(side, image=side.image + at))
            self._rest = self._rest[len(behind) :]
            self._at += len(behind)
        return together(parts)

    def close(self) -> None:
        """Let go of the file, which the next `prep caption` replaces."""
        self._blocks.close()

    def _side(self, lists: pa.ListArray) -> Side:
        flat = lists.flatten()
        image = pc.list_parent_indices(lists).to_numpy().astype(np.int32)
        tag, text, category, source, part = (
            self._words.coded(flat.field(name)) for name in COLUMNS
        )
        first, last = self._touching(flat.field("rules"))
        return Side(image, tag, text, category, source, part, first, last)

    def _touching(self, rules: pa.ListArray) -> tuple[Ints, Ints]:
        """The first and the last rule that touched each tag."""
        codes = np.append(self._words.coded(rules.values), np.int32(-1))
        starts, ends = rules.offsets.to_numpy()[:-1], rules.offsets.to_numpy()[1:]
        some = ends > starts
        return codes[np.where(some, starts, -1)], codes[np.where(some, ends - 1, -1)]


def together(parts: Sequence[Side]) -> Side:
    """Return some sides as one."""
    empty = np.empty(0, np.int32)
    columns = ([getattr(one, name) for one in parts] for name in _ALL)
    return Side(*(np.concatenate([empty, *some]) for some in columns))


def nothing() -> Side:
    """Return a side without captions."""
    return together(())


def _ends(lists: Sequence[Sequence[str]], end: int, words: Words) -> Ints:
    """The code of the first or last word of each list, -1 where it has none."""
    return np.array([words.code(some[end]) if some else -1 for some in lists], np.int32)


def _at(codes: Ints, places: Ints) -> Ints:
    return codes[places] if len(codes) else np.empty(0, np.int32)
