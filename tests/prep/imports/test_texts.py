"""Captions as people have them: tags told from sentences, in any spelling and encoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prep.imports.texts import Caption, decoded, parse, spaced
from schemas.tags import canonical, rendered

HARD = [
    "1girl", "azusa_(blue_archive)", ":3", "\\m/", "\\(^o^)/", "o_o", ">_<", "|_|", "re:zero",
    "artoria_pendragon_(swimsuit_ruler)_(fate)", "hand_on_another's_head", "k-on!", "d:", "...",
    "short_hair_with_long_locks", "the_legend_of_zelda:_a_link_to_the_past", "super_smash_bros.",
    "love_live!_school_idol_project", "looking_at_viewer", "standing_on_one_leg", "アズサ", "café",
]  # fmt: skip
words = st.text(st.sampled_from("abcdeghkmo'-!é猫"), min_size=1, max_size=6)
plain = st.lists(words, min_size=1, max_size=2).map("_".join)
qualified = st.tuples(plain, words).map(lambda both: f"{both[0]}_({both[1]})")
names = st.one_of(st.sampled_from(HARD), plain, qualified).filter(
    lambda name: canonical(name) == name
)


def tags(text: str) -> list[str]:
    return [canonical(tag) for tag in parse(text).tags]


@given(
    st.lists(names, min_size=2, max_size=12, unique=True),
    st.booleans(),
    st.booleans(),
    st.sampled_from([", ", ",", " ,\t", "\n", ",\r\n", ", ||| "]),
)
def test_tags_that_were_rendered_into_a_caption_come_back_in_order(
    given_tags: list[str], escape: bool, underscores: bool, between: str
) -> None:
    if underscores:
        text = between.join(name.replace("(", "\\(").replace(")", "\\)") if escape and
                            "\\" not in name else name for name in given_tags)  # fmt: skip
    else:
        text = between.join(rendered(name, escape=escape) for name in given_tags)
    assert parse(text) == Caption(parse(text).tags, "", False)
    assert tags(text) == given_tags


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1girl solo looking_at_viewer hat\n", ["1girl", "solo", "looking_at_viewer", "hat"]),
        ("1girl solo hat", ["1girl", "solo", "hat"]),
        ("1girl\nsolo\nlooking at viewer\n", ["1girl", "solo", "looking_at_viewer"]),
        ("blue hat", ["blue_hat"]),
        ("My_Char", ["my_char"]),
        (" , ,hat,, ", ["hat"]),
        ("my_char ||| 1girl, hat", ["my_char", "1girl", "hat"]),
        ("", []),
    ],
)
def test_tags_between_commas_lines_or_spaces(text: str, expected: list[str]) -> None:
    assert tags(text) == expected


def test_weights_stay_in_the_text_of_their_tag() -> None:
    assert parse("1girl, (blue hat:1.2), smile") == Caption(
        ("1girl", "(blue hat:1.2)", "smile"), "", True
    )
    assert not parse("azusa (blue archive), :3, (o)_(o)").weighted


@pytest.mark.parametrize(
    ("text", "expected_tags", "sentence"),
    [
        (
            "A girl with long red hair, wearing a white dress, stands in a field.",
            [],
            "A girl with long red hair, wearing a white dress, stands in a field.",
        ),
        ("a woman standing in front of a building", [], "a woman standing in front of a building"),
        (
            "my_char, 1girl, A girl stands in the rain, holding an umbrella., hat",
            ["my_char", "1girl", "hat"],
            "A girl stands in the rain, holding an umbrella.",
        ),
        ("a girl in a hat, 1girl, hat", ["1girl", "hat"], "a girl in a hat"),
        ("1girl, hat\nShe is waiting. It rains.", ["1girl", "hat"], "She is waiting. It rains."),
        ("少女が立っている。", [], "少女が立っている。"),
        # a phrase without linking words is a tag: Danbooru has such ones
        ("short hair with long locks, hat", ["short_hair_with_long_locks", "hat"], ""),
    ],
)
def test_sentences_are_told_from_tags(text: str, expected_tags: list[str], sentence: str) -> None:
    assert (tags(text), parse(text).sentence) == (expected_tags, sentence)


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("hat, café".encode(), "hat, café", ""),
        ("hat, café".encode("utf-8-sig"), "hat, café", ""),
        ("hat, アズサ".encode("utf-16"), "hat, アズサ", "UTF-16"),
        ("hat".encode("utf-32"), "hat", "UTF-32"),
        ("hat, アズサ".encode("cp932"), "hat, アズサ", "Shift-JIS"),
        (b"hat, caf\xe9", "hat, café", "Windows-1252"),
    ],
)
def test_the_encoding_is_found_and_told_where_it_is_not_utf_8(
    data: bytes, text: str, encoding: str
) -> None:
    assert decoded(data) == (text, encoding)


def test_what_holds_zero_bytes_is_no_text() -> None:
    with pytest.raises(UnicodeError, match=r"^it holds zero bytes$"):
        decoded(b"\x89PNG\0\0")


def test_a_tag_string_is_split_at_its_commas_or_else_at_spaces() -> None:
    assert spaced("1girl blue_hat") == ["1girl", "blue_hat"]
    assert spaced("1girl, blue hat") == ["1girl", "blue hat"]
