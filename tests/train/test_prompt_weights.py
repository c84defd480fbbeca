"""Weights in prompts: what is one, what is a tag with parentheses, and what they do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schemas.recipes.train import ModelSection
from train.model import find_model
from train.prompt_weights import weighted_tags
from train.text import Encoded, Tokens, weighed


@pytest.mark.parametrize(
    ("prompt", "tags"),
    [
        ("1girl, (red hair:1.2)", [[("1girl", 1.0)], [("red hair", 1.2)]]),
        ("(red hair, hat:.5)", [[("red hair", 0.5)], [("hat", 0.5)]]),
        ("(a (b:2), c:1.5)", [[("a", 1.5), ("b", 3.0)], [("c", 1.5)]]),
        (r"azusa \(blue archive\)", [[(r"azusa \(blue archive\)", 1.0)]]),
        (r"(azusa \(blue archive\):1.1)", [[(r"azusa \(blue archive\)", 1.1)]]),
        ("azusa (blue archive)", [[("azusa (blue archive)", 1.0)]]),
        ("re:zero, :3, >:(", [[("re:zero", 1.0)], [(":3", 1.0)], [(">:(", 1.0)]]),
        (r"\(^o^)/, (:o:1.3)", [[(r"\(^o^)/", 1.0)], [(":o", 1.3)]]),
        ("(a:b)", [[("(a:b)", 1.0)]]),
        (" , ,", []),
    ],
)
def test_what_ends_in_a_number_is_a_weight(
    prompt: str, tags: list[list[tuple[str, float]]]
) -> None:
    assert weighted_tags(prompt) == tags


@given(st.text(alphabet="ab (),:.1\\"))
def test_any_text_is_read_and_no_letter_is_lost(prompt: str) -> None:
    said = "".join(text for tag in weighted_tags(prompt) for text, _ in tag)
    assert said.count("a") + said.count("b") == prompt.count("a") + prompt.count("b")


@pytest.fixture(scope="module")
def tokens(model: Path) -> Tokens:
    return Tokens(find_model(ModelSection(path=str(model)), Path()).tokenizer())


def test_the_tokens_of_a_weighted_prompt_are_those_of_the_plain_one(tokens: Tokens) -> None:
    plain = tokens.prompt("1girl, red hair, hat")
    weighted = tokens.prompt("1girl, (red hair:1.5), hat")
    assert plain.weights is None
    assert weighted.weights is not None
    assert np.array_equal(weighted.ids, plain.ids)
    heavier = weighted.ids[0][weighted.weights[0] == 1.5]
    assert (
        heavier.tolist() == tokens.caption(["red hair", ""]).ids[0][1 : 1 + len(heavier)].tolist()
    )
    assert set(weighted.weights[0].tolist()) == {1.0, 1.5}
    stacked = tokens.weights([plain, weighted])
    assert stacked is not None
    assert stacked.tolist() == [[1.0] * 77, weighted.weights[0].tolist()]
    assert tokens.weights([plain]) is None


def test_a_weight_of_one_changes_nothing_and_the_mean_stays() -> None:
    states = Encoded(torch.randn(2, 77, 8, generator=torch.Generator().manual_seed(0)) + 0.5, None)
    same = weighed(states, torch.ones(2, 77))
    assert torch.allclose(same.context, states.context, rtol=1e-6)
    weights = torch.ones(2, 77)
    weights[0, 3] = 2.0
    after = weighed(states, weights).context
    assert torch.allclose(after.mean((1, 2)), states.context.mean((1, 2)), rtol=1e-5)
    ratio = after[0, 3] / states.context[0, 3]
    assert torch.allclose(ratio, 2 * after[0, 4] / states.context[0, 4], rtol=1e-5)
    assert torch.allclose(after[1], states.context[1], rtol=1e-5)
