"""Modules that training leaves as they were, learning nothing: told early, and at its end."""

import re
from collections.abc import Mapping

from schemas.progress import say
from train.setup import Setup

EARLY = 100  # steps after which it is told for the first time
SHOWN = 3  # examples in a message


def tell_unchanged(ready: Setup, before: Mapping[str, float]) -> list[str]:
    """Tell, and return, which modules have the marks that they had `before` (Adapter.marks).

    What clip_skip leaves out of a text encoder cannot learn, and is passed over.
    """
    after = ready.adapter.marks()
    unread = _unread(ready)
    still = [n for n, mark in before.items() if after[n] == mark and not unread.match(n)]
    if still:
        shown = ", ".join(still[:SHOWN]) + (", ..." if len(still) > SHOWN else "")
        say(
            f"{len(still)} of {len(before)} modules of the adapter have not changed since the run"
            f" began and learnt nothing: {shown}"
        )
    return still


def _unread(ready: Setup) -> re.Pattern[str]:
    """The names of a text encoder's modules above the layer that is read (SDXL: of its first)."""
    prefix = re.escape(ready.model.architecture.text_prefixes[0])
    layers = ready.text_encoders[0].config.num_hidden_layers
    above = "|".join(str(n) for n in range(layers + 1 - ready.recipe.model.clip_skip, layers))
    return re.compile(rf"{prefix}text_model_encoder_layers_({above})_" if above else r"(?!)")
