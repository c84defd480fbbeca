"""Reading queries: what cannot be understood is told with its place; what can is written back."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prep.query.ast import (
    And,
    Metatag,
    Node,
    Not,
    Or,
    Query,
    Tag,
    Wildcard,
    all_of,
    any_of,
    negated,
)
from prep.query.parse import parse
from prep.query.render import render
from schemas.errors import QueryError

BOTH = "stands between two things: write one on each side"


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("(hat", 1, 'this "(" is never closed: write the ")" that closes it'),
        ("hat (smile or (tears)", 5, 'this "(" is never closed: write the ")" that closes it'),
        ("hat)", 4, 'this ")" closes nothing: take it away, or open it with "("'),
        ("hat )", 5, 'this ")" closes nothing: take it away, or open it with "("'),
        ("(hat) smile)", 12, 'this ")" closes nothing: take it away, or open it with "("'),
        ("(hat)(smile)", 5, 'this ")" closes nothing: take it away, or open it with "("'),
        ("hat_(cat", 1, 'a "(" of "hat_(cat" is never closed'),
        ("hat or", 5, f'"or" {BOTH}'),
        ("hat or ", 5, f'"or" {BOTH}'),
        ("(hat or ) smile", 6, f'"or" {BOTH}'),
        ("or hat", 1, f'"or" {BOTH}'),
        ("hat or or smile", 8, f'"or" {BOTH}'),
        ("hat and", 5, f'"and" {BOTH}'),
        ("hat and ", 5, f'"and" {BOTH}'),
        ("()", 2, "nothing stands in these parentheses: take them away"),
        ("hat -", 5, '"-" stands before a tag or a "("'),
        ("--hat", 1, '"-" stands before a tag or a "("'),
        ("hat ~ ", 5, '"~" stands before a tag or a "("'),
        ("hat score:many", 11, '"many" is no whole number: write for example score:>=6'),
        ("score:", 7, '"" is no whole number: write for example score:>=6'),
        ("score:6..x", 7, '"x" is no whole number: write for example score:>=6'),
        ("score:..", 7, '".." has neither beginning nor end: write for example score:>=6'),
        ("score:1_000", 7, '"1_000" is no whole number: write for example score:>=6'),
        ("id:" + "9" * 40, 4, f'"{"9" * 40}" is no whole number: write for example id:>5000000'),
        ("mpixels:big", 9, '"big" is no number: write for example mpixels:>=1.5'),
        ("ratio:4:0", 7, '"4:0" is no ratio of sides: write for example ratio:3:4..4:3'),
        ("filesize:2gb", 10,
         '"2gb" is no size of a file: write for example filesize:200kb..5mb'),
        ("date:soon", 6, '"soon" is no date: write for example date:2020-01-01..2021-06'),
        ("date:2020-00", 6, '"2020-00" is no date: write for example date:2020-01-01..2021-06'),
        ("date:2020-02-30", 6,
         '"2020-02-30" is no date: write for example date:2020-01-01..2021-06'),
        ("age:5m", 5, '"5m" is no length of time: write for example age:2days..1week'),
        ("rating:x", 8, '"x" is no rating: write for example rating:g,s (of g, s, q, e)'),
        ("filetype:jpeg", 10, '"jpeg" does not go with filetype: did you mean "jpg"?'),
        ("status:delted", 8, '"delted" does not go with status: did you mean "deleted"?'),
        ("is:1girl", 4,
         '"1girl" does not go with is: it takes child, parent, deleted, banned, active, pending,'
         " flagged, appealed, modqueue, unmoderated, jpg, png, gif, webp, avif, mp4, webm, swf,"
         " zip, general, sensitive, questionable, explicit, sfw, nsfw"),
        ("parent:1,2", 8, '"1,2" is no post: write parent:any, parent:none or parent:123'),
        ("md5:abc", 5, '"abc" is no md5: it has 32 digits of 0-9 and a-f'),
        ("user:", 6, 'nothing follows "user:"'),
        ('source:"x', 8, 'this " is never closed'),
        ("scores:>5", 1,
         'there is no metatag "scores:"; did you mean "score:"?'
         " (a tag of that name: unaliased:scores:>5)"),
        ("hat ratng:g", 5,
         'there is no metatag "ratng:"; did you mean "rating:"?'
         " (a tag of that name: unaliased:ratng:g)"),
        ("order:scoer", 1, '"order:scoer" is no order of the site: did you mean "score"?'),
        ("order:zzz", 1, '"order:zzz" is no order of the site'),
        ("order:random", 1,
         "order:random gives other posts each time: order:md5 is as good as random"
         " and stays the same"),
        ("random:5", 8,
         "random: gives other posts each time: order:md5 limit:100 does not, and is as good"),
        ("order:score order:id", 13, "a second order: a query has one"),
        ("limit:2 limit:3", 9, "a second limit: a query has one"),
        ("limit:many", 1, '"limit:many" is no number of posts: write limit:500'),
        ("limit:0", 1, '"limit:0" is no number of posts: write limit:500'),
        ("(hat order:id)", 6, '"order:" is said of the whole query: take it out of the "("'),
        ("hat -order:id", 6, '"order:" is said of the whole query: take it away from "-"'),
        ("hat or limit:5", 8, '"limit:" is said of the whole query: take it away from "or"'),
        ("(" * 51 + "hat", 51, "more than 50 parentheses within each other"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_told_with_its_place(text: str, at: int, what: str) -> None:
    with pytest.raises(QueryError) as told:
        parse(text)
    assert str(told.value) == f'query "{text}": at character {at}: {what}'


@pytest.mark.parametrize("tag", ["re:zero_kara", "nier:automata", "fate/grand_order", ":d", "o:x",
                                 "pokemon:_the_movie", "sources:_none"])  # fmt: skip
def test_a_tag_may_have_a_colon(tag: str) -> None:
    assert parse(tag).where == Tag(tag)


@pytest.mark.parametrize(
    ("text", "name"),
    [("user:albert", "user"), ("-fav:me", "fav"), ("hat or upvotes:>3", "upvotes"),
     ("status:active", "status"), ("is:pending", "is"), ("has:notes", "has"),
     ("child:any", "child"), ("duration:>3", "duration"), ("pixiv:any", "pixiv_id")],
)  # fmt: skip
def test_what_only_the_site_knows_is_no_local_test(
    found: Callable[[str], str], text: str, name: str
) -> None:
    with pytest.raises(QueryError) as told:
        found(text)
    written = text.split()[-1].lstrip("-").replace("pixiv:", "pixiv_id:")
    assert written.startswith(f"{name}:")
    assert str(told.value) == (
        f'"{written}" cannot be tested here: a post\'s row says nothing of it;'
        " it can be asked of the site (`prep fetch`)"
    )


def test_an_order_that_only_the_site_knows_is_told(found: Callable[[str], str]) -> None:
    with pytest.raises(QueryError) as told:
        found("hat order:upvotes")
    assert str(told.value) == (
        '"order:upvotes" cannot be had here: a post\'s row says nothing of it;'
        " it can be asked of the site (`prep fetch`)"
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("  Hat   AND smile ", "hat smile"),
        ("~hat ~smile tears", "tears (hat or smile)"),
        ("-(hat (smile tears))", "-(hat smile tears)"),
        ("-(-hat)", "hat"),
        ("(a b) or (c or d)", "(a b) or c or d"),
        ("order:SCORE_desc hat limit:5", "hat order:score limit:5"),
        ("pixiv:any", "pixiv_id:any"),
        ('source:"a b\\"c" x', 'source:"a b\\"c" x'),
        ("source:foo_(bar)", 'source:"foo_(bar)"'),
        ('user:"Some One"', 'user:"Some One"'),
        ("(hat or :( )", "hat or :("),
        ("-(hat or :( )", "-(hat or :( )"),
    ],
)
def test_a_query_is_written_in_one_form(text: str, written: str) -> None:
    assert render(parse(text)) == written
    assert parse(written) == parse(text)


NAMES = st.sampled_from(["hat", "long_hair", "fate_(series)", ":)", ":(", ">:(", "re:zero", "o_o",
                         "k-on!", "100%", "'quoted'", "x\\y"])  # fmt: skip
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TERMS = st.one_of(
    NAMES.map(Tag),
    st.sampled_from(["*_hair", "s*r", "*", "hat_(*"]).map(Wildcard),
    st.sampled_from(["score:>=6", "rating:g,s", "id:1..5", "age:<1w", "is:png"]).map(
        lambda written: Metatag(*written.split(":", 1))
    ),
    VALUES.map(lambda value: Metatag("source", value, value.lower() == "none")),
    VALUES.filter(bool).map(lambda value: Metatag("user", value)),
)
TREES: st.SearchStrategy[Node] = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(all_of),
        st.lists(inner, min_size=1, max_size=4).map(any_of),
        inner.map(negated),
    ),
    max_leaves=12,
)


@given(TREES, st.sampled_from(["", "score", "id_desc", "comment"]), st.sampled_from([0, 1, 500]))
@example(Or((Tag(":("), And((Tag(":)"), Not(Tag(">:(")))))), "", 0)
@example(Not(Or((Tag("a"), Wildcard("hat_(*")))), "", 0)
@example(Metatag("source", 'a\\"b'), "", 0)
def test_what_is_written_reads_as_it_was(where: Node, order: str, limit: int) -> None:
    query = Query(where, order, limit)
    assert parse(render(query)) == query


@given(st.text(alphabet="ab()-~ *:\"'or<>=.,0126789score_daterating", max_size=30))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    refused, again = "", None
    try:
        query = parse(text)
        again = parse(render(query))
    except QueryError as error:
        refused = str(error)
    assert again == query if not refused else refused.startswith(f'query "{text}": at character ')
