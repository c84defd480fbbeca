"""Captions to what the U-Net is told of them: one way for training, sampling and validation.

A caption is a list of tags, joined with ", " and cut into chunks of 75 tokens, each between the
begin and the end token, so that long captions reach the U-Net whole; a tag is never cut in two
unless it alone is longer than a chunk. The user interfaces split long prompts in the same way, so
what is trained is what is asked for later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from schemas.tags import plain

CHUNK = 75  # tokens of a chunk, without the begin and end token


@dataclass(frozen=True)
class Encoded:
    """What the U-Net is told of n captions."""

    context: torch.Tensor  # [n, tokens, width]: what it attends to
    pooled: torch.Tensor | None  # [n, width]: SDXL's summary of the caption; SD1.5 has none

    def take(self, rows: Sequence[int]) -> "Encoded":
        """Return these rows, in this order."""
        pooled = self.pooled
        return Encoded(self.context[rows], None if pooled is None else pooled[rows])

    def to(self, device: torch.device) -> "Encoded":
        """Return the same on a device."""
        pooled = self.pooled
        return Encoded(self.context.to(device), None if pooled is None else pooled.to(device))


@dataclass(frozen=True)
class Caption:
    """A caption in tokens."""

    ids: np.ndarray  # int64 [chunks, 77]
    lost: int  # tags beyond the last chunk


class Tokens:
    """The tokens of tags, each looked up once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, tuple[int, ...]] = {}

    def caption(self, tags: Sequence[str], limit: int = 3 * CHUNK) -> Caption:
        """Return the tokens of `tags` joined with ", ", at most `limit` (a multiple of 75) long.

        A tag that does not fit into what is left of a chunk opens the next one. From the first tag
        that fits nowhere on, tags are lost.
        """
        chunks: list[list[int]] = [[]]
        most = limit // CHUNK
        for number, tag in enumerate(tags):
            ids = list(self._of(tag + "," if number < len(tags) - 1 else tag))
            if len(chunks[-1]) + len(ids) > CHUNK and chunks[-1]:
                if len(chunks) == most:
                    return Caption(self._framed(chunks), len(tags) - number)
                chunks.append([])
            while len(ids) > CHUNK and len(chunks) < most:
                chunks[-1], ids = ids[:CHUNK], ids[CHUNK:]
                chunks.append([])
            if len(ids) > CHUNK:
                chunks[-1] = ids[:CHUNK]
                return Caption(self._framed(chunks), len(tags) - number)
            chunks[-1].extend(ids)
        return Caption(self._framed(chunks), 0)

    def prompt(self, text: str) -> Caption:
        """Return the tokens of a prompt as a person writes it: tags between commas."""
        return self.caption([tag for part in text.split(",") if (tag := part.strip())])

    def _of(self, text: str) -> tuple[int, ...]:
        # White space always parts CLIP's tokens, so a caption's are its tags' in a row.
        if text not in self._known:
            # prompts escape a tag's own parentheses; what is learnt is the tag
            ids = self._tokenizer(plain(text), add_special_tokens=False, verbose=False).input_ids
            self._known[text] = tuple(ids)
        return self._known[text]

    def _framed(self, chunks: list[list[int]]) -> np.ndarray:
        begin, end = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        # what CLIP was trained with, whatever the tokenizer's own file says of padding
        framed = np.full((len(chunks), CHUNK + 2), end, dtype=np.int64)
        framed[:, 0] = begin
        for row, chunk in zip(framed, chunks, strict=True):
            row[1 : len(chunk) + 1] = chunk
            row[len(chunk) + 1] = end
        return framed

    def stacked(self, captions: Sequence[Caption]) -> torch.Tensor:
        """Return the ids as int64 [n, chunks, 77]; shorter captions get empty chunks."""
        most = max(len(caption.ids) for caption in captions)
        empty = self._framed([[]])
        rows = [
            np.concatenate([caption.ids, *[empty] * (most - len(caption.ids))])
            for caption in captions
        ]
        return torch.from_numpy(np.stack(rows))


def encode(text_encoders: Sequence[Any], ids: torch.Tensor, clip_skip: int) -> Encoded:
    """Return what the U-Net is told of captions of ids [n, chunks, 77], the chunks in a row.

    SD1.5: `clip_skip` counts layers from the end as the ecosystem does: hidden_states[-clip_skip],
    then the final layer norm; 1 is the encoder's own output. SDXL: both encoders' last layer but
    one, without norm, side by side, and the second's projected summary of the first chunk.
    """
    n, chunks, length = ids.shape
    flat = ids.reshape(n * chunks, length)
    if len(text_encoders) == 1:
        found = text_encoders[0](flat, output_hidden_states=True)
        states = final_layer_norm(text_encoders[0])(found.hidden_states[-clip_skip])
        return Encoded(states.reshape(n, chunks * length, -1), None)
    first, second = text_encoders
    states = first(flat, output_hidden_states=True).hidden_states[-2]
    found = second(_padded_for_the_second(flat), output_hidden_states=True)
    context = torch.cat([states, found.hidden_states[-2]], dim=-1)
    pooled = found.text_embeds.reshape(n, chunks, -1)[:, 0]
    return Encoded(context.reshape(n, chunks * length, -1), pooled)


def _padded_for_the_second(ids: torch.Tensor) -> torch.Tensor:
    """SDXL's second encoder was trained with 0 behind the end token, the first with the end token.

    ids: [n, 77], of which the last always is the end token.
    """
    is_end = ids == ids[:, -1:]
    return ids.masked_fill(is_end & (is_end.cumsum(dim=1) > 1), 0)


def final_layer_norm(text_encoder: Any) -> Any:
    """Return the layer, with or without the `text_model` level that transformers 5 dropped."""
    return getattr(text_encoder, "text_model", text_encoder).final_layer_norm
