"""Tags: one canonical form whatever a person typed, and captions that lead back to it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tags import KAOMOJI, canonical, rendered, split

letters = st.text("abcxyz0189!?.'-/:;<>^~+&", min_size=1, max_size=8)
words = st.lists(letters, min_size=1, max_size=3).map("_".join)
# the site has no double, first or last underscore in a name
names = st.one_of(
    words,
    st.tuples(words, words).map(lambda pair: f"{pair[0]}_({pair[1]})"),
    st.sampled_from(sorted(KAOMOJI)),
    st.sampled_from(["\\m/", "\\(^o^)/", ";)", ":d", "(9)", "\\||/", "^^^", "fate/stay_night"]),
)


@settings(deadline=None)
@given(names, st.booleans())
def test_what_a_caption_shows_leads_back_to_the_tag(name: str, escape: bool) -> None:
    assert canonical(rendered(name, escape=escape)) == name


@settings(deadline=None)
@given(names)
def test_a_canonical_name_is_its_own_canonical_form(name: str) -> None:
    assert canonical(name) == name


@settings(deadline=None)
@given(st.text().filter(lambda text: "\\\\" not in text))
def test_the_canonical_form_of_anything_is_canonical(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)


@settings(deadline=None)
@given(names, st.text(" \t\n", max_size=2), st.booleans())
def test_blanks_around_and_capitals_do_not_count(name: str, blank: str, escape: bool) -> None:
    assert canonical(f"{blank}{rendered(name, escape=escape).upper()}{blank}") == name


@settings(deadline=None)
@given(names)
def test_escaped_text_has_every_parenthesis_behind_a_backslash(name: str) -> None:
    escaped = rendered(name, escape=True)
    assert escaped.replace("\\(", "").replace("\\)", "").count("(") == 0
    assert escaped.count("(") == name.count("(")
    assert escaped.count("\\(") == name.count("(")
    assert escaped.count("\\)") == name.count(")")


@pytest.mark.parametrize(
    ("typed", "tag"),
    [
        ("Azusa \\(Blue Archive\\)", "azusa_(blue_archive)"),
        ("azusa (blue archive)", "azusa_(blue_archive)"),
        ("  looking  at\tviewer ", "looking_at_viewer"),
        ("\\(^o^)/", "\\(^o^)/"),
        ("^_^", "^_^"),
        ("", ""),
    ],
)
def test_canonical_form_of_what_people_type(typed: str, tag: str) -> None:
    assert canonical(typed) == tag


@pytest.mark.parametrize(
    ("tag", "plain", "escaped"),
    [
        ("long_hair", "long hair", "long hair"),
        ("azusa_(blue_archive)", "azusa (blue archive)", "azusa \\(blue archive\\)"),
        (">_<", ">_<", ">_<"),
        ("(o)_(o)", "(o)_(o)", "\\(o\\)_\\(o\\)"),
        ("||_||", "||_||", "||_||"),
    ],
)
def test_text_of_tags(tag: str, plain: str, escaped: str) -> None:
    assert rendered(tag, escape=False) == plain
    assert rendered(tag, escape=True) == escaped


@settings(deadline=None)
@given(st.lists(names, max_size=6), st.booleans())
def test_a_line_of_tags_is_split_at_its_commas_each_tag_once(tags: list[str], escape: bool) -> None:
    line = ", ".join(rendered(tag, escape=escape) for tag in tags)
    assert split(line + ",, ") == list(dict.fromkeys(tags))


def test_an_empty_line_has_no_tags() -> None:
    assert split(" , ,\n") == []
