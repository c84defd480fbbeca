"""Where tags come from: the site's posts, imported text files, and taggers' probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.columns import (
    BOORU,
    KINDS,
    TAGGER,
    Bools,
    Floats,
    Images,
    Ints,
    Tags,
    joined,
    made,
)
from prep.captions.combined import BLOCK, Block, Read, blocks, names_of
from prep.captions.post_tags import PostTags
from schemas.recipes.prep import TagSection
from schemas.tables import RATINGS
from taggers.thresholds import thresholds
from taggers.vocabulary import Label

EQUAL = 1e-7  # probabilities and thresholds are rounded to float32
NAMES = ("artist", "copyright", "character")  # who or what it is: wrong is worse than missing
NAME_FLOOR = 0.15  # of the widest gap's threshold, for names


def from_booru(images: Images, posts: PostTags) -> Tags:
    """Return the tags that the posts carry, category by category, in the site's order."""
    return posts.tags(images.post_ids)


def from_imports(images: Images, imported: pa.Table, categories: Mapping[str, str]) -> Tags:
    """Return the tags that lay beside imported files, in the order they stood in.

    A tag's category is what was said beside it, else what a tagger knows (`categories`).
    """
    place = images.places(imported["set"], imported["md5"])
    rows = imported.filter(pa.array(place >= 0)).combine_chunks()
    lists, said = (rows[name].combine_chunks() for name in ("tags", "categories"))
    encoded = pc.list_flatten(lists).dictionary_encode()
    names, tag = tuple(encoded.dictionary.to_pylist()), encoded.indices.to_numpy()
    told = pc.fill_null(pc.index_in(pc.list_flatten(said), value_set=pa.array(KINDS)), -1)
    usual = np.array([KINDS.index(categories.get(name, "general")) for name in names], np.int64)
    kind = np.where(told.to_numpy() >= 0, told.to_numpy(), usual[tag])
    image = place[place >= 0][pc.list_parent_indices(lists).to_numpy()]
    return made(names, image, tag, kind, BOORU)


def from_taggers(reads: Sequence[Read], options: TagSection) -> Tags:
    """Return the tags whose combined probability reaches its threshold, the likeliest first."""
    categories = names_of(reads)
    kinds = np.array([KINDS.index(category) for category in categories.values()], np.int64)
    least = np.full(len(categories) + 1, np.inf)
    least[:-1] = thresholds([Label(*item) for item in categories.items()], options)
    images, tags = (
        [np.zeros(0, np.int32)],
        [np.zeros(0, np.int32)],
    )  # half as wide while they pile up
    for block in blocks(reads, options):
        image, tag = _chosen(block, least, kinds, options.top)
        images.append(image.astype(np.int32))
        tags.append(tag.astype(np.int32))
    tag = np.concatenate(tags)
    return made(tuple(categories), np.concatenate(images), tag, kinds[tag], TAGGER)


def ratings(reads: Sequence[Read], options: TagSection) -> Ints:
    """Return each image's likeliest rating as a place in schemas.tables.RATINGS, -1 for none.

    The taggers' ratings are added up by their first letter, which is the site's own word.
    """
    count = len(reads[0].offsets) - 1
    sums = np.zeros((count, len(RATINGS)))
    weights = 0.0
    for read in reads:
        letters = [one.name[0] if one.category == "rating" else "" for one in read.labels]
        place = np.array([RATINGS.index(x) if x in RATINGS else -1 for x in letters], np.int64)
        weights += read.weight * bool((place >= 0).any())
        for start in range(0, count, BLOCK):
            image, label, probability = read.block(start, start + BLOCK)
            rating = place[label]
            rated = rating >= 0
            np.add.at(sums, (image[rated], rating[rated]), probability[rated] * read.weight)
    likeliest = sums.argmax(axis=1)
    sure = (sums.max(axis=1) > 0) & (sums.max(axis=1) >= options.rating * weights - EQUAL)
    return np.where(sure, likeliest, -1)


def together(first: Tags, second: Tags) -> Tags:
    """Return both over one list of names, image by image, the first's tags before the second's."""
    wider, codes = first.with_names(second.names)
    return joined(wider, replace(second, names=wider.names, tag=codes[second.tag]))


def taken(tags: Tags, source: str, few: int) -> Tags:
    """Return which tags of booru and taggers, each once, the recipe's `source` takes."""
    booru, tagger = (tags.source & BOORU) > 0, (tags.source & TAGGER) > 0
    if source == "booru-first":
        general = tags.image[booru & (tags.category == KINDS.index("general"))]
        count = np.bincount(general, minlength=int(tags.image.max(initial=-1)) + 1)
        return tags.where(booru | (count[tags.image] < few))
    if source == "intersection":
        return tags.where(booru & tagger)
    return {"booru": tags.where(booru), "taggers": tags.where(tagger)}.get(source, tags)


def _chosen(block: Block, least: Floats, kinds: Ints, top: int) -> tuple[Ints, Ints]:
    """Image and tag of what counts, image by image, the likeliest first.

    least: [tags + 1] the threshold of each tag, NaN where the widest gap decides; kinds: [tags].
    """
    image, tag, value = _where(~(block.probability < least[block.tag] - EQUAL), block)
    if np.any((np.diff(value) > 0) & (np.diff(image) == 0)):
        order = np.lexsort((tag, -value, image))
        image, tag, value = image[order], tag[order], value[order]
    kind = kinds[tag]
    by_gap = np.isnan(least[tag])
    counts = ~by_gap
    for category in np.unique(kind[by_gap]):
        of_it = np.flatnonzero(by_gap & (kind == category))
        floor = NAME_FLOOR if KINDS[category] in NAMES else 0.0
        counts[of_it] = above_widest_gap(image[of_it], value[of_it], floor)
    if top:
        for category in np.unique(kind):
            of_it = np.flatnonzero(counts & (kind == category))
            counts[of_it] = _place_in_image(image[of_it]) < top
    return image[counts], tag[counts]


def above_widest_gap(image: Ints, value: Floats, floor: float = 0.0) -> Bools:
    """Return which probabilities lie above the widest gap of their image, and above the floor.

    image: image by image; value: the greatest of each first. Below the last one lies 0: this is
    MCut (Largeron, Moulin, Gery 2012, doi:10.1007/978-3-642-34156-4_17), whose threshold is the
    middle of the gap.
    """
    if not len(image):
        return np.zeros(0, bool)
    starts = np.flatnonzero(np.diff(image, prepend=image[0] - 1))
    below = np.append(value[1:], 0.0)
    below[np.append(starts[1:], len(image)) - 1] = 0.0
    gap = value - below
    widest = np.repeat(np.maximum.reduceat(gap, starts), np.diff(starts, append=len(image)))
    is_widest = np.flatnonzero(gap == widest)
    first = is_widest[np.searchsorted(is_widest, starts)]
    cut = np.maximum((value[first] + below[first]) / 2, floor)
    return np.asarray(value > np.repeat(cut, np.diff(starts, append=len(image))), bool)


def _where(mask: Bools, block: Block) -> tuple[Ints, Ints, Floats]:
    return block.image[mask], block.tag[mask], block.probability[mask]


def _place_in_image(image: Ints) -> Ints:
    """How many elements of the same image stand before each one."""
    starts = np.flatnonzero(np.diff(image, prepend=-1))
    return np.arange(len(image)) - np.repeat(starts, np.diff(starts, append=len(image)))
