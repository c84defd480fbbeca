"""Columns of tags to rows of the table of captions: text, parts, sources, rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.columns import (
    BOORU,
    KINDS,
    PERSON,
    RULE,
    TAGGER,
    Images,
    Ints,
    Names,
    Tags,
    joined,
    made,
)
from prep.captions.tokens import Cut, within
from schemas.recipes.prep import RenderSection
from schemas.tables import CAPTION_TAG, CAPTIONS, PARTS
from schemas.tags import SENTENCE, escaped, rendered

SOURCES = {BOORU: "booru", TAGGER: "tagger", BOORU | TAGGER: "both", RULE: "rule", PERSON: "person"}
SEPARATOR = ", "
Words = tuple[pa.Array, pa.Array]  # by the code of a tag its name, and the text captions have
PART_OF_SENTENCE = {"before": "head", "after": "tail"}


@dataclass(frozen=True)
class Sentences:
    """What was said beside imported pictures, one element each."""

    image: Ints
    text: pa.Array


NO_SENTENCES = Sentences(np.zeros(0, np.int64), pa.array([], pa.string()))


def render(tags: Tags, words: Words, images: Images, rules: Sequence[str]) -> pa.Table:
    """Return one row per image, of tags and words as `laid_out` gives them.

    `rules`: names by bit.
    """
    columns = [
        *(column.take(pa.array(tags.tag)) for column in words),
        pa.array(KINDS).take(pa.array(tags.category)),
        _sources(tags),
        pa.array(PARTS).take(pa.array(tags.part)),
        _rules(tags, rules),
    ]
    ends = np.cumsum(np.bincount(tags.image, minlength=len(images)))
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    structs = pa.StructArray.from_arrays(columns, fields=list(CAPTION_TAG))
    return pa.table(
        {
            "set": pa.array(list(images.sets), pa.string()),
            "md5": pa.array(list(images.md5s), pa.string()),
            "caption": pc.binary_join(pa.ListArray.from_arrays(offsets, columns[1]), SEPARATOR),
            "tags": pa.ListArray.from_arrays(offsets, structs),
        },
        schema=CAPTIONS.schema,
    )


def laid_out(
    tags: Tags,
    images: Images,
    options: RenderSection,
    rules: Sequence[str],
    spellings: Mapping[str, str] | None = None,
    sentences: Sentences = NO_SENTENCES,
    cut: Cut | None = None,
) -> tuple[Tags, Words]:
    """Return the tags as text has them: sentences among them, part by part, and not too many.

    The fixed head stands first and the fixed tail last; regularization images have neither, but
    a sentence that is wanted has its place in each.

    `rules`: names by bit. `spellings`: how the person wrote a tag that a rule adds, by its
    canonical form: a trigger such as `my_Char` reaches training as it was typed. `cut`: into
    tokens, for `max_tokens`.
    """
    words = _words(Names.of(tags.names), tuple((spellings or {}).items()), options.escape)
    if options.sentence != "none" and len(sentences.image):
        tags, words = _with_sentences(tags, words, sentences, options, 1 << len(rules) - 1)
    part = np.where(tags.part < 0, _parts(tags, images, options), tags.part)
    tags = replace(tags, part=part).sorted(part)
    if options.max_tokens and cut is not None:
        tags = tags.where(within(tags, words[1], len(images), cut, options.max_tokens))
    return tags, words


@lru_cache(maxsize=1)  # blocks of images have the same names
def _words(names: Names, spellings: tuple[tuple[str, str], ...], escape: bool) -> Words:
    spelt = dict(spellings)
    text = [
        escaped(spelt[name], escape) if name in spelt else rendered(name, escape=escape)
        for name in names
    ]
    return pa.array(names, pa.string()), pa.array(text, pa.string())


def _with_sentences(
    tags: Tags,
    words: Words,
    sentences: Sentences,
    options: RenderSection,
    bit: int,
) -> tuple[Tags, Words]:
    """The tags with a sentence behind those of its image, and words that have the sentences."""
    said = sentences.text
    text = pc.replace_substring_regex(said, r"([()])", r"\\\1") if options.escape else said
    codes = len(words[0]) + np.arange(len(said))
    new = made(tags.names, sentences.image, codes, SENTENCE, BOORU, bit)
    part = PARTS.index(PART_OF_SENTENCE[options.sentence])
    both = joined(tags, replace(new, part=np.full(len(new), part, np.int8)))
    return both, (pa.concat_arrays([words[0], said]), pa.concat_arrays([words[1], text]))


def _parts(tags: Tags, images: Images, options: RenderSection) -> Ints:
    """The part of each tag by the recipe; all of regularization images are shuffled.

    What is said of a single tag counts before what is said of its category.
    """
    flex, fixed = PARTS.index("flex"), options.parts
    kinds = np.array([PARTS.index(fixed.get(kind, "flex")) for kind in KINDS])
    part = kinds[tags.category]
    codes = Names.of(tags.names).codes
    for name, place in fixed.items():
        if name not in KINDS and name in codes:
            part[tags.tag == codes[name]] = PARTS.index(place)
    return np.where(images.is_reg[tags.image], flex, part)


def source_of(bits: int) -> str:
    """Return where a tag is from: what a person or a rule made stays theirs, whoever saw it too."""
    return SOURCES.get(next((one for one in (PERSON, RULE) if bits & one), bits), "")


def _sources(tags: Tags) -> pa.Array:
    names = [source_of(bits) for bits in range(2 * max(SOURCES))]
    return pa.array(names).take(pa.array(tags.source))


def _rules(tags: Tags, rules: Sequence[str]) -> pa.Array:
    """The names of the rules whose bits are set; few distinct sets, so decoded once each."""
    bits = pa.array(tags.touched).dictionary_encode()
    decoded = [
        [name for place, name in enumerate(rules) if held >> place & 1]
        for held in bits.dictionary.to_pylist()
    ]
    return pa.array(decoded, pa.list_(pa.string())).take(bits.indices)
