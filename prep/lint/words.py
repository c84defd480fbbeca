"""What tags are cut into: the pieces that a tokenizer makes of them, or words where there is none.

CLIP's tokenizer cuts text into runs of letters, single digits and runs of signs, and most of these
into smaller pieces; so there are never fewer tokens than words as they are cut here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from prep.captions.tokens import Cut

_WORD = re.compile(r"[^\W\d_]+|\d|(?:[^\w\s]|_)+")
_SAYS_LITTLE = frozenset(
    (
        "a", "an", "and", "at", "behind", "by", "for", "from", "in", "into", "of", "off", "on",
        "or", "out", "over", "own", "the", "to", "under", "with",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Words:
    """How texts are cut, and by what."""

    cut: Cut
    by: str  # for people: "the tokenizer of animefull"
    exact: bool  # whether training cuts them so


def words_alone(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the words of each text, in lower case."""
    return [tuple(_WORD.findall(text.lower())) for text in texts]


def telling(pieces: Sequence[str]) -> tuple[str, ...]:
    """Return the pieces that carry a meaning of their own: no sign, digit or "at"."""
    return tuple(piece for piece in map(_bare, pieces) if piece and piece not in _SAYS_LITTLE)


def _bare(piece: str) -> str:
    """A piece without the mark of a word's end; "" for what is shorter than two letters."""
    letters = "".join(c for c in piece.removesuffix("</w>") if c.isalpha())
    return letters if len(letters) > 1 else ""
