"""What goes to the site and what is tested here: chosen well, and together always the query."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prep.booru import posts as booru_posts
from prep.demo.answers import Reader, post_json
from prep.demo.manners import ANONYMOUS
from prep.demo.search import parse as site_parse
from prep.demo.world import World
from prep.query.ast import Query
from prep.query.columns import Posts
from prep.query.evaluate import matches, ranks, select
from prep.query.parse import parse
from prep.query.render import text
from prep.query.split import Split, cost, split
from schemas.errors import QueryError

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
COUNTS = {"rare": 10, "hat": 500, "solo": 5000, "smile": 3000, "1girl": 6000, "glasses": 700}


def count(tag: str) -> float:
    return COUNTS.get(tag, 100_000)


def splits(query: str, tags: int = 2, limit: int = 0) -> list[tuple[str, str]]:
    found = split(parse(query), limit, tags, count, NOW)
    return [(found.asked(part), text(part.tested)) for part in found.parts]


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("hat smile", [("hat smile", "")]),
        ("hat -smile", [("hat -smile", "")]),
        (
            "hat score:>=6 rating:g,s -filetype:gif",
            [("hat score:>=6 rating:g,s -filetype:gif", "")],
        ),
        ("solo smile hat", [("smile hat", "solo")]),
        ("solo -smile hat rare 1girl", [("hat rare", "solo -smile 1girl")]),
        ("-smile -solo hat", [("-solo hat", "-smile")]),
        ("-other -smile -solo hat", [("-other hat", "-smile -solo")]),
        ("hat hat hat smile", [("hat smile", "")]),
        ("*_hair hat", [("hat", "*_hair")]),
        ("hat -*_hair", [("hat -*_hair", "-*_hair")]),
        ("*_hair", [("", "*_hair")]),
        ("*_hair score:>5", [("score:>5", "*_hair")]),
        ("hat or smile", [("hat or smile", "")]),
        ("hat or glasses or rare", [("hat", ""), ("glasses", ""), ("rare", "")]),
        ("solo (hat or glasses)", [("solo hat", ""), ("solo glasses", "")]),
        ("rare (solo or smile)", [("rare", "solo or smile")]),
        ("hat smile or rare solo 1girl", [("hat smile", ""), ("rare solo", "1girl")]),
        ("hat or *_hair", [("", "hat or *_hair")]),
        ("hat (score:>5 or rating:s)", [("hat (score:>5 or rating:s)", "")]),
        ("hat date:2020", [("hat date:2019-12-30..2021-01-02", "date:2020")]),
        ("hat date:>=2020", [("hat date:>=2019-12-30", "date:>=2020")]),
        ("hat date:<2020-06", [("hat date:<=2020-06-03", "date:<2020-06")]),
        ("hat -date:2020", [("hat", "-date:2020")]),
        ("hat age:<1w", [("hat date:>=2026-06-06", "age:<1w")]),
        ("hat age:>1y", [("hat date:<=2025-06-17", "age:>1y")]),
        ("hat -age:>1y", [("hat", "-age:>1y")]),
        ("user:albert hat", [("user:albert hat", "")]),
        ("user:albert hat smile solo", [("user:albert hat", "smile solo")]),
        ("status:active hat smile solo", [("status:active hat smile", "solo")]),
        ("-upvotes:>5 hat smile", [("-upvotes:>5 hat", "smile")]),
        ("gentags:>5 hat smile", [("hat smile", "gentags:>5")]),
        ("source:x -hat -smile", [("source:x -smile", "-hat")]),
        ("hat order:score", [("hat", "")]),
        ("hat smile solo order:score", [("hat smile", "solo")]),
    ],
)
def test_the_site_gets_what_shortens_the_listing_most(
    query: str, parts: list[tuple[str, str]]
) -> None:
    assert splits(query) == parts


def test_accounts_that_may_have_more_tags_send_more() -> None:
    query = "solo -smile hat rare 1girl (glasses or tears)"
    assert splits(query, tags=4) == [("solo hat rare 1girl", "-smile (glasses or tears)")]
    assert splits(query, tags=6) == [("solo hat rare 1girl (glasses or tears)", "-smile")]
    assert splits(query, tags=7) == [(query, "")]


def test_nobody_is_asked_for_counts_where_all_goes() -> None:
    def never(tag: str) -> float:
        raise AssertionError(tag)

    split(parse("hat smile score:>5"), 0, 2, never, NOW)
    split(parse("a b c d e f"), 0, 6, never, NOW)


def test_an_order_goes_along_where_the_whole_query_does() -> None:
    found = split(parse("hat score:>5 order:score"), 100, 2, count, NOW)
    assert (found.order, found.sort, found.ordered) == ("score", "", True)
    assert found.asked(found.parts[0]) == "hat score:>5 order:score"
    found = split(parse("hat smile order:score"), 100, 2, count, NOW)
    assert (found.order, found.sort, found.ordered) == ("", "score", False)
    assert found.asked(found.parts[0]) == "hat smile"
    assert not found.stops_early
    found = split(parse("hat smile order:score limit:30"), 100, 3, count, NOW)
    assert (found.order, found.limit, found.stops_early) == ("score", 30, True)


def test_an_order_that_only_the_site_knows_takes_a_tag_from_the_rest() -> None:
    found = split(parse("hat smile order:upvotes"), 100, 2, count, NOW)
    assert (found.asked(found.parts[0]), text(found.parts[0].tested)) == (
        "hat order:upvotes",
        "smile",
    )
    found = split(parse("ordfav:albert hat smile"), 100, 2, count, NOW)
    assert (found.asked(found.parts[0]), found.ordered) == ("ordfav:albert hat", True)


@pytest.mark.parametrize(
    ("query", "limit", "what"),
    [
        ("user:a fav:b pool:c hat", 0,
         "3 tags of it can be tested by the site alone (user:a fav:b pool:c), and this account may"
         " search for 2: use an account that may have more, or fewer of them"),
        ("user:a fav:b order:upvotes", 5,
         "2 tags of it can be tested by the site alone (user:a fav:b), and this account may"
         " search for 1: use an account that may have more, or fewer of them"),
        ("(user:a *_hair) or -(fav:b -*_hair)", 0,
         '"(user:a *_hair) or -(fav:b -*_hair)" can be tested neither here, where user: is'
         " not known, nor on the site: make several sets of it"),
        ("hat order:rank", 0, "order:rank needs a limit: add one to the set"),
        ("hat order:upvotes", 200_001,
         "only the site knows order:upvotes, and it sorts at most 200,000 posts: lower the limit"),
        ("ordfav:albert order:score", 5,
         "ordfav:, ordpool: and ordfavgroup: are an order already: leave one out"),
    ],
)  # fmt: skip
def test_what_no_account_or_place_can_answer_is_told(query: str, limit: int, what: str) -> None:
    with pytest.raises(QueryError) as told:
        split(parse(query), limit, 2, count, NOW)
    assert str(told.value) == f'query "{query}": {what}'


WORLD = World(posts=60, seed=3, size=24)


def rows() -> pa.Table:
    reader = Reader(ANONYMOUS, "http://files")
    return booru_posts.rows([post_json(post, WORLD, reader) for post in WORLD.newest_first()])


TABLE = rows()
POSTS = Posts(TABLE)
IDS = TABLE["id"].to_pylist()


def on_the_site(search: str) -> list[int]:
    query = site_parse(search, NOW, {})
    found = [post for post in WORLD.newest_first() if query.matches(post, WORLD)]
    return [post.id for post in query.sorted(found, WORLD)]


def listed(found: Split) -> list[int]:
    """What a fetch would take: each part as the site answers it, tested, sorted and cut."""
    ids: dict[int, None] = {}
    for part in found.parts:
        keep = dict(zip(IDS, matches(part.tested, POSTS, NOW).tolist(), strict=True))
        ids |= dict.fromkeys(id for id in on_the_site(found.asked(part)) if keep[id])
    places = dict(zip(IDS, ranks(found.sort, POSTS).tolist(), strict=True))
    order = list(ids) if found.ordered else sorted(ids, key=places.__getitem__)
    return order[: found.limit] if found.limit else order


WORDS = st.sampled_from(
    ["1girl", "solo", "smile", "hat", "glasses", "red_hair", "*_hair", "bl*", "score:>=10",
     "score:5", "rating:g", "rating:s,q", "is:png", "status:deleted", "filetype:jpg,webp",
     "date:2010..2016", "date:<2010-05", "age:<17y", "age:15y..17years", "ratio:3:4", "ratio:>1",
     "mpixels:<0.0004", "width:18..24", "tagcount:>29", "gentags:<27", "arttags:1", "source:https",
     "source:none", "parent:any", "parent:none", "id:>1080", "id:1030..1100", "favcount:5..30",
     "filesize:<1kb"]
)  # fmt: skip


def joined(parts: list[str], word: str) -> str:
    return word.join(f"({part})" for part in parts)


QUERIES = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map(lambda parts: joined(parts, " ")),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: joined(parts, " or ")),
        inner.map(lambda part: f"-({part})"),
        st.tuples(inner, inner).map(lambda pair: f"~({pair[0]}) ~({pair[1]})"),
    ),
    max_leaves=7,
)
ORDERS = st.sampled_from(
    ["", "score", "score_asc", "favcount", "id", "mpixels_asc", "created_at", "filesize",
     "tagcount", "landscape", "portrait", "change_asc"]
)  # fmt: skip


@given(QUERIES, st.sampled_from([2, 3, 6, 10**6]), ORDERS, st.sampled_from([0, 1, 5, 100]))
@example("hat or *_hair or -(date:2010..2016 smile)", 2, "", 5)
@example("-(-(smile) or (-(b*)))", 2, "score", 3)
@example("solo (hat or glasses or red_hair) (score:>=10 or smile)", 2, "", 0)
def test_the_sites_part_and_ours_together_are_the_query(
    written: str, tags: int, order: str, limit: int
) -> None:
    query = parse(f"{written} order:{order}" if order else written)
    expected = [IDS[row] for row in select(Query(query.where, query.order, limit), POSTS, NOW)]
    found = split(query, limit, tags, lambda tag: len(on_the_site(tag)), NOW)
    for part in found.parts:
        assert cost(part.sent) + bool(found.order) <= tags
        assert site_parse(found.asked(part), NOW, {}).counted <= tags
    taken = listed(found)
    assert len(taken) == len(set(taken))
    # without a limit an order decides nothing
    assert taken == expected if limit else sorted(taken) == sorted(expected)


@given(QUERIES, ORDERS)
def test_we_read_a_query_as_the_site_does(written: str, order: str) -> None:
    text = f"{written} order:{order}" if order else written
    assert [IDS[row] for row in select(parse(text), POSTS, NOW)] == on_the_site(text)


@pytest.mark.parametrize("word", ["smile", "hat", "bl*", "score:>=10", "rating:g", "is:png",
                                  "date:2010..2016", "age:15y..17years", "ratio:>1", "parent:any",
                                  "width:18..24", "gentags:<27", "filesize:<1kb"])  # fmt: skip
def test_the_words_of_these_properties_find_some_posts_and_not_all(word: str) -> None:
    assert 0 < matches(parse(word).where, POSTS, NOW).sum() < len(IDS)
