"""Where tags come from: the site's posts, imported text files, and taggers' probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.columns import BOORU, KINDS, TAGGER, Images, Tags, joined, made
from schemas.recipes.prep import TagSection
from schemas.tags import CATEGORIES, canonical
from taggers.vocabulary import Label, thresholds


@dataclass(frozen=True)
class Read:
    """One tagger's probabilities of the images, in long form."""

    labels: tuple[Label, ...]
    image: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]  # row of the tagger's vocabulary
    probability: npt.NDArray[np.float32]


def from_booru(images: Images, posts: pa.Table) -> Tags:
    """Return the tags that the posts carry, category by category, in the site's order."""
    rows = _rows_of(images.post_ids, posts.column("id"))
    known = rows >= 0
    taken = posts.take(pa.array(rows[known]))
    image_of_row = np.flatnonzero(known)
    parts = []
    for category in CATEGORIES:
        lists = taken.column(category).combine_chunks()
        names = pc.list_flatten(lists)
        image = image_of_row[pc.list_parent_indices(lists).to_numpy()]
        parts.append((category, image, names))
    return _coded(parts, BOORU)


def from_imports(images: Images, imported: pa.Table, categories: Mapping[str, str]) -> Tags:
    """Return the tags that lay beside imported files, in the order they stood in.

    A tag's category is what was said beside it, else what a tagger knows (`categories`).
    """
    place = {key: n for n, key in enumerate(zip(images.sets, images.md5s, strict=True))}
    names: dict[str, int] = {}
    image, tag, kind = [], [], []
    for row in imported.to_pylist():
        if (n := place.get((row["set"], row["md5"]))) is not None:
            for name, category in zip(row["tags"], row["categories"], strict=True):
                image.append(n)
                tag.append(names.setdefault(name, len(names)))
                kind.append(KINDS.index(category or categories.get(name, "general")))
    codes, kinds = np.array(tag, np.int64), np.array(kind, np.int64)
    return made(tuple(names), np.array(image, np.int64), codes, kinds, BOORU)


def from_taggers(reads: Sequence[Read], options: TagSection) -> Tags:
    """Return the tags whose combined probability reaches its threshold, the likeliest first.

    Several taggers: the mean over those that know the tag, or the maximum.
    """
    names = tuple(dict.fromkeys(canonical(one.name) for read in reads for one in read.labels))
    code = {name: n for n, name in enumerate(names)}
    least = np.full(len(names), np.inf, np.float32)
    kinds = np.zeros(len(names), np.int64)
    knowing = np.zeros(len(names), np.int64)
    image, tag, probability = [], [], []
    for read in reads:
        codes = np.array([code[canonical(one.name)] for one in read.labels], np.int64)
        least[codes] = thresholds(
            read.labels, options.general, options.character, options.threshold
        )
        kinds[codes] = [KINDS.index(one.category) for one in read.labels]
        knowing[codes] += 1
        image.append(read.image)
        tag.append(codes[read.label])
        probability.append(read.probability.astype(np.float64))
    key = np.concatenate(image) * len(names) + np.concatenate(tag)
    value = np.concatenate(probability)
    key, value = _combined(key, value, knowing, len(names), options.combine)
    sure = value >= least[key % len(names)] - 1e-9
    key, value = key[sure], value[sure]
    order = np.lexsort((key, -value, key // len(names)))
    tags = key[order] % len(names)
    return made(names, key[order] // len(names), tags, kinds[tags], TAGGER)


def together(first: Tags, second: Tags) -> Tags:
    """Return both over one list of names, image by image, the first's tags before the second's."""
    wider, codes = first.with_names(second.names)
    moved = made(wider.names, second.image, codes[second.tag], second.category, 0)
    other = Tags(wider.names, moved.image, moved.tag, moved.category, second.source, second.touched)
    return joined(wider, other)


def _combined(
    key: npt.NDArray[np.int64],
    value: npt.NDArray[np.float64],
    knowing: npt.NDArray[np.int64],
    count: int,
    combine: str,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    order = np.argsort(key, kind="stable")
    key, value = key[order], value[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    if len(starts) == len(key):
        # every pair once; probabilities below what is kept count as none
        return key, value / knowing[key % count] if combine == "mean" else value
    reduced = (np.add if combine == "mean" else np.maximum).reduceat(value, starts)
    key = key[starts]
    return key, reduced / knowing[key % count] if combine == "mean" else reduced


def _coded(parts: Sequence[tuple[str, npt.NDArray[np.int64], pa.Array]], source: int) -> Tags:
    """Bring the names of several categories to one list of codes."""
    whole = pa.concat_arrays([names for _, _, names in parts]).dictionary_encode()
    kinds = np.concatenate(
        [np.full(len(names), KINDS.index(category)) for category, _, names in parts]
    )
    tags = made(
        tuple(whole.dictionary.to_pylist()),
        np.concatenate([image for _, image, _ in parts]),
        whole.indices.to_numpy(zero_copy_only=False),
        kinds,
        source,
    )
    return tags.take(np.argsort(tags.image, kind="stable"))


def _rows_of(wanted: npt.NDArray[np.int64], ids: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The row of each wanted id; -1 where there is none."""
    rows = pc.index_in(pa.array(wanted), value_set=ids.combine_chunks())
    return np.asarray(pc.fill_null(rows, -1).to_numpy(zero_copy_only=False), np.int64)
