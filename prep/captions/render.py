"""Columns of tags to rows of the table of captions: text, parts, sources, rules."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.columns import BOORU, KINDS, PERSON, RULE, TAGGER, Images, Ints, Tags
from schemas.recipes.prep import RenderSection
from schemas.tables import CAPTION_TAG, CAPTIONS, PARTS
from schemas.tags import escaped, rendered

SOURCES = {BOORU: "booru", TAGGER: "tagger", BOORU | TAGGER: "both", RULE: "rule", PERSON: "person"}
SEPARATOR = ", "
BLOCK = 50_000  # images that become text at once


def render(
    tags: Tags,
    images: Images,
    options: RenderSection,
    rules: Sequence[str],
    spellings: Mapping[str, str] | None = None,
) -> pa.Table:
    """Return the rows of all blocks as one table."""
    return pa.concat_tables(blocks(tags, images, options, rules, spellings))


def blocks(
    tags: Tags,
    images: Images,
    options: RenderSection,
    rules: Sequence[str],
    spellings: Mapping[str, str] | None = None,
) -> Iterator[pa.Table]:
    """Yield one row per image, in blocks of images, at least one.

    The fixed head stands first and the fixed tail last; regularization images have neither.

    `rules`: names by bit. `spellings`: how the person wrote a tag that a rule adds, by its
    canonical form: a trigger such as `my_Char` reaches training as it was typed.
    """
    spelt = spellings or {}
    text = pa.array(
        [
            escaped(spelt[name], options.escape)
            if name in spelt
            else rendered(name, escape=options.escape)
            for name in tags.names
        ],
        pa.string(),
    )
    names = pa.array(tags.names, pa.string())
    for start in range(0, max(1, len(images)), BLOCK):
        stop = start + BLOCK
        yield _rows(
            tags.part_of(start, stop), images.part(start, stop), (names, text), options, rules
        )


def _rows(
    tags: Tags,
    images: Images,
    words: tuple[pa.Array, pa.Array],
    options: RenderSection,
    rules: Sequence[str],
) -> pa.Table:
    """One row per image. words: by code, the canonical name and the text."""
    part = np.where(tags.part < 0, _parts(tags, images, options), tags.part)
    tags = replace(tags, part=part).sorted(part)
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


def _parts(tags: Tags, images: Images, options: RenderSection) -> Ints:
    """The part of each tag by the recipe; all of regularization images are shuffled."""
    kinds = np.full(len(KINDS), PARTS.index("flex"))
    for part, categories in (("tail", options.tail), ("head", options.keep)):
        kinds[[KINDS.index(category) for category in categories]] = PARTS.index(part)
    return np.where(images.is_reg[tags.image], PARTS.index("flex"), kinds[tags.category])


def _sources(tags: Tags) -> pa.Array:
    """A rule's own tag stays the rule's, wherever else it was seen."""
    kinds = np.where(tags.source & PERSON, PERSON, np.where(tags.source & RULE, RULE, tags.source))
    names = [SOURCES.get(kind, "") for kind in range(max(SOURCES) + 1)]
    return pa.array(names).take(pa.array(kinds))


def _rules(tags: Tags, rules: Sequence[str]) -> pa.Array:
    """The names of the rules whose bits are set; few distinct sets, so decoded once each."""
    bits = pa.array(tags.touched).dictionary_encode()
    decoded = [
        [name for place, name in enumerate(rules) if held >> place & 1]
        for held in bits.dictionary.to_pylist()
    ]
    return pa.array(decoded, pa.list_(pa.string())).take(bits.indices)
