"""What the figures mean that are read in drawn pictures, in words that need no other page."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """A figure in a few words and in a sentence, and which way is better."""

    short: str
    text: str
    better: str = ""  # "": it depends on what is asked
    digits: int = 2
    grain: float = 0.01  # no spread is known to be smaller: figures come of about 100 readings

    def shown(self, value: float | None) -> str:
        """Return a value as people read it; a dash where nothing was there to be read."""
        return "–" if value is None else f"{value:.{self.digits}f}"


MORE, FEWER, LOWER = "more is better", "fewer is better", "lower is better"
MEANINGS = {
    "recall": Meaning(
        "Tags asked for that are seen",
        "share of the tags asked for that are read, in pictures without the trigger",
        MORE,
    ),
    "signature": Meaning(
        "The trigger alone shows what it stands for",
        "share of what the trigger stands for that is read in pictures of the trigger alone",
        MORE,
    ),
    "kept": Meaning(
        "What the base could do is kept",
        "recall as a share of the base model's own",
        MORE,
    ),
    "unasked": Meaning(
        "Tags seen in a picture that nobody asked for",
        "tags read in a picture that nobody asked for, in pictures without the trigger",
        FEWER,
    ),
    "obeyed": Meaning(
        "What is asked for beside the trigger comes",
        "recall of tags asked for beside the trigger",
        MORE,
    ),
    "style": Meaning(
        "The learnt artist's manner shows",
        "how likely the learnt artist drew the pictures, by a linear classifier",
        MORE,
    ),
    "watched": Meaning(
        "The watched tag comes with the trigger",
        "share of pictures of the trigger alone in which this tag is read",
    ),
    "validation": Meaning(
        "Loss on images held out",
        "loss on the images held out of training",
        LOWER,
        digits=4,
        grain=0.0001,
    ),
}


def meaning(figure: str) -> Meaning:
    """Return what a figure means; one without words stands for itself."""
    return MEANINGS.get(figure, Meaning(figure, ""))
