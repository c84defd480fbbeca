"""Which images belong together: parents, children, siblings, duplicates."""

import pyarrow as pa

from prep.families import families
from schemas.tables import GROUPS, MEMBERS


def found(
    parents: dict[int, int | None], posts_of: list[tuple[str, int]], keepers: dict[str, str]
) -> dict[str, int]:
    posts = pa.table({"id": list(parents), "parent_id": pa.array(parents.values(), pa.int64())})
    members = [{"set": "main", "md5": md5, "post_id": post} for md5, post in posts_of]
    groups = pa.table({"md5": list(keepers), "keeper": list(keepers.values())})
    return families(posts, pa.Table.from_pylist(members, schema=MEMBERS.schema), groups)


def test_a_child_belongs_to_its_parents_family() -> None:
    posts = {5: None, 9: 5, 12: 9, 7: None}
    members = [("a", 5), ("b", 9), ("c", 12), ("d", 7)]
    themselves = {md5: md5 for md5 in "abcd"}
    assert found(posts, members, themselves) == {"a": 5, "b": 5, "c": 5, "d": 7}


def test_siblings_of_a_parent_that_was_not_fetched_are_a_family() -> None:
    assert found({8: 3, 9: 3}, [("a", 8), ("b", 9)], {"a": "a", "b": "b"}) == {"a": 3, "b": 3}


def test_a_duplicate_joins_two_families() -> None:
    posts = {1: None, 2: 1, 30: None, 31: 30}
    members = [("a", 1), ("b", 2), ("c", 30), ("d", 31)]
    keepers = {"a": "a", "b": "b", "c": "b", "d": "d"}
    assert found(posts, members, keepers) == dict.fromkeys("abcd", 1)


def test_posts_in_a_ring_are_one_family() -> None:
    assert found({4: 6, 6: 4}, [("a", 4), ("b", 6)], {"a": "a", "b": "b"}) == {"a": 4, "b": 4}


def test_an_imported_image_has_no_post_and_no_family() -> None:
    assert found({4: None}, [("a", 0), ("b", 4)], {"a": "a", "b": "b"}) == {"b": 4}


def test_the_groups_table_has_a_column_for_it() -> None:
    assert GROUPS.schema.field("family").nullable
