"""Columns of tags to rows of the table of captions: text, parts, sources, rules."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.columns import BOORU, KINDS, PERSON, RULE, TAGGER, Images, Tags
from schemas.recipes.prep import RenderSection
from schemas.tables import CAPTION_TAG, CAPTIONS
from schemas.tags import rendered

SOURCES = {BOORU: "booru", TAGGER: "tagger", BOORU | TAGGER: "both", RULE: "rule", PERSON: "person"}
SEPARATOR = ", "


def render(tags: Tags, images: Images, options: RenderSection, rules: Sequence[str]) -> pa.Table:
    """Return one row per image. `rules`: names by bit. Regularization images have no fixed head."""
    text = pa.array([rendered(name, escape=options.escape) for name in tags.names], pa.string())
    head = np.isin(tags.category, [KINDS.index(category) for category in options.keep])
    head &= ~images.is_reg[tags.image]
    columns = [
        pa.array(list(tags.names), pa.string()).take(pa.array(tags.tag)),
        text.take(pa.array(tags.tag)),
        pa.array(KINDS).take(pa.array(tags.category)),
        _sources(tags),
        pa.array(["flex", "head"]).take(pa.array(head.astype(np.int64))),
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


def _sources(tags: Tags) -> pa.Array:
    """A rule's own tag stays the rule's, wherever else it was seen."""
    kinds = np.where(tags.source & PERSON, PERSON, np.where(tags.source & RULE, RULE, tags.source))
    names = [SOURCES.get(kind, "") for kind in range(max(SOURCES) + 1)]
    return pa.array(names).take(pa.array(kinds))


def _rules(tags: Tags, rules: Sequence[str]) -> pa.Array:
    """The names of the rules whose bits are set; few distinct sets, so decoded once each."""
    distinct, which = np.unique(tags.touched, return_inverse=True)
    decoded = [
        [name for place, name in enumerate(rules) if int(bits) >> place & 1] for bits in distinct
    ]
    return pa.array(decoded, pa.list_(pa.string())).take(pa.array(which))
