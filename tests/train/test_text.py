"""Captions to tokens to what the U-Net attends to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.recipes.train import ModelSection
from schemas.tags import rendered
from train.model import find_model
from train.text import CHUNK, Tokens, encode


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Any:
    return find_model(ModelSection(path=str(model)), Path()).tokenizer()


@pytest.fixture(scope="module")
def tokens(tokenizer: Any) -> Tokens:
    return Tokens(tokenizer)


def test_a_short_caption_is_what_the_tokenizer_makes_of_the_whole_text(
    tokens: Tokens, tokenizer: Any
) -> None:
    tags = ["azusa", "^^^", "long hair", ":3", "it's", "re:zero", "日本"]
    caption = tokens.caption(tags)
    whole = tokenizer(", ".join(tags), padding="max_length", max_length=77, truncation=True)
    assert caption.ids.tolist() == [whole.input_ids]
    assert caption.lost == 0


def test_escaped_brackets_are_the_tags_own(tokens: Tokens) -> None:
    escaped, plain = tokens.prompt(r"azusa \(a\), hat"), tokens.prompt("azusa (a), hat")
    assert np.array_equal(escaped.ids, plain.ids)


def test_a_face_keeps_its_own_backslash_escaped_or_not(tokens: Tokens, tokenizer: Any) -> None:
    escaped, plain = (
        tokens.prompt(rendered("\\(^o^)/", escape=escape)).ids[0].tolist()
        for escape in (True, False)
    )
    assert escaped == plain
    assert plain[: plain.index(tokenizer.eos_token_id) + 1] == tokenizer("\\(^o^)/").input_ids


def test_no_tag_is_cut_in_two_and_lost_tags_are_counted(tokens: Tokens, tokenizer: Any) -> None:
    tags = [f"qzx{number}" for number in range(60)]
    caption = tokens.caption(tags, 150)
    assert caption.ids.shape == (2, 77)
    said = [tokenizer.decode(chunk, skip_special_tokens=True) for chunk in caption.ids]
    kept = [tag.strip() for chunk in said for tag in chunk.replace(" ", "").split(",") if tag]
    assert kept == tags[: len(kept)]
    assert caption.lost == len(tags) - len(kept) > 0


@given(
    tags=st.lists(st.text("abc xyz()^3", min_size=1, max_size=90), max_size=60),
    limit=st.sampled_from([75, 150, 225]),
)
@settings(max_examples=60, deadline=None)
def test_chunks_are_framed_and_never_longer_than_the_limit(
    tokens: Tokens, tokenizer: Any, tags: list[str], limit: int
) -> None:
    caption = tokens.caption(tags, limit)
    assert 1 <= len(caption.ids) <= limit // CHUNK
    assert (caption.ids[:, 0] == tokenizer.bos_token_id).all()
    assert (caption.ids[:, -1] == tokenizer.eos_token_id).all()
    if not caption.lost:
        text = ", ".join(tags)
        whole = tokenizer(text, add_special_tokens=False).input_ids
        special = (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert [token for token in caption.ids.flat if token not in special] == whole


def test_shorter_captions_get_empty_chunks_beside_longer_ones(tokens: Tokens) -> None:
    short, long = tokens.caption(["hat"]), tokens.caption([f"qzx{n}" for n in range(40)])
    stacked = tokens.stacked([short, long])
    assert stacked.shape == (2, len(long.ids), 77)
    assert torch.equal(stacked[0, 1], torch.from_numpy(tokens.caption([]).ids[0]))


def test_clip_skip_counts_layers_from_the_end_before_the_final_norm(
    model: Path, tokens: Tokens
) -> None:
    (text,) = find_model(ModelSection(path=str(model)), Path()).text_encoders()
    ids = tokens.stacked([tokens.caption(["hat", "smile"])])
    out = text(ids[:, 0], output_hidden_states=True)
    torch.testing.assert_close(encode([text], ids, 1).context, out.last_hidden_state)
    second = text.final_layer_norm(out.hidden_states[-2])
    torch.testing.assert_close(encode([text], ids, 2).context, second)
    assert not torch.allclose(second, out.last_hidden_state, atol=1e-3)


def test_chunks_are_encoded_apart_and_laid_in_a_row(model: Path, tokens: Tokens) -> None:
    (text,) = find_model(ModelSection(path=str(model)), Path()).text_encoders()
    ids = tokens.stacked([tokens.caption([f"qzx{n}" for n in range(40)])])
    joined = encode([text], ids, 2).context
    assert joined.shape == (1, ids.shape[1] * 77, 128)
    apart = [encode([text], ids[:, n : n + 1], 2).context for n in range(ids.shape[1])]
    torch.testing.assert_close(joined, torch.cat(apart, dim=1))
