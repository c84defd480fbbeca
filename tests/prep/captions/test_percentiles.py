"""Percentiles of scores: against the same counted over plain lists, kept, told, left out."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.caption import caption
from prep.captions import percentiles
from prep.captions.columns import NO_DAY, Images
from prep.captions.percentiles import Groups, Ranking, fit
from prep.dataset import Dataset
from schemas.files import write_text
from schemas.tables import CAPTIONS, GROUPS, MEMBERS, PERCENTILES, POSTS, RATINGS

Post = tuple[int, int, int | None]  # rating, -1 for none; day; score
EPOCH = date(1970, 1, 1)


def images(posts: list[Post]) -> Images:
    count = len(posts)
    bare = Images.of_posts(["main"] * count, [f"{n:032x}" for n in range(count)], np.arange(count))
    return Images(
        bare.sets, bare.md5s, bare.post_ids, bare.is_reg,
        np.array([np.nan if score is None else score for _, _, score in posts], np.float64),
        np.array([NO_DAY if score is None else day for _, day, score in posts], np.int32),
        np.array([rating for rating, _, _ in posts], np.int8),
    )  # fmt: skip


def quarter(day: int) -> int:
    when = EPOCH + timedelta(days=day)
    return when.year * 4 + (when.month - 1) // 3


def periods(quarters: list[int], enough: int) -> list[list[int]]:
    """Quarters with posts, put together in order until each period has enough posts."""
    found: list[list[int]] = []
    for one in sorted(set(quarters)):
        if found and sum(quarters.count(q) for q in found[-1]) < enough:
            found[-1].append(one)
        else:
            found.append([one])
    if len(found) > 1 and sum(quarters.count(q) for q in found[-1]) < enough:
        found[-2:] = [found[-2] + found[-1]]
    return found


def expected(posts: list[Post], post: Post, enough: int) -> float | None:
    rating, day, score = post
    own = [(quarter(d), s) for r, d, s in posts if r == rating and s is not None]
    if score is None or not own:
        return None
    groups = periods([q for q, _ in own], enough)
    begun = [group for group in groups if group[0] <= quarter(day)]
    group = begun[-1] if begun else groups[0]
    scores = [s for q, s in own if q in group]
    return sum(s < score for s in scores) * 100 / len(scores)


some_posts = st.lists(
    st.tuples(
        st.integers(-1, len(RATINGS) - 1), st.integers(0, 2000), st.none() | st.integers(-9, 9)
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(some_posts, some_posts, st.integers(1, 20))
def test_a_percentile_is_how_many_of_100_posts_of_the_group_score_less(
    fitted: list[Post], others: list[Post], enough: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(percentiles, "ENOUGH", enough)
        table = fit(images(fitted), 2000, "by")
    PERCENTILES.check(table)
    found = Ranking(Groups.read(table), 2000).of(images([*fitted, *others]))
    assert [None if np.isnan(one) else one for one in found.tolist()] == [
        expected(fitted, post, enough) for post in [*fitted, *others]
    ]


def test_what_is_uploaded_later_than_what_has_settled_is_neither_counted_nor_ranked() -> None:
    posts: list[Post] = [(0, 10, 1), (0, 20, 5), (0, 21, 9)]
    table = fit(images(posts), 20, "by")
    assert table["score"].to_pylist() == [1, 5]
    assert Ranking(Groups.read(table), 20).of(images(posts)).tolist()[:2] == [0, 50]
    assert np.isnan(Ranking(Groups.read(table), 20).of(images(posts))[2])


def test_a_post_in_two_sets_counts_once() -> None:
    twice = images([(0, 1, 5), (0, 1, 5)])
    twice.post_ids[:] = 7
    assert fit(twice, 9, "by")["posts"].to_pylist() == [1]


POST = {
    "md5": None, "pixel_hash": None, "file_ext": "png", "file_size": 1, "width": 1, "height": 1,
    "fav_count": 0, "updated_at": 0, "parent_id": None, "is_deleted": False, "is_banned": False,
    "source": "", "file_url": None, "general": ["hat"], "character": [], "copyright": [],
    "artist": [], "meta": [],
}  # fmt: skip
DAY = 24 * 3600 * 1000
RECIPE = """
sets = { main = { query = "hat" } }
[caption.quality]
by = "percentile"
which = "highest"
masterpiece = 90
good = 50
"""


def add(root: Path, scores: list[int], *, day: int, rating: str | None = "g") -> list[str]:
    """Posts of these scores, as images of the set; return their md5s."""
    dataset = Dataset.open(root)
    held = dataset.table(MEMBERS).to_pylist()
    posts, groups = [], dataset.table(GROUPS).to_pylist()
    for number, score in enumerate(scores, len(held) + 1):
        md5 = f"{number:032x}"
        posts.append(
            {**POST, "id": number, "score": score, "rating": rating, "created_at": day * DAY}
        )
        held.append({"set": "main", "md5": md5, "post_id": number})
        groups.append(
            {"set": "main", "md5": md5, "keeper": md5, "by": "itself", "distance": 0,
             "family": None}
        )  # fmt: skip
    dataset.posts.append(pa.Table.from_pylist(posts, schema=POSTS.schema))
    MEMBERS.write(dataset.path_of(MEMBERS), pa.Table.from_pylist(held, schema=MEMBERS.schema))
    GROUPS.write(dataset.path_of(GROUPS), pa.Table.from_pylist(groups, schema=GROUPS.schema))
    return [row["md5"] for row in held[-len(scores) :]]


def captions(root: Path, *changes: str, **options: Any) -> dict[str, str]:
    dataset = Dataset.open(root, changes)
    caption(dataset, **options)
    return {row["md5"]: row["caption"] for row in dataset.table(CAPTIONS).to_pylist()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_text(tmp_path / "prep.toml", RECIPE)
    return tmp_path


def test_the_best_of_each_rating_are_praised_whatever_their_votes(root: Path) -> None:
    tame = add(root, list(range(10)), day=100)
    bold = add(root, [100 * n for n in range(10)], day=100, rating="e")
    add(root, [0], day=500)
    made = captions(root)
    for md5s in (tame, bold):
        told = [made[md5] for md5 in md5s]
        assert told == ["hat"] * 5 + ["good, hat"] * 4 + ["masterpiece, hat"]


def test_ranks_stay_as_they_were_fitted_until_refit(root: Path) -> None:
    first = add(root, list(range(10)), day=100)
    add(root, [0], day=500)
    captions(root)
    add(root, [50] * 90, day=100)
    assert captions(root)[first[9]] == "masterpiece, hat"
    # another percentile, or another way to quality and back, fits nothing anew
    assert captions(root, "caption.quality.good=89")[first[9]] == "masterpiece, hat"
    captions(root, "caption.quality={ by = 'score', fine = 9 }")
    assert captions(root)[first[9]] == "masterpiece, hat"
    assert captions(root, refit=True)[first[9]] == "hat"


def test_other_days_to_settle_rank_anew(root: Path) -> None:
    add(root, [5, 9], day=100)
    add(root, [1], day=120)
    captions(root)
    fitted = Dataset.open(root).table(PERCENTILES)
    assert fitted["score"].to_pylist() == []  # the newest is 20 days younger
    captions(root, "caption.quality.settle=10")
    assert Dataset.open(root).table(PERCENTILES)["score"].to_pylist() == [5, 9]


def test_posts_too_young_have_no_quality_tag_and_are_told(
    root: Path, told: Callable[[], list[str]]
) -> None:
    old = add(root, [1, 2], day=470)
    young = add(root, [900, 900], day=471)
    newest = add(root, [900], day=500)
    made = captions(root)
    assert made[old[1]] == "good, hat"
    assert {made[md5] for md5 in young + newest} == {"hat"}
    assert told() == [
        "caption: scores are ranked among 2 posts, by rating and time of upload"
        " (groups: 1, of fewer than 100 posts: 1)",
        "caption: no quality tag for 3 of 5 posts, uploaded less than 30 days before the newest"
        " (1971-05-16): too young to be ranked",
    ]
    add(root, [0], day=600)  # time has passed: they have settled, and are ranked as the others were
    made = captions(root)
    assert {made[md5] for md5 in young + newest} == {"masterpiece, hat"}
    assert told() == [
        "caption: no quality tag for 1 of 6 posts, uploaded less than 30 days before the newest"
        " (1971-08-24): too young to be ranked"
    ]


def test_a_rating_that_came_after_the_fit_is_told(
    root: Path, told: Callable[[], list[str]]
) -> None:
    add(root, [1, 2], day=100)
    captions(root, "caption.quality.settle=0")
    told()
    late = add(root, [3], day=100, rating=None)
    assert captions(root, "caption.quality.settle=0")[late[0]] == "hat"
    assert told() == [
        "caption: no quality tag for 1 of 3 posts, of a rating that no post had when scores were"
        " ranked: --refit ranks them"
    ]
