"""From which probability on a label counts: as the recipe says, or as fitted to what is known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.recipes.prep import TagSection
from schemas.tags import canonical
from taggers.vocabulary import Label

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
LEAST = 0.01  # probabilities below this are not kept, and no threshold lies below it


def thresholds(labels: Sequence[Label], options: TagSection) -> Floats:
    """The probability from which each label counts: float32 [labels].

    By its category, or by its own in `options.threshold`, names compared in canonical form. NaN
    where the category has "mcut", which depends on the image. Ratings are never selected by a
    threshold (the likeliest is taken), nor is a label without a name: theirs is infinite. A name
    that the vocabulary lacks is passed over: another tagger may know it.
    """
    own = {canonical(name): value for name, value in options.threshold.items()}
    usual = {
        category: float("nan") if value == "mcut" else float(value)
        for category, value in options.by_category.items()
    }
    return np.array([_threshold(label, usual, own) for label in labels], np.float32)


def without_gaps(options: TagSection) -> TagSection:
    """The same with each category's default for "mcut", for those who look at one tag alone."""
    fields = TagSection.model_fields
    gaps = [name for name, value in options.by_category.items() if value == "mcut"]
    return options.model_copy(update={name: fields[name].default for name in gaps})


def best_f1(
    probability: npt.NDArray[np.floating[Any]],
    shown: Bools,
    usual: float,
    weight: npt.NDArray[np.integer[Any]] | None = None,
    missed: float = 0.0,
) -> float:
    """Return the threshold with the best F1, in the middle between two probabilities.

    probability, shown: [pictures], of one label and whether it is truly there. weight: [pictures],
    how much each counts (None: all alike). missed: how many more pictures have the label, without
    a probability. `usual` where no threshold finds a single one.
    """
    order = np.argsort(-probability, kind="stable")
    above = probability[order].astype(np.float64)
    below = np.append(above[1:], 0.0)
    counts = np.ones(len(order)) if weight is None else weight[order]
    right = np.cumsum(counts * shown[order])
    if not len(right) or not right[-1]:
        return usual
    f1 = 2 * right / (np.cumsum(counts) + right[-1] + missed)
    f1[above == below] = 0  # no threshold parts equal probabilities
    best = int(np.argmax(f1))
    return max(LEAST, float(above[best] + below[best]) / 2) if f1[best] else usual


def _threshold(label: Label, usual: Mapping[str, float], own: Mapping[str, float]) -> float:
    if label.category not in usual:
        return float("inf")
    return own.get(canonical(label.name), usual[label.category])
