"""Which images belong together: duplicates, and what the site calls parent and child."""

import pyarrow as pa


def families(posts: pa.Table, members: pa.Table, groups: pa.Table) -> dict[str, int]:
    """Return for each image that has a post the post that its family goes back to.

    `posts`: id and parent_id; `members`: md5 and post_id; `groups`: md5 and keeper. A parent need
    not be among the posts: its children are siblings all the same. Families that share a duplicate
    are one; of several posts to go back to, the oldest, which has the lowest id, names it.
    """
    leader: dict[int | str, int | str] = {}

    def find(item: int | str) -> int | str:
        path = []
        while (above := leader.setdefault(item, item)) != item:
            path.append(item)
            item = above
        for below in path:
            leader[below] = item
        return item

    def join(one: int | str, other: int | str) -> None:
        a, b = find(one), find(other)
        # the lowest post leads; an image leads only where there is no post
        first, second = sorted((a, b), key=lambda item: (isinstance(item, str), item))
        leader[second] = first

    known = set()
    for post, parent in zip(posts["id"].to_pylist(), posts["parent_id"].to_pylist(), strict=True):
        known.add(post)
        find(post)
        if parent is not None:
            join(post, parent)
    for md5, post in zip(members["md5"].to_pylist(), members["post_id"].to_pylist(), strict=True):
        if post in known:
            join(md5, post)
    for md5, keeper in zip(groups["md5"].to_pylist(), groups["keeper"].to_pylist(), strict=True):
        join(md5, keeper)
    found = {md5: find(md5) for md5 in groups["md5"].to_pylist()}
    return {md5: post for md5, post in found.items() if isinstance(post, int)}
