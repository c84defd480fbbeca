"""Which images have a tag: looked up by name, the columns sorted once."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from prep.captions.columns import Bools, Ints, Tags


@dataclass(frozen=True)
class Holders:
    """The images of each tag, tag by tag."""

    code: dict[str, int]
    ends: Ints  # [tags + 1] where each tag's images begin in `image`
    image: Ints
    count: int  # of all images

    @classmethod
    def of(cls, tags: Tags, count: int) -> "Holders":
        """Sort the columns of `count` images by tag."""
        order = np.argsort(tags.tag.astype(np.int32), kind="stable")
        ends = np.cumsum(np.bincount(tags.tag, minlength=len(tags.names)))
        code = {name: place for place, name in enumerate(tags.names)}
        return cls(code, np.concatenate([[0], ends]).astype(np.int64), tags.image[order], count)

    def images(self, name: str) -> Ints:
        """Return the images that have a tag, ascending; none where nobody knows it."""
        code = self.code.get(name)
        if code is None:
            return np.empty(0, np.int64)
        return self.image[self.ends[code] : self.ends[code + 1]]

    def any_of(self, names: Iterable[str]) -> Bools:
        """Return which images have one of these tags."""
        mask = np.zeros(self.count, bool)
        for name in names:
            mask[self.images(name)] = True
        return mask
