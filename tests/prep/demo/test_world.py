"""The demo's booru as data: pure facts, heavy tails, relations, and files of every kind."""

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections import Counter

import pytest
from PIL import Image, ImageOps

from prep.demo.oddities import ENCODINGS, FRAMES, pixel_hash, shown
from prep.demo.posts import CATEGORY_OF, POPULAR, Post, post_id, slot_of
from prep.demo.vocabulary import IMPLICATIONS
from prep.demo.world import World, variant_ext, variant_kinds, variant_size


@pytest.fixture(scope="module")
def world() -> World:
    return World(posts=600, seed=0, size=64)


def posts_of(world: World) -> list[Post]:
    return list(world.newest_first())


def written_as(world: World, encoding: str) -> tuple[Post, bytes]:
    post = next(p for p in posts_of(world) if p.encoding == encoding and not p.is_copy)
    return post, world.bytes_of(post)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_ids_rise_and_leave_gaps(world: World) -> None:
    steps = [b - a for a, b in zip(world.ids, world.ids[1:], strict=False)]
    assert min(steps) >= 1
    assert max(steps) > 3
    assert all(slot_of(0, id) == slot for slot, id in enumerate(world.ids))
    missing = set(range(world.ids[0], world.ids[-1])) - set(world.ids)
    assert all(world.post(id) is None for id in [*missing, 0, -5, world.ids[-1] + 1])


def test_facts_depend_on_seed_and_id_alone(world: World) -> None:
    small = World(posts=40, seed=0, size=64)
    for id in reversed(small.ids):
        assert small.post(id) == world.post(id)
    assert World(posts=40, seed=1, size=64).ids != small.ids


def test_files_are_the_same_in_another_process() -> None:
    script = (
        "import json; from prep.demo.world import World; w = World(40, 3, 48)\n"
        "print(json.dumps({p.id: w.file(p).md5 for p in w.newest_first()}))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    here = World(40, 3, 48)
    md5s = {str(p.id): here.file(p).md5 for p in here.oldest_first(0)}  # the other way round
    assert json.loads(ran.stdout) == md5s


def test_bytes_drawn_again_are_the_same_bytes(world: World) -> None:
    again = World(posts=600, seed=0, size=64)
    again._bytes.room = 1  # nothing but the last file is kept
    for post in posts_of(again)[:80]:
        assert hashlib.md5(again.bytes_of(post)).hexdigest() == world.file(post).md5
        assert again.file(post) == world.file(post)


def test_every_md5_is_unique_and_finds_its_post(world: World) -> None:
    md5s = {world.file(post).md5: post for post in posts_of(world)}
    assert len(md5s) == 600
    for md5, post in md5s.items():
        assert world.with_md5(md5) == post
    assert world.with_md5("0" * 32) is None


def test_copies_of_one_post_have_md5s_of_their_own() -> None:
    world = World(posts=1200, seed=7, size=24)
    copies = [post for post in world.newest_first() if post.is_copy]
    assert len({post.base_id for post in copies}) < len(copies)
    assert len({world.file(post).md5 for post in copies}) == len(copies)


def test_only_twins_share_their_pixels(world: World) -> None:
    by_hash: dict[str, list[Post]] = {}
    for post in world.oldest_first(0):
        by_hash.setdefault(world.file(post).pixel_hash, []).append(post)
    for original, *others in by_hash.values():
        assert all(other.relation == "pixel twin" for other in others)
        assert all(other.base_id == original.base_id for other in others)


def test_a_small_world_holds_everything(world: World) -> None:
    posts = posts_of(world)
    assert {post.encoding for post in posts} == set(ENCODINGS)
    assert {post.relation for post in posts} == {
        *("original", "variant", "re-encoded", "resized", "pixel twin"),
    }
    assert {post.hidden for post in posts} == {"", "banned", "gold"}
    assert {post.rating for post in posts} == set("gsqe")
    for state in ("unlisted", "is_deleted", "is_pending", "is_flagged", "declared"):
        assert any(getattr(post, state) for post in posts), state
    assert any(post.width >= 3.5 * post.height for post in posts)
    assert any(post.height >= 3.5 * post.width for post in posts)


def test_scores_have_a_heavy_tail_around_the_quality_thresholds(world: World) -> None:
    scores = [world.score(post) for post in posts_of(world)]
    shares = [sum(score >= least for score in scores) / len(scores) for least in (6, 18, 60)]
    assert 0.55 < shares[0] < 0.8
    assert 0.2 < shares[1] < 0.4
    assert 0.02 < shares[2] < 0.1
    assert all(post.down_score <= 0 for post in posts_of(world))
    assert max(scores) > 200


def test_dates_rise_with_ids_over_years(world: World) -> None:
    dates = [post.created_at for post in world.oldest_first(0)]
    assert dates == sorted(dates)
    assert dates[-1].year - dates[0].year > 10
    assert all(post.updated_at > post.created_at for post in posts_of(world))


def test_popular_characters_have_enough_good_posts(world: World) -> None:
    for character in POPULAR:
        good = [
            post
            for post in posts_of(world)
            if character in post.tags and post.visible_to(20) and post.duration is None
            if not post.is_deleted and world.score(post) >= 3
        ]
        assert len(good) >= 60


def test_tags_have_their_category_and_what_they_imply(world: World) -> None:
    for post in posts_of(world):
        assert post.tags == {tag for tags in post.by_category.values() for tag in tags}
        for category, tags in post.by_category.items():
            assert all(CATEGORY_OF[tag] == category for tag in tags)
        assert all(then in post.tags for if_, then in IMPLICATIONS if if_ in post.tags)
        assert len(post.by_category["artist"]) == 1
    assert world.tag_counts()["1girl"] == 600


def test_copies_show_the_picture_of_their_base(world: World) -> None:
    seen: Counter[str] = Counter()
    for post in posts_of(world):
        base = world.post(post.base_id)
        assert base is not None
        if not post.is_copy:
            continue
        seen[post.relation] += 1
        assert post.id > base.id
        assert post.portrait == base.portrait
        file, original = world.file(post), world.file(base)
        assert file.md5 != original.md5
        assert (file.pixel_hash == original.pixel_hash) == (post.relation == "pixel twin")
        if post.relation == "resized":
            assert post.width < base.width
            assert post.width / post.height == pytest.approx(base.width / base.height, rel=0.1)
        else:
            assert (post.width, post.height) == (base.width, base.height)
    assert min(seen.values()) >= 5


def test_variants_differ_from_their_parent_in_the_picture(world: World) -> None:
    variants = [post for post in posts_of(world) if post.relation == "variant"]
    assert len(variants) >= 20
    for post in variants:
        base = world.post(post.base_id)
        assert base is not None
        assert post.portrait != base.portrait
        assert post.portrait.artist == base.portrait.artist
        assert post.portrait.character == base.portrait.character


def test_parents_know_their_children_and_lose_those_that_vanish() -> None:
    world = World(posts=200, seed=0, size=48)
    child = next(post for post in posts_of(world) if post.declared)
    parent = world.post(child.base_id)
    assert parent is not None
    for post in posts_of(world):
        assert all(world.parent_of(other) == post.id for other in world.children_of(post))
        if (id := world.parent_of(post)) is not None:
            assert post in world.children_of(world.post(id) or post)
    world.absent.add(child.id)
    assert child not in world.children_of(parent)
    assert world.post(child.id) is None
    world.absent.clear()
    world.absent.add(parent.id)
    assert world.parent_of(child) is None
    world.absent.clear()
    assert world.parent_of(child) == parent.id


def test_rescoring_moves_the_score_and_the_votes_up(world: World) -> None:
    post = posts_of(world)[0]
    before, state = world.file(post), world.state()
    world.rescored[post.id] = 77
    try:
        assert world.score(post) == 77
        assert world.up_score(post) + post.down_score == 77
        assert world.file(post) == before
        assert world.state() != state
    finally:
        world.rescored.clear()


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "avif", "16-bit", "webp lossless"])
def test_plain_files_decode_to_the_size_told(world: World, kind: str) -> None:
    posts = [post for post in posts_of(world) if post.encoding == kind]
    for post in posts[:3]:
        image = opened(world.bytes_of(post))
        assert image.mode == "RGB"
        assert image.size == (post.width, post.height)


def test_sixteen_bit_files_show_the_drawing(world: World) -> None:
    post, data = written_as(world, "16-bit")
    assert data[24] == 16  # bit depth in the header
    plain = opened(ENCODINGS["png"].write(world._picture(post)))
    assert opened(data).tobytes() == plain.tobytes()
    _, grey = written_as(world, "16-bit grey")
    assert opened(grey).mode.startswith("I")
    assert grey[24] == 16


def test_alpha_hides_black(world: World) -> None:
    _, data = written_as(world, "rgba")
    image = opened(data)
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0)) == (0, 0, 0, 0)
    assert image.getpixel((image.width // 2, image.height // 2))[3] == 255  # type: ignore[index]


def test_palettes_have_a_transparent_colour(world: World) -> None:
    _, data = written_as(world, "palette")
    image = opened(data)
    assert image.mode == "P"
    alpha = image.convert("RGBA").getchannel("A")
    assert alpha.getextrema() == (0, 255)


def test_odd_jpegs_have_their_modes(world: World) -> None:
    assert opened(written_as(world, "cmyk")[1]).mode == "CMYK"
    assert opened(written_as(world, "grey")[1]).mode == "L"


def test_rotated_files_stand_upright_by_their_exif(world: World) -> None:
    post, data = written_as(world, "rotated")
    lying = opened(data)
    assert lying.size == (post.height, post.width)
    upright = ImageOps.exif_transpose(lying)
    assert upright.size == (post.width, post.height)
    drawn = world._picture(post).frame(0)
    difference = sum(
        abs(a - b) for a, b in zip(upright.tobytes(), drawn.tobytes(), strict=True)
    ) / len(drawn.tobytes())
    assert difference < 12


def test_truncated_files_break_while_decoding(world: World) -> None:
    post, data = written_as(world, "truncated")
    with pytest.raises(OSError, match="truncated"):
        opened(data)
    assert world.file(post).md5 == hashlib.md5(data).hexdigest() == world.file(post).pixel_hash


@pytest.mark.parametrize("kind", ["gif", "apng", "animated webp"])
def test_animations_have_frames(world: World, kind: str) -> None:
    post, data = written_as(world, kind)
    image = Image.open(io.BytesIO(data))
    assert image.n_frames == FRAMES  # type: ignore[attr-defined]
    assert image.size == (post.width, post.height)
    assert post.duration == pytest.approx(0.36)


def test_ugoira_are_zips_of_frames(world: World) -> None:
    post, data = written_as(world, "ugoira")
    with zipfile.ZipFile(io.BytesIO(data)) as frames:
        assert frames.namelist() == ["000000.jpg", "000001.jpg", "000002.jpg"]
        assert opened(frames.read("000002.jpg")).size == (post.width, post.height)


@pytest.mark.parametrize(
    ("kind", "at", "head"), [("mp4", 4, b"ftyp"), ("webm", 0, b"\x1aE\xdf\xa3"), ("swf", 0, b"FWS")]
)
def test_video_has_a_head_of_its_kind(world: World, kind: str, at: int, head: bytes) -> None:
    assert written_as(world, kind)[1][at : at + len(head)] == head


def test_smaller_versions_have_the_size_and_kind_told() -> None:
    world = World(posts=300, seed=0, size=1100)
    for kind, form in (
        ("180x180", "JPEG"),
        ("720x720", "WEBP"),
        ("sample", "JPEG"),
        ("full", "JPEG"),
    ):
        post = next(p for p in posts_of(world) if kind in variant_kinds(p) and p.file_ext != "zip")
        image = opened(world.variant_of(post, kind))
        assert (image.size, image.format) == (variant_size(post, kind), form)
    ugoira = next(post for post in posts_of(world) if post.file_ext == "zip")
    assert variant_ext(ugoira, "sample") == "webm"
    assert world.variant_of(ugoira, "sample").startswith(b"\x1aE\xdf\xa3")
    flash = next(post for post in posts_of(world) if post.file_ext == "swf")
    assert variant_kinds(flash) == ()


def test_smaller_versions_show_what_the_file_shows(world: World) -> None:
    for kind, stays in (("grey", True), ("jpg", False)):
        post, _ = written_as(world, kind)
        channels = opened(world.variant_of(post, "180x180")).convert("RGB").split()
        assert (channels[0].tobytes() == channels[2].tobytes()) == stays
    lying, data = written_as(world, "rotated")
    assert shown(data).size == (lying.width, lying.height)
    clear, _ = written_as(world, "rgba")
    corner = opened(world.variant_of(clear, "180x180")).getpixel((0, 0))
    assert min(corner) > 240  # type: ignore[type-var, arg-type]


def test_pixel_hash_is_the_md5_of_a_pam_file() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    head = b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"
    assert (
        pixel_hash(buffer.getvalue()) == hashlib.md5(head + bytes([1, 2, 3, 1, 2, 3])).hexdigest()
    )


def test_fifty_thousand_posts_need_no_drawing() -> None:
    world = World(posts=50_000, seed=5)
    middle = world.post(post_id(5, 25_000))
    assert middle is not None
    assert middle.created_at.year >= 2024
    assert world._files == {}
