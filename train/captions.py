"""What one exposure of an image sees of its caption: which tags, and in which order.

Whatever is drawn is keyed by (seed, step, place, which repeat of it), as the batches are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from schemas.recipes.train import CaptionSection
from train.batches import DROP_CAPTION, DROP_TAG, SHUFFLE, stream

# what is counted of each image: columns of exposures.parquet; the last by steps, not by exposures
COUNTED = ("tags_cut", "tags_dropped", "captions_dropped", "mirrored", "recolored", "skipped")


class Exposure(NamedTuple):
    """What the random streams of one showing of an image are keyed by."""

    seed: int
    step: int
    place: int
    copy: int

    def stream(self, purpose: int) -> np.random.Generator:
        return stream(self.seed, purpose, self.step, self.place, self.copy)


@dataclass(frozen=True)
class Tags:
    """The tags of a caption: text, category and part (head, flex or tail) of each."""

    texts: list[str]
    categories: list[str]
    parts: list[str]

    def ordered(self) -> list[str]:
        """Return all of them, as head, flex, tail."""
        return [self.texts[place] for place in self._places(range(len(self.texts)))]

    def shown(self, options: CaptionSection, exposure: Exposure) -> list[str]:
        """Return what an exposure sees of a caption that is not dropped as a whole."""
        left = self._left(options, exposure)
        places = self._places(left, exposure.stream(SHUFFLE) if options.shuffle else None)
        return [self.texts[place] for place in places]

    def _left(self, options: CaptionSection, exposure: Exposure) -> list[int]:
        every = list(range(len(self.texts)))
        if not any(options.drop_tag.values()):
            return every
        by_category = {str(category): rate for category, rate in options.drop_tag.items()}
        drawn = exposure.stream(DROP_TAG).random(len(every))
        rates = [
            0.0 if part == "head" else by_category.get(category, 0.0)
            for category, part in zip(self.categories, self.parts, strict=True)
        ]
        return [place for place in every if drawn[place] >= rates[place]]

    def _places(
        self, places: Sequence[int], random: np.random.Generator | None = None
    ) -> list[int]:
        """Return places as head, flex, tail; the flex part shuffled by `random`, if given."""
        groups: dict[str, list[int]] = {"head": [], "flex": [], "tail": []}
        for place in places:
            groups[self.parts[place]].append(place)
        flex = groups["flex"]
        if random is not None:
            flex = [flex[place] for place in random.permutation(len(flex))]
        return [*groups["head"], *flex, *groups["tail"]]


def is_dropped(options: CaptionSection, exposure: Exposure) -> bool:
    """Whether an exposure sees no caption at all."""
    rate = options.drop_caption
    return bool(rate) and bool(exposure.stream(DROP_CAPTION).random() < rate)
