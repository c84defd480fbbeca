"""The embedded booru's query language, against posts and answers written by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prep.demo.metatags import METATAGS
from prep.demo.posts import Post
from prep.demo.search import parse
from prep.demo.world import World

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
WORLD = World(posts=1, seed=0, size=32)
ALIASES = {"wink": "one_eye_closed"}


def post(id: int, general: str, **facts: object) -> Post:
    """A hand-written post; what is not said is 300 x 400, rated g, a jpg without votes."""
    base = WORLD.post(WORLD.ids[0])
    assert base is not None
    by_category = {
        "general": tuple(general.split()),
        "artist": ("somebody",),
        "character": (),
        "copyright": ("original",),
        "meta": (),
    }
    plain = {
        **{"relation": "original", "base_id": id, "declared": False, "encoding": "jpg"},
        **{"width": 300, "height": 400, "rating": "g", "up_score": 0, "down_score": 0},
        **{"fav_count": 0, "source": "", "pixiv_id": None, "hidden": "", "unlisted": False},
        **{"is_deleted": False, "is_pending": False, "is_flagged": False, "uploader_id": 7},
        **{"created_at": datetime(2020, 1, 1, tzinfo=UTC), "by_category": by_category},
        "tags": frozenset(tag for tags in by_category.values() for tag in tags),
    }
    return replace(base, id=id, **{**plain, **facts})  # type: ignore[arg-type]


POSTS = (
    post(1, "hat long_hair smile", up_score=70, rating="s", fav_count=30),
    post(2, "hat helmet short_hair", up_score=20, down_score=-2, rating="q", width=800, height=400),
    post(3, "cat_ears long_hair", up_score=6, encoding="png", created_at=NOW - timedelta(days=3)),
    post(4, "one_eye_closed :)", down_score=-4, rating="e", encoding="ugoira", is_deleted=True),
    post(5, "k-on! fate_(series) smile", up_score=5, encoding="gif", pixiv_id=123456),
    post(6, "hat_(cat)", is_pending=True, source="https://twitter.com/x/status/9"),
    post(7, "smile", is_flagged=True, width=1200, height=1600, hidden="banned"),
    post(8, "rating tears", created_at=datetime(2019, 12, 31, 23, 59, tzinfo=UTC)),
)


def found(text: str) -> str:
    """The ids that match, as one word."""
    query = parse(text, NOW, ALIASES)
    return "".join(str(post.id) for post in POSTS if query.matches(post, WORLD))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", "12345678"),
        ("hat", "12"),
        ("HAT", "12"),
        ("hat smile", "1"),
        ("hat and smile", "1"),
        ("hat -helmet", "1"),
        ("-hat", "345678"),
        ("hat or smile", "1257"),
        ("hat OR smile", "1257"),
        ("hat helmet or smile", "1257"),
        ("hat (helmet or smile)", "12"),
        ("hat -(helmet or smile)", ""),
        ("-(hat smile)", "2345678"),
        ("~hat ~cat_ears", "123"),
        ("~hat ~cat_ears long_hair", "13"),
        ("~hat", "12"),
        ("(hat)", "12"),
        ("((hat) or (cat_ears))", "123"),
        ("*_hair", "123"),
        ("long*", "13"),
        ("-*hair", "45678"),
        ("fate_(series)", "5"),
        ("(fate_(series) or hat)", "125"),
        ("(hat or fate_(series))", "125"),
        ("hat_(cat)", "6"),
        ("(hat_(cat))", "6"),
        (":)", "4"),
        ("k-on!", "5"),
        ("wink", "4"),
        ("rating", "8"),
        ("nobody_has_this", ""),
        ("somebody", "12345678"),
        # broken searches match nothing
        ("(hat", ""),
        ("hat)", ""),
        ("hat or", ""),
        ("or hat", ""),
        ("()", ""),
        ("-", ""),
        # ranges
        ("score:>=6", "123"),
        ("score:>6", "12"),
        ("score:<0", "4"),
        ("score:<=0", "4678"),
        ("score:6", "3"),
        ("score:6..18", "23"),
        ("score:18..6", "23"),
        ("score:6...18", "3"),
        ("score:..5", "45678"),
        ("score:18..", "12"),
        ("score:5,6,70", "135"),
        ("-score:>=6", "45678"),
        ("score:many", ""),
        ("score:", ""),
        ("upvotes:20", "2"),
        ("downvotes:>=2", "24"),
        ("favcount:>10", "1"),
        ("id:3", "3"),
        ("id:2..4", "234"),
        ("id:1,8", "18"),
        ("id:>6", "78"),
        ("-id:1,2", "345678"),
        ("width:>=800", "27"),
        ("height:400", "1234568"),
        ("mpixels:>1", "7"),
        ("mpixels:0.32", "2"),
        ("mpixels:0.33", "2"),
        ("mpixels:0.4", ""),
        ("ratio:2:1", "2"),
        ("ratio:2/1", "2"),
        ("ratio:2.0", "2"),
        ("ratio:3:4", "1345678"),
        ("ratio:>1", "2"),
        ("ratio:1:0", ""),
        ("tagcount:5", "125"),
        ("gentags:3", "125"),
        ("gentags:>=2 arttags:1 chartags:0 copytags:1 metatags:0", "123458"),
        # words
        ("rating:s", "1"),
        ("rating:sensitive", "1"),
        ("rating:q,e", "24"),
        ("-rating:g", "124"),
        ("is:nsfw", "24"),
        ("is:deleted", "4"),
        ("is:png", "3"),
        ("status:active", "12358"),
        ("status:deleted", "4"),
        ("status:pending", "6"),
        ("status:flagged", "7"),
        ("status:modqueue", "67"),
        ("status:banned", "7"),
        ("status:any", "12345678"),
        ("-status:deleted", "1235678"),
        ("status:nonsense", ""),
        ("filetype:png", "3"),
        ("filetype:zip,gif", "45"),
        ("-filetype:jpg", "345"),
        ("duration:>0", "45"),
        ("pixiv:any", "5"),
        ("pixiv_id:123456", "5"),
        ("pixiv:none hat", "12"),
        ("source:none", "1234578"),
        ("source:https://twitter.com/", "6"),
        ("source:*twitter*", "6"),
        ('source:"https://twitter.com/x/status/9"', "6"),
        ("embedded:false", "12345678"),
        ("embedded:true", ""),
        ("user:uploader_7", "12345678"),
        # time
        ("date:2020-01-01", "124567"),
        ("date:2020", "124567"),
        ("date:2019-12", "8"),
        ("date:<2020-01-01", "8"),
        ("date:<=2020-01-01", "1245678"),
        ("date:>2020-01-01", "3"),
        ("date:>=2020-01-01", "1234567"),
        ("date:2019-12-31..2020-01-01", "1245678"),
        ("date:2026-06-12", "3"),
        ("date:today", ""),
        ("date:soon", ""),
        ("age:<1w", "3"),
        ("age:>1w", "1245678"),
        ("age:2d..4d", "3"),
        ("age:3d", "3"),
        ("age:<100", ""),
        # several together
        ("hat score:>=18 rating:q", "2"),
        ("(rating:s or rating:q) -helmet", "1"),
        ("limit:5 hat", "12"),
        ("order:score hat", "12"),
    ],
)
def test_searches_find(text: str, ids: str) -> None:
    assert found(text) == ids


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("", 0),
        ("hat", 1),
        ("hat -helmet", 2),
        ("hat or helmet or smile", 3),
        ("*_hair", 1),
        ("order:score", 1),
        ("pixelhash:00", 1),
        ("source:x", 1),
        (
            "status:active rating:g limit:9 is:jpg id:5 date:2020 age:<1y filesize:>1 filetype:jpg",
            0,
        ),
        ("parent:1 child:1 md5:x width:1 height:1 duration:1 mpixels:1 ratio:1 score:1", 0),
        ("upvote:1 downvotes:1 favcount:1 embedded:true tagcount:1 pixiv_id:1 pixiv:1", 0),
        ("-rating:e", 0),
        ("hat score:>5 -status:deleted order:id", 2),
    ],
)
def test_searches_cost_tags(text: str, cost: int) -> None:
    assert parse(text, NOW, ALIASES).counted == cost


@pytest.mark.parametrize(
    ("order", "ids"),
    [
        ("", [8, 7, 6, 5, 4, 3, 2, 1]),
        ("id", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("id_desc", [8, 7, 6, 5, 4, 3, 2, 1]),
        ("nonsense", [8, 7, 6, 5, 4, 3, 2, 1]),
        ("score", [1, 2, 3, 5, 8, 7, 6, 4]),
        ("score_asc", [4, 6, 7, 8, 5, 3, 2, 1]),
        ("landscape", [2, 8, 7, 6, 5, 4, 3, 1]),
    ],
)
def test_orders_break_ties_by_newest_but_rising_ones_by_oldest(order: str, ids: list[int]) -> None:
    query = parse(f"order:{order}" if order else "", NOW, ALIASES)
    assert [post.id for post in query.sorted(list(POSTS), WORLD)] == ids


def test_limit_is_read_from_the_search() -> None:
    assert parse("hat limit:7", NOW, ALIASES).limit == 7
    assert parse("hat limit:x", NOW, ALIASES).limit is None


def test_relations_and_files_are_found_in_a_world() -> None:
    world = World(posts=120, seed=0, size=32)
    child = next(post for post in world.newest_first() if post.declared)
    file = world.file(child)

    def ids(text: str) -> set[int]:
        query = parse(text, NOW, ALIASES)
        return {post.id for post in world.newest_first() if query.matches(post, world)}

    assert child.id in ids(f"parent:{child.base_id}")
    assert child.base_id in ids(f"parent:{child.base_id}")
    assert ids(f"child:{child.id}") == {child.base_id}
    assert child.id in ids("parent:any") - ids("parent:none")
    assert child.base_id in ids("child:any") - ids("child:none")
    assert ids(f"md5:{file.md5}") == {child.id}
    assert child.id in ids(f"pixelhash:{file.pixel_hash}")
    assert child.id in ids(f"filesize:{file.size}b")
    assert child.id in ids(f"filesize:{file.size / 1024:.3f}kb")
    assert child.id not in ids(f"filesize:<{file.size}")


@given(st.text(alphabet="ab()-~ *:\"'or<>=.,0123456789score", max_size=24))
def test_any_text_can_be_searched_for(text: str) -> None:
    query = parse(text, NOW, ALIASES)
    assert all(query.matches(post, WORLD) in (True, False) for post in POSTS)


@settings(deadline=None)  # the first to ask for a file has it drawn
@given(st.sampled_from(sorted(METATAGS)), st.text(alphabet="0199.,<>=:/-kmbdwyo ", max_size=12))
@example("date", "9999-12-31")
@example("filesize", "1" * 400)
@example("age", "1" * 400 + "y")
@example("ratio", "1:0")
def test_any_value_can_be_given_to_a_metatag(name: str, value: str) -> None:
    query = parse(f"{name}:{value} id:>0", NOW, ALIASES)
    for drawn in WORLD.newest_first():
        assert query.matches(drawn, WORLD) in (True, False)


WORDS = st.sampled_from(["hat", "smile", "long_hair", "score:>=6", "rating:g", "*_hair"])


@given(WORDS, WORDS, WORDS)
def test_logic_holds(a: str, b: str, c: str) -> None:
    everything = set(found(""))
    assert set(found(f"-{a}")) == everything - set(found(a))
    assert set(found(f"{a} {b}")) == set(found(a)) & set(found(b))
    assert set(found(f"{a} or {b}")) == set(found(f"~{a} ~{b}")) == set(found(a)) | set(found(b))
    assert set(found(f"{a} ({b} or {c})")) == set(found(f"({a} {b}) or ({a} {c})"))
    assert set(found(f"-({a} or {b})")) == set(found(f"-{a} -{b}"))
