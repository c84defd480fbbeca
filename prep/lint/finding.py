"""What a check of the captions found: which images, and the rule that mends it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.recipes.change import Change
from schemas.tags import rendered

Places = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Finding:
    """One thing that is amiss, or worth knowing."""

    name: str  # of its kind; `prep lint --only` takes it
    grave: bool  # to be mended; else only worth knowing
    what: str  # a clause for people
    images: Places  # [n] which of the images it is about, ascending
    tags: tuple[str, ...] = ()  # canonical
    changes: tuple[Change, ...] = ()  # of prep.toml, that mend it
    remedy: str = ""  # what a person can do where no rule mends it, or besides


def named(tags: Sequence[str], most: int = 5) -> str:
    """Return a few tags as captions have them, and how many more there are."""
    shown = ", ".join(rendered(tag, escape=False) for tag in tags[:most])
    return f"{shown} and {len(tags) - most:,} more" if len(tags) > most else shown


def images(count: int) -> str:
    """Return "1 image" or "1,200 images"."""
    return f"{count:,} image{'' if count == 1 else 's'}"
