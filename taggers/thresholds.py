"""From which probability on a label counts: as the recipe says, or as fitted to what is known."""

from collections.abc import Mapping, Sequence

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


def best_f1(probability: Floats, shown: Bools, usual: float, all_shown: int | None = None) -> float:
    """Return the threshold with the best F1, in the middle between two probabilities.

    probability, shown: [pictures], of one label and whether it is truly there. all_shown: how many
    pictures have the label, where those without a kept probability are left out of both. `usual`
    where no threshold finds a single one.
    """
    order = np.argsort(-probability, kind="stable")
    above = probability[order].astype(np.float64)
    below = np.append(above[1:], 0.0)
    truly = shown.sum() if all_shown is None else all_shown
    f1 = 2 * np.cumsum(shown[order]) / (np.arange(1, len(order) + 1) + truly)
    f1[above == below] = 0  # no threshold parts equal probabilities
    if not f1.any():
        return usual
    best = int(np.argmax(f1))
    return max(LEAST, float(above[best] + below[best]) / 2)


def _threshold(label: Label, usual: Mapping[str, float], own: Mapping[str, float]) -> float:
    if label.category not in usual:
        return float("inf")
    return own.get(canonical(label.name), usual[label.category])
