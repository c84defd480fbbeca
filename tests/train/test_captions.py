"""What an exposure sees of its caption: shuffled, dropped, and the same whenever it is asked."""

import re

import pytest
from pydantic import ValidationError

from schemas.recipes.train import CaptionSection
from train.captions import Exposure, Tags, is_dropped

TAGS = Tags(
    texts=["azusa", *"abcdefgh", "z"],
    categories=["general", *["general"] * 4, *["character"] * 4, "meta"],
    parts=["head", *["flex"] * 8, "tail"],
)
EXPOSURES = [
    Exposure(7, step, row, copy) for step in range(20) for row in range(10) for copy in (0, 1)
]


def test_only_the_flex_part_is_shuffled() -> None:
    assert TAGS.ordered() == TAGS.texts
    shuffled = TAGS.shown(CaptionSection(), Exposure(7, 0, 0, 0))
    assert shuffled != TAGS.texts
    assert (shuffled[0], shuffled[-1]) == ("azusa", "z")
    assert sorted(shuffled) == sorted(TAGS.texts)
    assert TAGS.shown(CaptionSection(shuffle=False), Exposure(7, 0, 0, 0)) == TAGS.texts


def test_head_flex_and_tail_stand_in_this_order_wherever_the_manifest_has_them() -> None:
    assert Tags(["t", "f", "h"], ["general"] * 3, ["tail", "flex", "head"]).ordered() == [*"hft"]


def test_tags_are_dropped_at_their_categorys_rate_and_the_head_never() -> None:
    options = CaptionSection(shuffle=False, drop_tag={"general": 0.25, "meta": 1.0})
    seen = [TAGS.shown(options, exposure) for exposure in EXPOSURES]
    assert all(tags[0] == "azusa" for tags in seen)
    assert all("z" not in tags for tags in seen)
    assert all(tags[-4:] == [*"efgh"] for tags in seen)
    kept = sum(len({*tags} & {*"abcd"}) for tags in seen) / (4 * len(seen))
    assert kept == pytest.approx(0.75, abs=0.04)  # 2.6 standard deviations of 1,600 draws


def test_captions_are_dropped_at_the_rate_asked_for() -> None:
    dropped = [is_dropped(CaptionSection(drop_caption=0.25), exposure) for exposure in EXPOSURES]
    assert sum(dropped) / len(dropped) == pytest.approx(0.25, abs=0.06)
    assert not any(is_dropped(CaptionSection(), exposure) for exposure in EXPOSURES)
    assert all(is_dropped(CaptionSection(drop_caption=1.0), exposure) for exposure in EXPOSURES)


def test_what_is_drawn_depends_on_every_part_of_the_key_and_on_nothing_else() -> None:
    options = CaptionSection(drop_tag={"general": 0.5, "character": 0.5})
    first = [TAGS.shown(options, exposure) for exposure in EXPOSURES]
    assert [TAGS.shown(options, exposure) for exposure in reversed(EXPOSURES)] == first[::-1]
    for other in (
        Exposure(8, 3, 4, 0),
        Exposure(7, 2, 4, 0),
        Exposure(7, 3, 5, 0),
        Exposure(7, 3, 4, 1),
    ):
        assert TAGS.shown(options, other) != TAGS.shown(options, Exposure(7, 3, 4, 0))


def test_a_sentence_with_commas_is_one_piece_that_is_never_shuffled() -> None:
    said = "A witch, old, sits there."
    tags = Tags(
        ["azusa", said, "hat", "solo"], ["trigger", "sentence", "general", "general"],
        ["head", "head", "flex", "flex"],
    )  # fmt: skip
    orders = {tuple(tags.shown(CaptionSection(), exposure)) for exposure in EXPOSURES}
    assert orders == {("azusa", said, "hat", "solo"), ("azusa", said, "solo", "hat")}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"drop_tag": {"generel": 0.1}}, "Input should be 'general', 'artist', 'copyright'"),
        ({"drop_tag": {"general": 1.5}}, "Input should be less than or equal to 1"),
        ({"drop_caption": -0.1}, "Input should be greater than or equal to 0"),
    ],
)
def test_unknown_categories_and_impossible_rates_are_refused(
    section: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        CaptionSection.model_validate(section)
