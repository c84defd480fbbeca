"""Which prompts pictures are read back by."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DatasetError
from train.prompts import (
    PAIRS,
    SINGLES,
    own_prompts,
    pairs,
    prior_prompts,
    prompt_lines,
    trigger_prompts,
)
from train.read_back import SHOWN, Prompt, Real

LABELS = 40


def drawn(seed: int, labels: int = LABELS) -> tuple[Real, np.ndarray, dict[int, str]]:
    """Sixty pictures; label 0 is on all, label 1 on none, captions name what is shown."""
    random = np.random.default_rng(seed)
    truth = random.random((60, labels)) < random.uniform(0.05, 0.6, labels)
    truth[:, 0], truth[:, 1] = True, False
    names = tuple(f"tag_{label}" for label in range(labels))
    return Real(names, truth, truth), truth, {n: f"tag {n}" for n in range(labels)}


@given(st.integers(0, 1000))
def test_prior_prompts_are_tags_with_a_ceiling_and_pairs_that_exist(seed: int) -> None:
    real, captioned, texts = drawn(seed)
    prompts = prior_prompts(real, captioned, texts)
    assert prompts == prior_prompts(real, captioned, texts)
    assert len({prompt.text for prompt in prompts}) == len(prompts) == SINGLES + PAIRS
    assert [len(prompt.asked) for prompt in prompts] == [1] * SINGLES + [2] * PAIRS
    for prompt in prompts:
        assert not prompt.trigger
        assert prompt.text == ", ".join(tag.replace("_", " ") for tag in prompt.asked)
        shown = real.truth[:, [real.columns[tag] for tag in prompt.asked]]
        assert (shown.sum(axis=0) >= SHOWN).all()
        assert shown.all(axis=1).any()
        assert not {"tag_0", "tag_1"} & set(prompt.asked)
    asked = [tag for prompt in prompts for tag in prompt.asked]
    assert len(set(asked)) >= min(len(asked), LABELS - 20)  # spread over many


def test_a_tag_that_captions_do_not_name_is_not_asked_for() -> None:
    real, captioned, texts = drawn(0)
    captioned = captioned.copy()
    captioned[:, :30] = False
    asked = {tag for p in prior_prompts(real, captioned, texts) for tag in p.asked}
    assert asked
    assert asked <= {f"tag_{label}" for label in range(30, LABELS)}


def test_tags_that_are_always_together_are_no_pair() -> None:
    truth = np.zeros((20, 3), dtype=bool)
    truth[:10, 0] = truth[:5, 1] = truth[8:14, 2] = True
    assert pairs(truth, [0, 1, 2], [], 9) == [(0, 2)]
    assert pairs(truth, [], [], 9) == []


def test_the_trigger_stands_alone_and_with_what_varies() -> None:
    real, captioned, texts = drawn(3)
    taught = np.arange(60) < 40
    prompts = trigger_prompts(
        *(real, captioned, texts),
        trigger="azusa (school)",
        taught=taught,
        signature=["tag_2", "tag_3"],
    )
    assert prompts[0] == Prompt("azusa (school)", (), trigger=True)
    assert len(prompts) == 4
    for prompt in prompts[1:]:
        (tag,) = prompt.asked
        assert prompt == Prompt(f"azusa (school), {tag.replace('_', ' ')}", (tag,), trigger=True)
        assert tag not in ("tag_2", "tag_3")
        assert real.truth[taught, real.columns[tag]].sum() >= SHOWN


def test_a_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("Red Hair, hat\n\n azusa \\(school\\), smile,  \nqzx\n", encoding="utf-8")
    names = ["red_hair", "smile", "azusa_(school)"]
    assert own_prompts(prompt_lines(file), names, "azusa (school)") == [
        Prompt("Red Hair, hat", ("red_hair",)),
        Prompt("azusa \\(school\\), smile,", ("smile",), trigger=True),
        Prompt("qzx", ()),
    ]
    assert not any(prompt.trigger for prompt in own_prompts(prompt_lines(file), names, ""))
    file.write_text("\n \n", encoding="utf-8")
    message = f"--prompts {file} holds no prompt: write one a line"
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        prompt_lines(file)
    none = tmp_path / "none.txt"
    with pytest.raises(DatasetError, match=re.escape(f"--prompts {none} cannot be read as UTF-8")):
        prompt_lines(none)
