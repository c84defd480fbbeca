"""Captions to what the U-Net is told of them: one way for training, sampling and validation.

A caption is a list of tags, joined with ", " and cut into chunks of 75 tokens, each between the
begin and the end token, so that long captions reach the U-Net whole; a tag is never cut in two
unless it alone is longer than a chunk. The user interfaces split long prompts in the same way, so
what is trained is what is asked for later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from schemas.tags import plain
from train.prompt_weights import weighted_tags

CHUNK = 75  # tokens of a chunk, without the begin and end token
MOST_CHUNKS = 3


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
    weights: np.ndarray | None = None  # float32 [chunks, 77]; None: every token counts alike


class Tokens:
    """The tokens of tags, each looked up once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, tuple[int, ...]] = {}

    def caption(self, tags: Sequence[str], limit: int = MOST_CHUNKS * CHUNK) -> Caption:
        """Return the tokens of `tags` joined with ", ", at most `limit` (a multiple of 75) long.

        A tag that does not fit into what is left of a chunk opens the next one. From the first tag
        that fits nowhere on, tags are lost.
        """
        last = len(tags) - 1
        pieces = [self._of(tag + "," * (number < last)) for number, tag in enumerate(tags)]
        chunks, lost = _packed(pieces, limit // CHUNK)
        return Caption(self._framed(chunks), lost)

    def prompt(self, text: str) -> Caption:
        """Return the tokens of a prompt as a person writes it: tags between commas, `(tag:1.2)`."""
        tags = weighted_tags(text)
        if all(weight == 1 for tag in tags for _, weight in tag):
            return self.caption([" ".join(text for text, _ in tag) for tag in tags])
        pieces = []
        for number, tag in enumerate(tags):
            last, weight = tag[-1]
            parts = [*tag[:-1], (last + "," * (number < len(tags) - 1), weight)]
            pieces.append([(one, weight) for text, weight in parts for one in self._of(text)])
        chunks, lost = _packed(pieces, MOST_CHUNKS)
        ids = self._framed([[one for one, _ in chunk] for chunk in chunks])
        weights = np.ones(ids.shape, np.float32)
        for row, chunk in zip(weights, chunks, strict=True):
            row[1 : len(chunk) + 1] = [weight for _, weight in chunk]
        return Caption(ids, lost, weights)

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

    def weights(self, captions: Sequence[Caption]) -> torch.Tensor | None:
        """Return the weights of stacked captions, float32 [n, chunks * 77]; None: all are 1."""
        if all(caption.weights is None for caption in captions):
            return None
        most = max(len(caption.ids) for caption in captions)
        found = np.ones((len(captions), most, CHUNK + 2), np.float32)
        for row, caption in zip(found, captions, strict=True):
            if caption.weights is not None:
                row[: len(caption.weights)] = caption.weights
        return torch.from_numpy(found.reshape(len(captions), -1))


T = TypeVar("T")


def _packed(tags: Sequence[Sequence[T]], most: int) -> tuple[list[list[T]], int]:
    """Put the tokens of tags into at most so many chunks; return also how many tags are lost."""
    chunks: list[list[T]] = [[]]
    for number, tag in enumerate(tags):
        tokens = list(tag)
        if len(chunks[-1]) + len(tokens) > CHUNK and chunks[-1]:
            if len(chunks) == most:
                return chunks, len(tags) - number
            chunks.append([])
        while len(tokens) > CHUNK and len(chunks) < most:
            chunks[-1], tokens = tokens[:CHUNK], tokens[CHUNK:]
            chunks.append([])
        if len(tokens) > CHUNK:
            chunks[-1] = tokens[:CHUNK]
            return chunks, len(tags) - number
        chunks[-1].extend(tokens)
    return chunks, 0


def weighed(encoded: Encoded, weights: torch.Tensor) -> Encoded:
    """Return what the U-Net is told with each token's states multiplied by its weight [n, tokens].

    The mean over a caption is then put back to what it was, as the common user interfaces do, so
    that a weight moves what is told apart and not its level. SDXL's summary stays.
    """
    before = encoded.context.float()
    after = before * weights.to(before.device)[..., None]
    means = [states.mean((1, 2), keepdim=True) for states in (before, after)]
    context = after * (means[0] / means[1])
    return Encoded(context.to(encoded.context.dtype), encoded.pooled)


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
