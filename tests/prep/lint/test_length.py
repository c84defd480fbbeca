"""Captions are cut as training cuts them: all at once here, one by one there."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from prep.captions.tokens import Columns, lost
from prep.cli.lint import words_of
from prep.dataset import Dataset
from prep.lint.length import LIMITS
from schemas.files import write_text
from train.text import Tokens

ASSETS = Path(__file__).parents[3] / "prep" / "demo" / "assets" / "model"
TAGS = st.sampled_from(
    ["hat", "long hair", "aiming at viewer", "x" * 40, "0" * 80, "0" * 76, "7" * 230, "a b c d e",
     r"azusa \(blue archive\)", "^^^", "記録"]
)  # fmt: skip


def test_the_tokenizer_is_that_of_the_model_to_train(tmp_path: Path) -> None:
    write_text(tmp_path / "prep.toml", '[sets]\nmain = { query = "hat" }\n')
    recipe = f'[model]\npath = "{ASSETS.as_posix()}"\n[caption]\ntokens = 75\n'
    write_text(tmp_path / "train.toml", recipe)
    words, limit = words_of(Dataset.open(tmp_path))
    assert (words.exact, words.by, limit) == (True, ASSETS.as_posix(), 75)
    tokenizer = CLIPTokenizer.from_pretrained(ASSETS / "tokenizer")
    for text in (r"azusa \(blue archive\),", "0_0", ""):
        plain = text.replace("\\", "")
        assert list(words.cut([text])[0]) == tokenizer.tokenize(plain)
    assert words.cut([]) == []


def test_without_its_model_words_are_compared_and_it_is_told(tmp_path: Path) -> None:
    write_text(tmp_path / "prep.toml", '[sets]\nmain = { query = "hat" }\n')
    write_text(tmp_path / "train.toml", '[model]\npath = "gone"\n')
    words, limit = words_of(Dataset.open(tmp_path))
    assert (words.exact, limit) == (False, 225)
    assert words.by.startswith("model.path gone is missing: give a .safetensors or .ckpt file")
    assert words.cut(["Aiming at viewer, 2x (b)"]) == [
        ("aiming", "at", "viewer", ",", "2", "x", "(", "b", ")")
    ]


@settings(max_examples=60)
@given(st.lists(st.lists(TAGS, max_size=30), min_size=1, max_size=5), st.sampled_from(LIMITS))
def test_what_is_lost_is_what_training_loses(captions: list[list[str]], limit: int) -> None:
    tokens = Tokens(TOKENIZER)
    texts = {text for tags in captions for tag in tags for text in (tag, f"{tag},")}
    size = {text: len(TOKENIZER.tokenize(text.replace("\\", ""))) for text in texts}
    counts = np.array([len(tags) for tags in captions], np.int64)
    columns = Columns(
        np.cumsum(counts),
        np.array([size[f"{tag},"] for tags in captions for tag in tags], np.int64),
        np.array([size[tag] for tags in captions for tag in tags], np.int64),
    )
    expected = [len(tags) - tokens.caption(tags, limit).lost for tags in captions]
    assert lost(columns, limit).tolist() == expected


TOKENIZER = CLIPTokenizer.from_pretrained(ASSETS / "tokenizer")
