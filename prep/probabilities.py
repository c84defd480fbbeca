"""What `prep tag` has kept: which taggers ran, their vocabularies, the probabilities of images."""

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.combined import Read, names_of
from prep.dataset import Dataset
from schemas.progress import say
from schemas.tags import canonical
from taggers.vocabulary import read_labels


def index_path(dataset: Dataset) -> Path:
    """Which key each tagger of the recipe had when it last ran."""
    return dataset.root / "tables" / "probs" / "taggers.json"


def labels_path(dataset: Dataset, key: str) -> Path:
    """The tagger's vocabulary, kept beside its probabilities, so that captions need no model."""
    return dataset.root / "tables" / "probs" / key / "selected_tags.csv"


def keys_of(dataset: Dataset) -> dict[str, str]:
    """The key of each of the recipe's taggers that has run, as it was when it last did."""
    path = index_path(dataset)
    keys = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: keys[name] for name in dataset.recipe.tag.taggers if name in keys}


def reads_of(dataset: Dataset, md5s: Sequence[str]) -> list[Read]:
    """What each tagger that has run says of these images, in their order."""
    wanted = pa.array(md5s, pa.string())
    reads = []
    for name, key in keys_of(dataset).items():
        table = dataset.probabilities(key).columns("labels", "values")
        places = pc.index_in(wanted, value_set=table.column("md5").combine_chunks())
        if not places.equals(pa.array(np.arange(table.num_rows), places.type)):
            table = table.take(places)
        labels, values = (table.column(column).combine_chunks() for column in ("labels", "values"))
        counts = pc.fill_null(pc.list_value_length(labels), 0).to_numpy(zero_copy_only=False)
        reads.append(
            Read(
                labels=read_labels(labels_path(dataset, key)),
                offsets=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
                label=pc.list_flatten(labels).to_numpy(),
                probability=pc.list_flatten(values).to_numpy(),
                weight=dataset.recipe.tag.weight.get(name, 1.0),
            )
        )
    return reads


def warn_of_unknown(thresholds: Iterable[str], reads: Sequence[Read]) -> None:
    """A misspelt tag in the thresholds would otherwise do nothing, in silence."""
    known = names_of(reads)
    for name in thresholds:
        if canonical(name) not in known:
            near = get_close_matches(canonical(name), known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            say(f'caption: tag.threshold names "{name}", which no tagger of the recipe knows{hint}')
