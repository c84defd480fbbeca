"""Before it meets a picture, the demo's text encoder learns which tag each word belongs to.

SD1.5's encoder comes from CLIP and knows its words when the U-Net starts (Radford et al. 2021,
arXiv:2103.00020). Here every tag's last token, and the comma after it, have to name the tag:
"hair" after "red" becomes another thing than after "blue". It takes a minute or two.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prep.demo.muon import Pair
from prep.demo.schedule import PARTS, Curve, fit

BATCH = 48
MATRICES, REST = 0.02, 3e-3  # highest rates of the two optimizers
NO_TAG = -100  # positions that are asked nothing; cross_entropy's own mark


def train_text(
    text_encoder: Any,
    tokenizer: Any,
    captions: Sequence[tuple[str, ...]],
    steps: int,
    seed: int,
    work: Path,
) -> Curve:
    """Teach `text_encoder`, where it is, the tags of `captions`; go on from `work`."""
    words = sorted({tag for tags in captions for tag in tags})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(text_encoder.config.hidden_size, len(words)).to(text_encoder.device)
    both = nn.ModuleList([text_encoder, head])
    numbers = {word: number for number, word in enumerate(words)}
    spelling = Spelling(tokenizer)

    def parts_at(step: int) -> list[tuple[Tensor, Tensor]]:
        rng = random.Random(f"text {seed} {step}")
        chosen = rng.choices(captions, k=BATCH)
        ids, ends = spelling.rows([rng.sample(tags, len(tags)) for tags in chosen], numbers)
        return list(zip(ids.chunk(PARTS), ends.chunk(PARTS), strict=True))

    def loss_of(part: tuple[Tensor, Tensor]) -> Tensor:
        ids, ends = (value.to(text_encoder.device) for value in part)
        states = text_encoder(ids).last_hidden_state
        return F.cross_entropy(head(states).flatten(0, 1), ends.flatten())

    optimizer = Pair(both, MATRICES, REST)
    return fit("text encoder", both, optimizer, parts_at, loss_of, steps, work / "text.pt")


class Spelling:
    """Tags to rows of tokens, and where in them each tag ends."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def rows(
        self, captions: Sequence[Sequence[str]], numbers: dict[str, int]
    ) -> tuple[Tensor, Tensor]:
        """Return ids and, where a tag ends, its number, else NO_TAG: both int64 [n, 77]."""
        begin, end = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        length = self._tokenizer.model_max_length
        ids = torch.full((len(captions), length), end)
        ends = torch.full((len(captions), length), NO_TAG)
        for row, tags in enumerate(captions):
            ids[row, 0], place = begin, 1
            for number, tag in enumerate(tags, start=1):
                spelt = self._of(f"{tag}," if number < len(tags) else tag)
                if place + len(spelt) > length - 1:
                    break
                ids[row, place : place + len(spelt)] = torch.tensor(spelt)
                place += len(spelt)
                ends[row, place - 1] = numbers[tag]
                if number < len(tags) and len(spelt) > len(self._of(tag)):
                    ends[row, place - 2] = numbers[tag]
        return ids, ends

    def _of(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._tokenizer(text, add_special_tokens=False).input_ids
        return self._known[text]
