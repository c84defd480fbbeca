"""Several taggers' probabilities as one, in blocks of images, so that memory stays bounded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from prep.captions.columns import Floats, Ints
from schemas.recipes.prep import TagSection
from schemas.tags import CATEGORIES, canonical
from taggers.vocabulary import Label

BLOCK = 8192  # images worked on at once


@dataclass(frozen=True)
class Read:
    """One tagger's probabilities of the images, the likeliest of each image first."""

    labels: tuple[Label, ...]
    offsets: Ints  # [images + 1]: where those of each image begin, and end
    label: npt.NDArray[np.uint16]  # row of the tagger's vocabulary
    probability: npt.NDArray[np.float32]
    weight: float = 1.0

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The canonical name of each label; empty for what is no tag, such as ratings."""
        return tuple(
            canonical(label.name) if label.category in CATEGORIES else "" for label in self.labels
        )

    def part(self, start: int, stop: int) -> "Read":
        """Return the same of the images from `start` to before `stop` alone."""
        offsets = self.offsets[start : stop + 1]
        kept = slice(offsets[0], offsets[-1])
        return replace(
            self,
            offsets=offsets - offsets[0],
            label=self.label[kept],
            probability=self.probability[kept],
        )

    def block(self, start: int, stop: int) -> tuple[Ints, npt.NDArray[np.uint16], Floats]:
        """Return image, label and probability of the images from `start` to before `stop`."""
        offsets = self.offsets[start : stop + 1]
        counts, part = np.diff(offsets), slice(offsets[0], offsets[-1])
        image = np.repeat(np.arange(start, start + len(counts)), counts)
        return image, self.label[part], self.probability[part].astype(np.float64)


@dataclass(frozen=True)
class Block:
    """Combined probabilities of some images: each image's tags together, none twice."""

    image: Ints
    tag: Ints  # place in `names_of(reads)`; beyond its end what is no tag, such as ratings
    probability: Floats


def names_of(reads: Sequence[Read]) -> dict[str, str]:
    """The category of each tag that a tagger knows, by its canonical name."""
    return {
        name: label.category
        for read in reads
        for name, label in zip(read.names, read.labels, strict=True)
        if name
    }


def codes_of(read: Read, names: Sequence[str]) -> Ints:
    """The place in `names` of each of the tagger's labels; beyond their end for what is no tag."""
    place = {name: n for n, name in enumerate(names)}
    return np.array([place.get(name, len(names)) for name in read.names], np.int64)


def blocks(reads: Sequence[Read], options: TagSection) -> Iterator[Block]:
    """Yield the combined probabilities of the images, block by block. `reads`: at least one.

    The mean is over the taggers that know a tag; a probability too small to be kept counts as none.
    """
    names = list(names_of(reads))
    codes = [codes_of(read, names) for read in reads]
    knowing = np.zeros(len(names) + 1)
    for read, of_read in zip(reads, codes, strict=True):
        np.add.at(knowing, of_read, read.weight)
    if len(reads) == 1 and knowing[:-1].max(initial=0) <= reads[0].weight:  # no tag by two names
        yield from _of_one(reads[0], codes[0])
        return
    for start in range(0, len(reads[0].offsets) - 1, BLOCK):
        image, tag, value = [], [], []
        for read, of_read in zip(reads, codes, strict=True):
            images, labels, probability = read.block(start, start + BLOCK)
            image.append(images)
            tag.append(of_read[labels])
            value.append(probability * read.weight if options.combine == "mean" else probability)
        whole = Block(np.concatenate(image), np.concatenate(tag), np.concatenate(value))
        yield _once(whole, options.combine, knowing)


def _of_one(read: Read, codes: Ints) -> Iterator[Block]:
    for start in range(0, len(read.offsets) - 1, BLOCK):
        image, label, probability = read.block(start, start + BLOCK)
        yield Block(image, codes[label], probability)


def _once(block: Block, combine: str, knowing: Floats) -> Block:
    """Each tag of an image once. A tagger that knows a tag by two names says it twice."""
    key = block.image * len(knowing) + block.tag
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    if not len(starts):
        return block
    reduce = np.add if combine == "mean" else np.maximum
    value = reduce.reduceat(block.probability[order], starts)
    image, tag = block.image[order[starts]], block.tag[order[starts]]
    return Block(image, tag, value / knowing[tag] if combine == "mean" else value)
