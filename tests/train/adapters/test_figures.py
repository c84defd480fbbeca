"""[adapter.block]: figures of single blocks, and what is refused with a sentence."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.errors import RecipeError
from schemas.recipes.train import AdapterSection
from train.adapters.figures import figures_by_block
from train.blocks import SD15


def section(**values: Any) -> AdapterSection:
    return AdapterSection.model_validate(values)


def test_blocks_have_figures_of_their_own_over_the_adapters() -> None:
    asked = section(
        blocks="IN04-07,OUT03-06,TE",
        block={
            "OUT03-06": {"dim": 32, "alpha": 8.0},
            "OUT03": {"lr": 0.5},
            "IN04,IN05": {"lr": 0},
            "TE": {"dim": 0},
        },
    )
    found = figures_by_block(asked, SD15)
    assert list(found) == ["IN06", "IN07", "OUT03", "OUT04", "OUT05", "OUT06"]
    assert (found["IN07"].dim, found["IN07"].alpha, found["IN07"].lr) == (16, 4.0, 1.0)
    assert (found["OUT03"].dim, found["OUT03"].alpha, found["OUT03"].lr) == (32, 8.0, 0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"blocks": "OUT03-06", "block": {"IN04": {"lr": 0.5}}},
            'adapter.block."IN04": IN04 is not trained, adapter.blocks = "OUT03-06": name it there'
            " too, or leave it out here",
        ),
        (
            {"block": {"OUT03-06": {"dim": 8}, "OUT04": {"dim": 4}}},
            'adapter.block."OUT04": another name in adapter.block gives OUT04 dim',
        ),
        (
            {"blocks": "M00", "block": {"M00": {"lr": 0}}},
            "adapter.block leaves nothing to train: every block has dim or lr 0",
        ),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        figures_by_block(section(**values), SD15)
    assert str(caught.value) == message


def test_convolutions_are_for_kinds_that_change_them() -> None:
    with pytest.raises(ValidationError, match='use kind = "locon"'):
        section(conv_dim=8)
    with pytest.raises(ValidationError, match="give conv_dim, or use kind"):
        section(kind="locon")
    assert section(kind="dora", conv_dim=8).conv_alpha == 0
