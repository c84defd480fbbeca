"""What an experiment lays over the dataset's recipes, in the words of TOML."""

from typing import Any

from schemas.recipes.experiment import ExperimentRecipe
from train.compare.experiment import laid_over


def test_what_arms_have_in_common_is_told_key_by_key() -> None:
    def told(**common: Any) -> str:
        values = {"question": "Which?", "arms": {"a": {}, "b": {}}, **common}
        return laid_over(ExperimentRecipe.model_validate(values))

    assert told() == ""
    assert told(train={"steps": {"total": 9}}) == "train.steps.total = 9"
    assert told(prep={"sets": {"my set": {"limit": 2}}}, train={"seed": 1}) == (
        'prep.sets."my set".limit = 2\ntrain.seed = 1'
    )
