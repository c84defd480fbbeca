"""What regularization images are matched in: tags, aspects and sizes, from captions and images."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep import matching
from prep.caption import collapsed
from prep.dataset import Dataset
from prep.matching import Features

FREQUENT = 0.1  # of the images to learn from: a tag of so many that no candidate has is told


def features(dataset: Dataset, own: pa.Table, learnt: pa.Table) -> tuple[list[Features], list[str]]:
    """What the recipe matches, of each candidate and on average of what is learnt.

    Also the frequent tags of what is learnt that no candidate has: nothing can match these.
    """
    if not own.num_rows or not learnt.num_rows:
        return [], []
    sets = dataset.recipe.sets
    repeats = np.array([sets[name].repeats for name in learnt["set"].to_pylist()], float)
    kinds: list[Features] = []
    missing: list[str] = []
    for kind in dataset.recipe.reg.match:
        if kind == "tags":
            features, missing = _tag_features(own, learnt, repeats, collapsed(dataset))
            kinds.append(features)
        else:
            values, targets = (_figure(dataset, rows, kind) for rows in (own, learnt))
            kinds.append(matching.at_most(kind, values, targets, repeats))
    return kinds, missing


def _tag_features(
    own: pa.Table, learnt: pa.Table, repeats: matching.Floats, without: Collection[str]
) -> tuple[Features, list[str]]:
    """General tags but those `without`: features for which the trigger stands may differ."""
    ours, theirs = Tags.of(own, without), Tags.of(learnt, without)
    names = {name: place for place, name in enumerate(ours.names)}
    place = np.array([names.get(name, -1) for name in theirs.names], np.int64)
    share = np.bincount(theirs.tag, repeats[theirs.row], len(theirs.names)) / repeats.sum()
    wanted = np.zeros(len(names))
    wanted[place[place >= 0]] = share[place >= 0]
    absent = np.flatnonzero((place < 0) & (share >= FREQUENT))
    missing = [theirs.names[tag] for tag in absent[np.argsort(-share[absent], kind="stable")]]
    return Features("tags", ours.row, ours.tag, wanted), missing


def _figure(dataset: Dataset, rows: pa.Table, kind: str) -> matching.Floats:
    """The logarithm of each image's aspect (width to height) or of its pixels."""
    images = dataset.images.columns("width", "height")
    found = images.take(pc.index_in(rows["md5"], value_set=images["md5"].combine_chunks()))
    width, height = (np.log(np.maximum(1, found[name].to_numpy())) for name in ("width", "height"))
    return np.asarray(width - height if kind == "aspect" else width + height, np.float64)


@dataclass(frozen=True)
class Tags:
    """The general tags of rows of captions, each once per row."""

    names: Sequence[str]
    row: matching.Ints
    tag: matching.Ints  # place in names

    @classmethod
    def of(cls, captions: pa.Table, without: Collection[str]) -> "Tags":
        tags = captions["tags"].combine_chunks()
        flat = tags.flatten()
        rows = pc.list_parent_indices(tags).to_numpy()
        coded = flat.field("tag").dictionary_encode()
        codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        names = coded.dictionary.to_pylist()
        spared = [place for place, name in enumerate(names) if name in set(without)]
        kept = pc.equal(flat.field("category"), "general").to_numpy(zero_copy_only=False)
        kept &= ~np.isin(codes, spared)
        pairs = np.unique(rows[kept].astype(np.int64) * len(names) + codes[kept])
        return cls(names, pairs // max(1, len(names)), pairs % max(1, len(names)))
