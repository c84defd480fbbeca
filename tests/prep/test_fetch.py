"""What fetch takes of a post, whose posts it leaves alone, and posts that are refreshed."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.compute as pc
import pytest
from PIL import Image

from prep import chain, seals
from prep.dataset import Dataset
from prep.demo.booru import running
from prep.demo.posts import Post
from prep.demo.site import Site
from prep.demo.world import World, variant_size
from prep.fetch import fetch, refresh
from schemas.errors import DatasetError
from schemas.tables import MEMBERS, VANISHED


@pytest.fixture(scope="module")
def small() -> Iterator[Site]:
    with running(World(posts=160, seed=0, size=200)) as site:
        yield site


def usable(world: World) -> list[Post]:
    return [
        post
        for post in world.newest_first()
        if not (post.hidden or post.is_deleted or post.unlisted)
        and post.file_ext in ("jpg", "png", "webp", "avif")
    ]


def test_the_smallest_version_that_suffices_is_an_image_of_its_own(
    small: Site, folder_of: Callable[..., Path]
) -> None:
    folder = folder_of(small, "dataset", "size = 64")
    dataset = Dataset.open(folder)
    small.calls.clear()
    seal = fetch(dataset)
    kinds = Counter(call.path.split("/")[1] for call in small.calls)
    assert kinds["180x180"] > 40
    images = {row["md5"]: row for row in dataset.images.read().to_pylist()}
    posts = {post.id: post for post in usable(small.world)}
    members = dataset.table(MEMBERS).to_pylist()
    assert {member["post_id"] for member in members} == {
        post.id for post in posts.values()
        if not post.duration and post.relation != "pixel twin"  # of which the better post is here
    }  # fmt: skip
    for member in members:
        image = images[member["md5"]]
        width, height = variant_size(posts[member["post_id"]], "180x180")
        if min(width, height) >= 64:
            assert (image["width"], image["height"]) == (width, height)
            assert image["path"].endswith(".jpg")
    small.calls.clear()
    assert fetch(dataset) == seal
    assert {call.path for call in small.calls} == {"/posts.json"}


def test_a_fetch_says_what_was_removed_by_hand_and_stays_out(
    small: Site, folder_of: Callable[..., Path], told: Callable[[], list[str]]
) -> None:
    folder = folder_of(small, "dataset", 'formats = ["png"]')
    fetch(Dataset.open(folder))
    next((folder / "images").glob("*/*.png")).unlink()
    told()
    fetch(Dataset.open(folder))
    assert told()[0] == (
        "fetch: removed by hand and staying out: 1 of the images (`--restore` takes them back)"
    )


def test_first_frames_of_what_moves_are_images_of_their_own(
    small: Site, folder_of: Callable[..., Path]
) -> None:
    lines = ('formats = ["gif", "webp", "png"]', 'animated = "first-frame"')
    dataset = Dataset.open(folder_of(small, "dataset", *lines))
    seal = fetch(dataset)
    moving = {
        post.id for post in small.world.newest_first()
        if post.encoding in ("gif", "apng", "animated webp")
        and not (post.hidden or post.is_deleted)
    }  # fmt: skip
    assert moving
    members = {m["post_id"]: m["md5"] for m in dataset.table(MEMBERS).to_pylist()}
    assert moving <= set(members)
    paths = {row["md5"]: row["path"] for row in dataset.images.read().to_pylist()}
    for id in moving:
        with Image.open(dataset.root / paths[members[id]]) as image:
            assert (image.format, getattr(image, "n_frames", 1)) == ("PNG", 1)
    assert "animated" not in seal.dropped


def test_artists_who_opted_out_and_blocked_posts_are_drops(
    small: Site, folder_of: Callable[..., Path]
) -> None:
    posts = usable(small.world)
    artist = next(post.by_category["artist"][0] for post in posts if post.by_category["artist"])
    theirs = {post.id for post in small.world.newest_first() if artist in post.tags}
    blocked = next(post.id for post in posts if post.id not in theirs)
    lines = (f'opt_out = ["{artist.replace("_", " ")}"]', f"blocked = [{blocked}]")
    dataset = Dataset.open(folder_of(small, "dataset", *lines))
    fetch(dataset)
    drops = {drop["item"]: drop for drop in seals.read_drops(dataset.root, "fetch").to_pylist()}
    listed = {post.id for post in small.world.newest_first() if not post.unlisted}
    for id in theirs & listed:
        assert drops[f"post {id}"]["reason"] == "artist opted out"
        assert drops[f"post {id}"]["detail"] == artist
    assert drops[f"post {blocked}"]["reason"] == "blocked"
    members = set(dataset.table(MEMBERS)["post_id"].to_pylist())
    assert members
    assert not members & (theirs | {blocked})


def test_a_refresh_downloads_nothing_and_marks_what_vanished(
    folder_of: Callable[..., Path],
) -> None:
    world = World(posts=60, seed=8, size=48)
    with running(world) as site:
        dataset = Dataset.open(folder_of(site))
        with pytest.raises(DatasetError) as told:
            refresh(dataset)
        assert str(told.value) == (
            f"{dataset.root}: --refresh brings posts up to date that are here, and none are:"
            " run `prep fetch` first"
        )
        before = chain.run_one(dataset, chain.STEPS[0])
        members = (dataset.path_of(MEMBERS)).read_bytes()
        gone, kept, *_ = usable(world)
        world.absent.add(gone.id)
        world.rescored[kept.id] = 4321
        site.calls.clear()
        after = refresh(dataset)
        assert {call.path for call in site.calls} == {
            "/posts.json", "/tag_aliases.json", "/tag_implications.json"
        }  # fmt: skip
        assert site.count("/posts.json") <= 2
        assert (after.rows_in, after.rows_out, after.dropped) == (
            before.rows_in, before.rows_out, before.dropped
        )  # fmt: skip
        assert after.output != before.output  # what follows reads the scores anew
        assert after.inputs == before.inputs
        posts = dataset.posts.read()
        scores = dict(zip(posts["id"].to_pylist(), posts["score"].to_pylist(), strict=True))
        assert scores[kept.id] == 4321
        assert gone.id in scores
        vanished = dataset.table(VANISHED).to_pylist()
        assert vanished == [{"post_id": gone.id, "md5": world.file(gone).md5}]
        assert (dataset.path_of(MEMBERS)).read_bytes() == members
        assert pc.sum(pc.equal(dataset.table(MEMBERS)["post_id"], gone.id)).as_py() == 1

        world.absent.clear()
        refresh(dataset)
        assert dataset.table(VANISHED).num_rows == 0
