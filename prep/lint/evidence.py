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
from prep.captions.stored import blocks
from prep.dataset import Dataset
from prep.lint.holders import Holders
from prep.lint.words import Words
from schemas.errors import DatasetError
from schemas.recipes.prep import PrepRecipe
from schemas.tables import CAPTIONS
from schemas.tags import SENTENCE

NO_KEYS = CAPTIONS.empty().select(CAPTIONS.key)


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
        is_tag = self.written.category != KINDS.index(SENTENCE)
        return self.written if is_tag.all() else self.written.where(is_tag)

    @cached_property
    def learnt(self) -> Tags:
        """The tags of the captions to learn from."""
        learnt = ~self.images.is_reg[self.tags.image]
        return self.tags if learnt.all() else self.tags.where(learnt)

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
    stored = _stored(dataset)
    images, seen = before_rules(dataset)
    keys = pa.concat_tables([*(block.select(CAPTIONS.key) for block in stored), NO_KEYS])
    place = images.places(keys["set"], keys["md5"])
    if not len(place) or place.min() < 0:
        raise DatasetError(
            f"{dataset.root}: captions are missing or of other images: `prep caption` makes them"
        )
    images, seen = _captioned(images, seen, place)
    rules = rules_of(dataset.recipe.caption, Fitted(), known(dataset))
    if "aliases" in rules:
        seen = rules["aliases"](seen, images, 0)
    names, texts, category, source = (
        _words(stored, name) for name in ("tag", "text", "category", "source")
    )
    lengths = [pc.list_value_length(block["tags"]).to_numpy() for block in stored]
    image = np.repeat(np.arange(len(place), dtype=np.int32), np.concatenate(lengths))
    return Evidence(
        dataset=dataset,
        images=images,
        written=Tags(
            names=tuple(names.dictionary.to_pylist()),
            image=image,
            tag=np.asarray(names.indices, np.int32),
            category=_places(category, {kind: n for n, kind in enumerate(KINDS)}),
            source=_places(source, {word: bits for bits, word in SOURCES.items()}),
            touched=np.zeros(len(names), np.uint32),
            part=np.full(len(names), -1, np.int8),
        ),
        texts=tuple(texts.dictionary.to_pylist()),
        text=np.asarray(texts.indices, np.int32),
        seen=seen,
        implied=rules.get("implied"),
        collapsed=frozenset(collapsed(dataset)),
        words=words,
        limit=limit,
    )


def _stored(dataset: Dataset) -> list[pa.Table]:
    """The captions that stand, block by block; none where there are none."""
    path = dataset.path_of(CAPTIONS)
    return list(blocks(path, ["set", "md5", "tags"])) if path.exists() else []


def _words(stored: Sequence[pa.Table], name: str) -> pa.DictionaryArray:
    """One of the words of each tag, with one dictionary for all."""
    lists = [chunk for block in stored for chunk in block["tags"].chunks]
    parts = [chunk.flatten().field(name) for chunk in lists]
    whole = pa.chunked_array(parts, pa.dictionary(pa.int32(), pa.string()))
    return whole.unify_dictionaries().combine_chunks()


def _captioned(images: Images, seen: Tags, place: Ints) -> tuple[Images, Tags]:
    """The images that have captions, and what is said of them: an edit may exclude some."""
    there = np.zeros(len(images), bool)
    there[place] = True
    if there.all():
        return images, seen
    held = seen.where(there[seen.image])
    return images.where(there), replace(held, image=(np.cumsum(there) - 1)[held.image])


def _places(column: pa.DictionaryArray, codes: dict[str, int]) -> Ints:
    """Words as their codes."""
    each = np.array([codes.get(word, 0) for word in column.dictionary.to_pylist()], np.uint8)
    return each[np.asarray(column.indices)] if len(each) else np.empty(0, np.uint8)
