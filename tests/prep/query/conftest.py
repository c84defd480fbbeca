"""A small table of posts, written by hand, and what a query finds in it as one word."""

from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from prep.query.columns import Posts
from prep.query.evaluate import select
from prep.query.parse import parse
from schemas.tables import POSTS

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


def row(id: int, general: str, **facts: object) -> dict[str, object]:
    """A post; what is not said is 300 x 400, rated g, a jpg of 1,000 bytes without votes."""
    plain = {
        **{"id": id, "md5": f"{id:032x}", "pixel_hash": f"{id + 160:032x}", "file_ext": "jpg"},
        **{"file_size": 1000, "width": 300, "height": 400, "rating": "g", "score": 0},
        **{"fav_count": 0, "created_at": datetime(2020, 1, 1, tzinfo=UTC)},
        **{"updated_at": datetime(2021, 1, id, tzinfo=UTC), "parent_id": None},
        **{"is_deleted": False, "is_banned": False, "source": "", "file_url": f"http://x/{id}"},
        **{"general": general.split(), "character": [], "copyright": ["original"]},
        **{"artist": ["somebody"], "meta": []},
    }
    return plain | facts


ROWS = [
    row(1, "hat long_hair smile", score=70, rating="s", fav_count=30, file_size=204_800),
    row(2, "hat helmet short_hair", score=18, rating="q", width=800, height=400, fav_count=5),
    row(3, "cat_ears long_hair", score=6, file_ext="png",
        created_at=datetime(2026, 6, 12, 12, tzinfo=UTC)),
    row(4, "one_eye_closed :)", score=-4, rating="e", file_ext="zip", is_deleted=True,
        md5=None, pixel_hash=None, file_url=None),
    row(5, "guitar solo smile", score=5, file_ext="gif", parent_id=3,
        character=["hirasawa_yui"], copyright=["k-on!", "fate_(series)"], meta=["animated"]),
    row(6, "hat_(cat) :(", source="https://Twitter.com/x/status/9", file_size=1_048_576),
    row(7, "smile 100%_juice", width=1250, height=1600, is_banned=True, rating="s",
        source="none", created_at=datetime(2026, 6, 14, 23, 30, tzinfo=UTC)),
    row(8, "rating re:zero tears", width=1000, height=1600, artist=[], file_size=2_500_000,
        created_at=datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC)),
    row(9, "o_o steins;gate", rating=None, width=201, height=200, meta=["commentary", "bad_id"],
        created_at=datetime(2025, 6, 15, tzinfo=UTC), parent_id=99, source="Comiket 97"),
]  # fmt: skip


@pytest.fixture(scope="session")
def table() -> pa.Table:
    """The posts 1 to 9."""
    return pa.Table.from_pylist(ROWS, schema=POSTS.schema)


@pytest.fixture(scope="session")
def found(table: pa.Table) -> Callable[[str], str]:
    """`found(query)`: the ids it finds, by rising id unless the query orders them, as one word."""
    posts = Posts(table)

    def find(text: str) -> str:
        query = parse(text)
        rows = select(query, posts, NOW)
        ids = posts.numbers("id")[rows].tolist()
        ids = ids if query.order or query.limit else sorted(ids)
        return "".join(map(str, ids))

    return find
