"""The probability from which each label counts, by category, by tag, by what an image shows."""

import numpy as np
import pytest

from schemas.recipes.prep import TagSection
from taggers.thresholds import thresholds, without_gaps
from taggers.vocabulary import Label

LABELS = (
    Label("general", "rating"),
    Label("long_hair", "general"),
    Label("hair_ornament", "general"),
    Label("azusa_(blue_archive)", "character"),
    Label("blue_archive", "copyright"),
    Label("^_^", "general"),
)


def test_thresholds_go_by_category_and_ratings_are_never_selected() -> None:
    got = thresholds(LABELS, TagSection())
    assert got.dtype == np.float32
    assert got.tolist() == pytest.approx([np.inf, 0.35, 0.35, 0.85, 0.85, 0.35])


@pytest.mark.parametrize(
    "spelled", ["hair ornament", "hair_ornament", "Hair_Ornament", " hair ornament "]
)
def test_a_threshold_of_its_own_holds_however_the_tag_is_spelled(spelled: str) -> None:
    assert thresholds(LABELS, TagSection(threshold={spelled: 0.5}))[2] == np.float32(0.5)


def test_escaped_parentheses_and_kaomoji_compare_alike() -> None:
    own = {"azusa \\(blue archive\\)": 0.6, "^ ^": 0.7, "unknown tag": 0.9}
    got = thresholds(LABELS, TagSection(general=0.1, character=0.2, copyright=0.3, threshold=own))
    assert got.tolist() == pytest.approx([np.inf, 0.1, 0.1, 0.6, 0.3, 0.7])


def test_the_widest_gap_is_no_number_until_an_image_is_there() -> None:
    options = TagSection(general="mcut", character="mcut", threshold={"hair ornament": 0.5})
    got = thresholds(LABELS, options)
    assert got == pytest.approx([np.inf, np.nan, 0.5, np.nan, 0.85, np.nan], nan_ok=True)
    assert thresholds(LABELS, without_gaps(options))[[1, 2, 3]] == pytest.approx([0.35, 0.5, 0.85])
