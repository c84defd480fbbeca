"""What findings are read from: the captions as they are, and what the sources say of the images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.caption import before_rules, collapsed, known
from prep.captions.columns import KINDS, Images, Ints, Tags
from prep.captions.render import SOURCES
from prep.captions.rules import Fitted, Rule, rules_of
from prep.dataset import Dataset
from prep.lint.holders import Holders
from prep.lint.words import Words
from schemas.errors import DatasetError
from schemas.recipes.prep import PrepRecipe
from schemas.tables import CAPTIONS
from schemas.tags import SENTENCE


@dataclass(frozen=True)
class Evidence:
    """Captions and sources over the same images, as columns."""

    dataset: Dataset
    images: Images
    written: Tags  # of the captions, in their order, with sentences among them
    texts: tuple[str, ...]  # what the captions are written with; `text` points in here
    text: Ints  # [written]
    seen: Tags  # what booru and taggers say, under the site's present names, before other rules
    implied: Rule | None  # leaves out what another tag implies
    collapsed: frozenset[str]  # what the trigger stands for
    words: Words
    limit: int  # tokens of a caption that training reads

    @property
    def recipe(self) -> PrepRecipe:
        """The dataset's prep.toml."""
        return self.dataset.recipe

    @cached_property
    def tags(self) -> Tags:
        """The tags of the captions alone."""
        return self.written.where(self.written.category != KINDS.index(SENTENCE))

    @cached_property
    def learnt(self) -> Tags:
        """The tags of the captions to learn from."""
        return self.tags.where(~self.images.is_reg[self.tags.image])

    @cached_property
    def learning(self) -> int:
        """How many images there are to learn from."""
        return int(np.count_nonzero(~self.images.is_reg))

    @cached_property
    def counts(self) -> Ints:
        """In how many captions to learn from each of `tags.names` stands."""
        return np.bincount(self.learnt.tag, minlength=len(self.tags.names)).astype(np.int64)

    @cached_property
    def captioned(self) -> Holders:
        """Which images have a tag in their caption."""
        return Holders.of(self.tags, len(self.images))

    @cached_property
    def shown(self) -> Holders:
        """Which images have a tag by what booru or taggers say."""
        return Holders.of(self.seen, len(self.images))


def gather(dataset: Dataset, words: Words, limit: int) -> Evidence:
    """Read what findings are made from. Raises DatasetError where captions are not up to date."""
    table = dataset.table(CAPTIONS)
    keys = list(zip(table["set"].to_pylist(), table["md5"].to_pylist(), strict=True))
    images, seen = _captioned(*before_rules(dataset), keys)
    if not keys or len(images) < len(keys):
        raise DatasetError(
            f"{dataset.root}: captions are missing or of other images: `prep caption` makes them"
        )
    rules = rules_of(dataset.recipe.caption, Fitted(), known(dataset))
    if "aliases" in rules:
        seen = rules["aliases"](seen, images, 0)
    lists = table["tags"].combine_chunks()
    tags = pc.list_flatten(lists)
    names, texts = (tags.field(name).dictionary_encode() for name in ("tag", "text"))
    return Evidence(
        dataset=dataset,
        images=images,
        written=Tags(
            names=tuple(names.dictionary.to_pylist()),
            image=np.asarray(pc.list_parent_indices(lists), np.int64),
            tag=np.asarray(names.indices, np.int64),
            category=_places(tags.field("category"), {kind: n for n, kind in enumerate(KINDS)}),
            source=_places(tags.field("source"), {word: bits for bits, word in SOURCES.items()}),
            touched=np.zeros(len(names), np.uint64),
            part=np.full(len(names), -1, np.int64),
        ),
        texts=tuple(texts.dictionary.to_pylist()),
        text=np.asarray(texts.indices, np.int64),
        seen=seen,
        implied=rules.get("implied"),
        collapsed=frozenset(collapsed(dataset)),
        words=words,
        limit=limit,
    )


def _captioned(images: Images, seen: Tags, keys: Sequence[tuple[str, str]]) -> tuple[Images, Tags]:
    """The images that have captions, and what is said of them: an edit may exclude some."""
    wanted = set(keys)
    there = np.array(
        [key in wanted for key in zip(images.sets, images.md5s, strict=True)], dtype=bool
    )
    held = seen.where(there[seen.image])
    return images.where(there), replace(held, image=(np.cumsum(there) - 1)[held.image])


def _places(column: pa.Array, codes: dict[str, int]) -> Ints:
    """Words as their codes."""
    words = column.dictionary_encode()
    each = np.array([codes.get(word, 0) for word in words.dictionary.to_pylist()], np.int64)
    return each[np.asarray(words.indices, np.int64)] if len(each) else np.empty(0, np.int64)
