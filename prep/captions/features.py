"""The features that never change about who is learnt: what the trigger may stand for.

A colour of the eyes is judged by the images whose tags tell one: shut eyes do not speak against
it. The same holds for colours and lengths of hair. Clothes are no features, however often they are
worn: they stay in captions, so that they can be changed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from prep.captions.columns import KINDS, Images, Tags
from prep.known_tags import EYES, GARMENTS, HAIR, LENGTHS
from schemas.tags import canonical

# of each a picture of one person tells one, where it is seen at all
FAMILIES = ((*EYES, "heterochromia"), HAIR, LENGTHS)
SEEN = 0.5  # part of the images that must tell a family's feature at all to be judged by it


@dataclass
class Counts:
    """How many of the images to learn from have each general tag, block of images by block."""

    images: int = 0
    tags: Counter[str] = field(default_factory=Counter)
    telling: Counter[int] = field(default_factory=Counter)  # images that tell one of a family

    def add(self, tags: Tags, images: Images) -> None:
        """Count a block of images."""
        learnt = tags.where(
            (tags.category == KINDS.index("general")) & ~images.is_reg[tags.image]
        ).once()
        self.images += int(np.count_nonzero(~images.is_reg))
        counts = np.bincount(learnt.tag, minlength=len(tags.names))
        for code in np.flatnonzero(counts).tolist():
            self.tags[tags.names[code]] += int(counts[code])
        for number, family in enumerate(FAMILIES):
            self.telling[number] += len(np.unique(learnt.image[learnt.named(family)]))

    def shares(self) -> dict[str, float]:
        """Return in what part of the images each tag is; of a family, of those that tell one."""
        among = {
            name: self.telling[number]
            for number, family in enumerate(FAMILIES)
            for name in family
            if self.telling[number] >= SEEN * self.images
        }
        # divided, not multiplied: 55 of 100 are 0.55, but 0.55 * 100 is more than 55
        return {name: n / among.get(name, self.images) for name, n in self.tags.items()}

    def features(self, share: float, spare: Sequence[str]) -> list[str]:
        """Return the tags that at least `share` of the images have, sorted.

        Of a family (colours of eyes and hair, lengths of hair) the images count that tell one of
        it, if they are at least half of all. Clothes and what is in `spare` are left out.
        """
        spared = set(map(canonical, spare))
        return sorted(
            name
            for name, part in self.shares().items()
            if part >= share and name not in spared and not is_clothes(name)
        )


def is_clothes(name: str) -> bool:
    """Whether a canonical name is that of a garment, by its last word: `sailor_collar`."""
    return name.rpartition("_")[2] in GARMENTS
