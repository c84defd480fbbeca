"""Tags: one canonical form whatever a person typed, and captions that lead back to it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tags import KAOMOJI, canonical, rendered, split

# 320 names of the site, the most used one of each kind of spelling
SITE_NAMES = (Path(__file__).parent / "danbooru_names.txt").read_text("utf-8").split()

# written the same everywhere: faces and signs, and words without blanks or parentheses
SIGNS = r"""
:3 :d :o :p :q :< :> :>= :| :/ :x :i ;d ;3 ;p ;/ ;| 3: d: d; c: x< >o< >3< ^^^ ^v^ ^q^ ...
...? ...! !? !! +++ uu~ \m/ \o/ \n/ \||/ \\// ^_^ >_< >_o @_@ +_+ +_- =_= o_o |_| ||_|| ._.
0_0 3_3 6_9 u_u x_x t_t o_x <o>_<o> <|>_<|> ;_; -_- >_> .hack// .hack//g.u. .live #compass
i"s 1=2 5.5 a3! k/a re:creators fate/zero 22/7 me!me!me! steins;gate 日本 é
"""
AS_THEY_ARE = SIGNS.split()
# canonical, as a caption has it, as a prompt escapes it
HARD = (
    ("\\(^o^)/", "\\(^o^)/", "\\\\(^o^\\)/"),
    (">:)", ">:)", ">:\\)"),
    (">:(", ">:(", ">:\\("),
    (";)", ";)", ";\\)"),
    (";(", ";(", ";\\("),
    ("(o)_(o)", "(o)_(o)", "\\(o\\)_\\(o\\)"),
    ("double_\\m/", "double \\m/", "double \\m/"),
    ("?_block", "? block", "? block"),
    ("=_hair_ornament", "= hair ornament", "= hair ornament"),
    ("@_(symbol)", "@ (symbol)", "@ \\(symbol\\)"),
    ("star_(sky)", "star (sky)", "star \\(sky\\)"),
    ("jagdpanzer_38(t)", "jagdpanzer 38(t)", "jagdpanzer 38\\(t\\)"),
    ("waka_(yuuhagi_(amaretto-no-natsu))", "waka (yuuhagi (amaretto-no-natsu))",
     "waka \\(yuuhagi \\(amaretto-no-natsu\\)\\)"),
    ("evangelion:_3.0_you_can_(not)_redo", "evangelion: 3.0 you can (not) redo",
     "evangelion: 3.0 you can \\(not\\) redo"),
    ("haseo_(.hack//)", "haseo (.hack//)", "haseo \\(.hack//\\)"),
    ("azusa_(swimsuit)_(blue_archive)", "azusa (swimsuit) (blue archive)",
     "azusa \\(swimsuit\\) \\(blue archive\\)"),
    ("ump45_(\"just_this_time.\")_(girls'_frontline)",
     "ump45 (\"just this time.\") (girls' frontline)",
     "ump45 \\(\"just this time.\"\\) \\(girls' frontline\\)"),
    ('don\'t_say_"lazy"', 'don\'t say "lazy"', 'don\'t say "lazy"'),
    ("re:zero_kara_hajimeru_isekai_seikatsu", "re:zero kara hajimeru isekai seikatsu",
     "re:zero kara hajimeru isekai seikatsu"),
    ("re:_cutie_honey", "re: cutie honey", "re: cutie honey"),
    ("fate/grand_order", "fate/grand order", "fate/grand order"),
    ("tamamo_no_mae_(fate/extra)", "tamamo no mae (fate/extra)",
     "tamamo no mae \\(fate/extra\\)"),
    ("#unicus_(idolmaster)", "#unicus (idolmaster)", "#unicus \\(idolmaster\\)"),
    ("a~_un~", "a~ un~", "a~ un~"),
    ("evo_moment_#37", "evo moment #37", "evo moment #37"),
    ("s&w_m&p", "s&w m&p", "s&w m&p"),
    ("haku_(p&d)", "haku (p&d)", "haku \\(p&d\\)"),
    ("la+_darknesss", "la+ darknesss", "la+ darknesss"),
    ("half-closed_eyes", "half-closed eyes", "half-closed eyes"),
    ("jeanne_d'arc_alter_(fate)", "jeanne d'arc alter (fate)",
     "jeanne d'arc alter \\(fate\\)"),
    ("86_-eightysix-", "86 -eightysix-", "86 -eightysix-"),
    ("d.va_(overwatch)", "d.va (overwatch)", "d.va \\(overwatch\\)"),
)  # fmt: skip

letters = st.text("abcxyz0189!?.'-/:;<>^~+&\"#@=|$日é", min_size=1, max_size=8)
words = st.lists(letters, min_size=1, max_size=3).map("_".join)
# the site has no double, first or last underscore in a name
names = st.one_of(
    words,
    st.tuples(words, words).map(lambda pair: f"{pair[0]}_({pair[1]})"),
    st.sampled_from(sorted(KAOMOJI)),
    st.sampled_from(AS_THEY_ARE),
    st.sampled_from([name for name, _, _ in HARD]),
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


@pytest.mark.parametrize(("name", "text", "escaped"), HARD)
def test_text_of_hard_names_and_back(name: str, text: str, escaped: str) -> None:
    assert rendered(name, escape=False) == text
    assert rendered(name, escape=True) == escaped
    assert canonical(text) == canonical(escaped) == name


def test_faces_and_signs_are_written_as_they_are() -> None:
    for escape in (False, True):
        assert [rendered(name, escape=escape) for name in AS_THEY_ARE] == AS_THEY_ARE
    assert list(map(canonical, AS_THEY_ARE)) == AS_THEY_ARE


@pytest.mark.parametrize("escape", [False, True])
def test_names_of_the_site_come_back_from_a_caption(escape: bool) -> None:
    assert len(SITE_NAMES) == 320
    caption = ", ".join(rendered(name, escape=escape) for name in SITE_NAMES)
    assert split(caption) == SITE_NAMES
    assert split(caption.upper()) == SITE_NAMES


@settings(deadline=None)
@given(st.lists(names, max_size=6), st.booleans())
def test_a_line_of_tags_is_split_at_its_commas_each_tag_once(tags: list[str], escape: bool) -> None:
    line = ", ".join(rendered(tag, escape=escape) for tag in tags)
    assert split(line + ",, ") == list(dict.fromkeys(tags))


def test_an_empty_line_has_no_tags() -> None:
    assert split(" , ,\n") == []
