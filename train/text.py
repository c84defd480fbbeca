"""Captions to what the U-Net is conditioned on: one way for training, sampling and validation.

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
        framed = np.full((len(chunks), CHUNK + 2), self._tokenizer.pad_token_id, dtype=np.int64)
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


def encode(text_encoder: Any, ids: torch.Tensor, clip_skip: int) -> torch.Tensor:
    """Return what the U-Net attends to, [n, chunks * 77, width], for ids [n, chunks, 77].

    `clip_skip` counts layers from the end as the ecosystem does: hidden_states[-clip_skip], then
    the final layer norm; 1 is the encoder's own output.
    """
    n, chunks, length = ids.shape
    found = text_encoder(ids.reshape(n * chunks, length), output_hidden_states=True)
    states = final_layer_norm(text_encoder)(found.hidden_states[-clip_skip])
    return torch.as_tensor(states).reshape(n, chunks * length, -1)


def final_layer_norm(text_encoder: Any) -> Any:
    """Return the layer, with or without the `text_model` level that transformers 5 dropped."""
    return getattr(text_encoder, "text_model", text_encoder).final_layer_norm


def ordered_tags(
    tags: Sequence[str], parts: Sequence[str], random: np.random.Generator | None
) -> list[str]:
    """Return the tags as head, flex, tail; the flex part shuffled by `random`, if given."""
    groups: dict[str, list[str]] = {"head": [], "flex": [], "tail": []}
    for tag, part in zip(tags, parts, strict=True):
        groups[part].append(tag)
    flex = groups["flex"]
    if random is not None:
        flex = [flex[place] for place in random.permutation(len(flex))]
    return [*groups["head"], *flex, *groups["tail"]]
