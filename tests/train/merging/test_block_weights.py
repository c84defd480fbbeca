"""Strengths by block: vectors of every length, names, presets, and what is said of others."""

import pytest

from schemas.errors import UsageError
from train.blocks import SD15, SDXL, Architecture
from train.merging.block_weights import block_weights, presets


@pytest.mark.parametrize(
    ("architecture", "length", "places"),
    [
        (SD15, 17, {0: "TE", 1: "IN01", 3: "IN04", 7: "M00", 8: "OUT03", 16: "OUT11"}),
        (SD15, 26, {0: "TE", 1: "IN00", 12: "IN11", 13: "M00", 14: "OUT00", 25: "OUT11"}),
        (SDXL, 12, {0: "TE", 1: "IN04", 4: "IN08", 5: "M00", 6: "OUT00", 11: "OUT05"}),
        (SDXL, 20, {0: "TE", 1: "IN00", 9: "IN08", 10: "M00", 11: "OUT00", 19: "OUT08"}),
    ],
)
def test_a_vector_has_the_text_encoders_first_and_the_blocks_in_order(
    architecture: Architecture, length: int, places: dict[int, str]
) -> None:
    for place, block in places.items():
        values = ["0"] * length
        values[place] = "-0.25"
        found = block_weights(",".join(values), architecture)
        assert {name: value for name, value in found.items() if value} == {block: -0.25}


def test_blocks_that_a_vector_does_not_name_get_nothing() -> None:
    found = block_weights(",".join(["1"] * 17), SD15)
    assert {name for name, value in found.items() if not value} == {
        *("IN00", "IN03", "IN06", "IN09", "IN10", "IN11", "OUT00", "OUT01", "OUT02"),
    }


def test_names_of_blocks_may_carry_a_factor() -> None:
    found = block_weights("OUT03-06, in04=0.5,TE=-1", SD15)
    assert {name: value for name, value in found.items() if value} == {
        **dict.fromkeys(("OUT03", "OUT04", "OUT05", "OUT06"), 1.0),
        **{"IN04": 0.5, "TE": -1.0},
    }
    assert set(block_weights("", SDXL).values()) == {1.0}
    assert set(block_weights("ALL", SD15).values()) == {1.0}
    assert {name for name, value in block_weights("unet", SDXL).items() if not value} == {"TE"}


def test_presets_are_the_vectors_of_user_interfaces() -> None:
    known = {
        "INS": "1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0",
        "IND": "1,0,0,0,1,1,1,0,0,0,0,0,0,0,0,0,0",
        "INALL": "1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0",
        "MIDD": "1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0",
        "OUTD": "1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0",
        "OUTS": "1,0,0,0,0,0,0,0,0,0,0,0,1,1,1,1,1",
        "OUTALL": "1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1",
        "NF": "1,1,1,1,1,1,1,1,0,0,0,1,1,1,1,1,1",
        "NCNF": "1,1,1,1,1,1,1,1,0,0,0,1,1,1,1,0,0",
    }
    assert known.keys() == presets(SD15).keys()
    for name, vector in known.items():
        expected = block_weights(vector, SD15)
        found = block_weights(name.lower(), SD15)
        assert {block: found[block] for block in ("TE", *SD15.attention)} == {
            block: expected[block] for block in ("TE", *SD15.attention)
        }, name


@pytest.mark.parametrize(
    ("text", "architecture", "message"),
    [
        (
            "1,0,0",
            SD15,
            "block weights of 3 values: SD1.5 has vectors of 17 or 26, the text encoders' first",
        ),
        (
            ",".join(["1"] * 17),
            SDXL,
            "block weights of 17 values: SDXL has vectors of 12 or 20, the text encoders' first",
        ),
        ("OUT03=half", SD15, 'block weights "OUT03=half": half is no number'),
        (
            "OUT09",
            SDXL,
            'block weights "OUT09": "OUT09" is no block of SDXL (did you mean "OUT08"?); known are'
            ' "all", "unet", TE, IN00 to IN08, M00, OUT00 to OUT08, and ranges such as IN04-07',
        ),
        (
            "OUT13",
            SD15,
            'block weights "OUT13": "OUT13" is no block (did you mean "OUT11"?); known are "all",'
            ' "unet", TE, IN00 to IN11, M00, OUT00 to OUT11, and ranges such as IN04-07; presets'
            " are INS, IND, INALL, MIDD, OUTD, OUTS, OUTALL, NF, NCNF",
        ),
    ],
)
def test_what_is_no_block_weight_is_told(
    text: str, architecture: Architecture, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        block_weights(text, architecture)
    assert str(caught.value) == message
