"""Captions of at most so many tokens: which tags go, and that training then loses none."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.captions.columns import BOORU, made
from prep.captions.tokens import within
from prep.cli.opened import opened, tokenizer_of
from prep.dataset import Dataset
from prep.demo import recipes
from prep.init import write_recipes
from schemas.tables import PARTS
from train.text import Tokens


@dataclass(frozen=True)
class Tag:
    size: int  # tokens
    part: str


def cut(texts: list[str]) -> list[tuple[str, ...]]:
    """A text such as "7 hat" has seven tokens, and one more with a comma behind it."""
    return [("token",) * (int(text.split()[0]) + text.endswith(",")) for text in texts]


def fits(tags: list[Tag], limit: int) -> bool:
    """Whether training reads all of a caption, by filling chunk after chunk by hand."""
    chunks = [0]
    for place, tag in enumerate(tags):
        size = tag.size + (place < len(tags) - 1)
        if chunks[-1] and chunks[-1] + size > 75:
            chunks.append(0)
        while size > 75:
            chunks[-1:] = [75, 0]
            size -= 75
        chunks[-1] += size
    return len(chunks) <= limit // 75


captions = st.lists(
    st.builds(Tag, st.integers(1, 90) | st.integers(1, 9), st.sampled_from(PARTS)), max_size=40
).map(lambda tags: sorted(tags, key=lambda tag: PARTS.index(tag.part)))


@settings(deadline=None, max_examples=100)
@given(st.lists(captions, max_size=4), st.sampled_from([75, 150, 225]))
def test_tags_go_from_the_end_of_the_middle_until_the_rest_fits(
    many: list[list[Tag]], limit: int
) -> None:
    flat = [(n, tag) for n, tags in enumerate(many) for tag in tags]
    names = tuple(f"{tag.size} t{place}" for place, (_, tag) in enumerate(flat))
    image = np.array([n for n, _ in flat], np.int32)
    tags = made(names, image, np.arange(len(flat)), "general", BOORU)
    part = np.array([PARTS.index(tag.part) for _, tag in flat], np.int8)
    tags = replace(tags, part=part)
    kept = within(tags, pa.array(names, pa.string()), len(many), cut, limit)
    for n, whole in enumerate(many):
        stays = kept[image == n].tolist()
        left = [tag for tag, stay in zip(whole, stays, strict=True) if stay]
        assert [t for t in left if t.part != "flex"] == [t for t in whole if t.part != "flex"]
        middle = [tag for tag in whole if tag.part == "flex"]
        count = sum(tag.part == "flex" for tag in left)
        assert [tag for tag in left if tag.part == "flex"] == middle[:count]
        if count:
            assert fits(left, limit)
        if count < len(middle):
            more = [tag for tag in whole if tag.part == "head"]
            more += [*middle[: count + 1], *(tag for tag in whole if tag.part == "tail")]
            assert not fits(more, limit)


@pytest.fixture
def folder(tmp_path: Path, model: Path) -> Path:
    """Recipes of a dataset whose captions may have 75 tokens, and whose model is here."""
    train = recipes.train_recipe(steps=2)
    base = train.model.model_copy(update={"path": model.as_posix()})
    prep = recipes.prep_recipe("http://127.0.0.1:1")
    write_recipes(tmp_path / "data", prep, train.model_copy(update={"model": base}))
    return tmp_path / "data"


def test_tokens_are_those_of_the_model_to_train(folder: Path, model: Path) -> None:
    from transformers import CLIPTokenizer

    tokenizer, _ = tokenizer_of(Dataset.open(folder))
    theirs = Tokens(CLIPTokenizer.from_pretrained(model / "tokenizer"))
    texts = ["long hair", "akari (hoshizora academy),", r"\(^o^)/"]
    end = theirs.caption(()).ids[0, -1]
    for text, pieces in zip(texts, tokenizer.cut(texts), strict=True):
        ids = theirs.caption([text]).ids[0, 1:-1]
        assert len(pieces) == int((ids != end).sum())


def test_only_who_cuts_captions_opens_the_model(folder: Path) -> None:
    change = ["caption.render.max_tokens=75"]
    assert opened(folder).tokenizer is None
    assert opened(folder, change).tokenizer is not None
    (folder / "train.toml").unlink()
    assert opened(folder, change).tokenizer is None
