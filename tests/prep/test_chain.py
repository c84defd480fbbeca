"""The chain on the embedded booru, checked by counting what it asks for and what it computes.

Interactions covered: site and fetch; fetch and files on disk; caches and stages; thresholds,
rules, scores and what they must not touch; new posts among old ones; removal by hand.
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import prep.hashes
import prep.tag
import train.latent_encoding
from prep import chain, seals
from prep.cli.steps import ALL
from prep.dataset import REMOVED, Dataset
from prep.demo.booru import running
from prep.demo.drawing import draw
from prep.demo.portrait import sample
from prep.demo.recipes import CHARACTER, TAGGER, TRIGGER
from prep.demo.site import Site
from prep.demo.world import World
from prep.fetch import fetch
from prep.init import init
from schemas.errors import DatasetError
from schemas.tables import CAPTIONS, GROUPS, MANIFEST, MEMBERS

Copy = Callable[[Path], Path]
POSTS = int(os.environ.get("KIROKU_TEST_POSTS", "300"))  # before ten are added; 5000 takes minutes


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts images that are hashed, tagged and encoded from now on."""
    done: Counter[str] = Counter()
    hash_one, stream, encode = (
        prep.hashes.hash_one,
        prep.tag.stream,
        train.latent_encoding.encode_missing,
    )

    def counted_hash(md5: str, path: Path) -> dict[str, object]:
        done["hashed"] += 1
        return hash_one(md5, path)

    def counted_stream(tagger: Any, items: Any, *rest: Any) -> Iterator[Any]:
        for outcome in stream(tagger, items, *rest):
            done["tagged"] += 1
            yield outcome

    def counted_encode(*arguments: Any, **options: Any) -> Any:
        done["encodings"] += 1
        return encode(*arguments, **options)

    monkeypatch.setattr(prep.hashes, "hash_one", counted_hash)
    monkeypatch.setattr(prep.tag, "stream", counted_stream)
    monkeypatch.setattr(train.latent_encoding, "encode_missing", counted_encode)
    return done


def asked(site: Site) -> Counter[str]:
    """How often the site was asked for what since the last `site.calls.clear()`."""
    return Counter(call.path.strip("/").split("/")[0] for call in site.calls)


def run(folder: Path, *changes: str) -> list[str]:
    return chain.run(Dataset.open(folder, changes), ALL)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, site: Site, write_dataset: Callable[..., Path]
) -> Path:
    """The demo's dataset after a run, to be read."""
    folder: Path = write_dataset(tmp_path_factory.mktemp("finished") / "dataset", site)
    run(folder)
    return folder


@pytest.fixture(scope="module")
def everyone(
    tmp_path_factory: pytest.TempPathFactory, site: Site, write_dataset: Callable[..., Path]
) -> Path:
    """A dataset of most of the site's posts after a run, to be read."""
    folder = tmp_path_factory.mktemp("everyone") / "dataset"
    write_dataset(folder, site, main={"query": "1girl"})
    run(folder)
    return folder


@pytest.fixture
def copy(tmp_path: Path, site: Site, work: Counter[str]) -> Copy:
    """`copy(folder)`: the dataset, to be changed; what is asked and computed counts from there."""

    def copied(folder: Path) -> Path:
        to = Path(shutil.copytree(folder, tmp_path / "dataset"))
        site.calls.clear()
        work.clear()
        return to

    return copied


def test_the_chain_ends_with_a_manifest_and_a_second_run_does_nothing(
    site: Site, make_dataset: Callable[..., Path], work: Counter[str]
) -> None:
    folder = make_dataset(site)
    assert run(folder) == ["fetch", "dedup", "tag", "caption", "reg", "manifest", "latents"]
    manifest = MANIFEST.read(folder / "manifest.parquet")
    assert manifest.num_rows > 20
    assert all((folder / path).is_file() for path in manifest.column("path").to_pylist())

    site.calls.clear()
    work.clear()
    assert run(folder) == []
    assert (asked(site), work) == (Counter(), Counter())


def test_captions_begin_with_the_trigger_and_leave_out_what_it_stands_for(finished: Path) -> None:
    rows = MANIFEST.read(finished / "manifest.parquet").to_pylist()
    learnt = [row for row in rows if not row["is_reg"]]
    assert {row["tags"][0]["tag"] for row in learnt} == {TRIGGER}
    assert {tag["tag"] for row in learnt for tag in row["tags"] if tag["part"] == "head"} == {
        TRIGGER
    }
    captions = " ".join(row["caption"] for row in learnt)
    assert "lav" in captions
    assert "looking at viewer" not in captions
    reg = [row for row in rows if row["is_reg"]]
    assert reg
    assert {tag["part"] for row in reg for tag in row["tags"]} == {"flex"}
    assert not any(TRIGGER in row["caption"] for row in reg)


def test_every_tag_tells_its_category_its_source_and_the_rules_that_touched_it(
    finished: Path,
) -> None:
    rows = Dataset.open(finished).table(CAPTIONS).to_pylist()
    tags = [tag for row in rows for tag in row["tags"]]
    assert {tag["category"] for tag in tags} >= {"trigger", "quality", "general", "copyright"}
    assert not {tag["category"] for tag in tags} & {"artist", "meta"}
    assert {tag["source"] for tag in tags} >= {"booru", "both", "rule"}
    by_name = {tag["tag"]: tag for tag in tags}
    assert by_name["lav"]["rules"] == ["rename"]
    assert by_name["masterpiece"]["rules"] == ["quality"]
    assert by_name["akari_(hoshizora_academy)"]["rules"] == ["trigger", "collapse"]


def test_every_post_that_does_not_go_on_is_listed_with_its_reason(everyone: Path) -> None:
    seal = seals.read_seal(everyone, "fetch")
    assert seal is not None
    drops = seals.read_drops(everyone, "fetch").to_pylist()
    assert seal.rows_in == seal.rows_out + len(drops)
    assert {drop["reason"] for drop in drops} >= {
        "deleted on the site",
        "hidden from this account",
        "file type not wanted",
        "animated",
    }
    assert len({drop["item"] for drop in drops}) == len(drops)


def test_originals_are_the_bytes_that_the_site_has(site: Site, finished: Path) -> None:
    images = sorted((finished / "images").glob("*/*"))
    assert images
    for path in images:
        post = site.world.with_md5(path.stem)
        assert post is not None
        assert path.read_bytes() == site.world.bytes_of(post)


def test_a_threshold_runs_no_inference(
    site: Site, finished: Path, copy: Copy, work: Counter[str]
) -> None:
    folder = copy(finished)
    before = (folder / "tables" / "captions.parquet").read_bytes()
    assert run(folder, "tag.general=0.9") == ["caption", "manifest"]
    assert (asked(site), work) == (Counter(), Counter())
    assert (folder / "tables" / "captions.parquet").read_bytes() != before


def test_a_rule_touches_captions_and_manifest_only(
    site: Site, finished: Path, copy: Copy, work: Counter[str]
) -> None:
    folder = copy(finished)
    untouched = _bytes(folder, except_for=("captions", "caption.seal", "manifest", "logs"))
    assert run(folder, 'caption.rename={"1girl"="girl"}') == ["caption", "manifest"]
    assert (asked(site), work) == (Counter(), Counter())
    after = _bytes(folder, except_for=("captions", "caption.seal", "manifest", "logs"))
    assert after == untouched


def test_a_refreshed_score_touches_no_pixels(
    make_dataset: Callable[..., Path], work: Counter[str]
) -> None:
    world = World(posts=120, seed=1, size=64)
    with running(world) as site:
        folder = make_dataset(site, main={"query": CHARACTER})
        run(folder)
        rows = MANIFEST.read(folder / "manifest.parquet").to_pylist()
        low = next(row for row in rows if row["score"] < 60)
        post = world.with_md5(low["md5"])
        assert post is not None
        world.rescored[post.id] = 777
        site.calls.clear()
        work.clear()
        dataset = Dataset.open(folder)
        chain.run_one(dataset, ALL[0], fetch)
        run(folder)
        assert set(asked(site)) == {"posts.json"}
        assert work == Counter()
        after = {row["md5"]: row for row in MANIFEST.read(folder / "manifest.parquet").to_pylist()}
        assert after[low["md5"]]["score"] == 777
        assert "masterpiece" in after[low["md5"]]["caption"]


def test_for_one_set_more_the_site_is_asked_about_that_alone(
    make_folder: Callable[..., Path], site: Site
) -> None:
    folder = make_folder(site, main={"query": CHARACTER}, cats={"query": "cat_ears"})
    steps = ALL[:1]
    chain.run(Dataset.open(folder), steps)
    before = Dataset.open(folder).table(MEMBERS).to_pylist()
    recipe = (folder / "prep.toml").read_text(encoding="utf-8")
    more = '[sets.plain]\nquery = "hat"\nlimit = 5\nrole = "reg"\n'
    (folder / "prep.toml").write_text(recipe + "\n" + more, encoding="utf-8")
    site.calls.clear()
    assert chain.run(Dataset.open(folder), steps) == ["fetch"]
    searches = {call.query.get("tags") for call in site.calls if call.path == "/posts.json"}
    assert searches == {"hat"}
    after = Dataset.open(folder).table(MEMBERS).to_pylist()
    assert [row for row in after if row["set"] != "plain"] == before
    assert sum(row["set"] == "plain" for row in after) == 5
    sealed = seals.read_seal(folder, "fetch")
    assert sealed == fetch(Dataset.open(folder))  # which lists every set

    (folder / "prep.toml").write_text(recipe.replace("cat_ears", "smile"), encoding="utf-8")
    site.calls.clear()
    assert chain.run(Dataset.open(folder), steps) == ["fetch"]
    searches = {call.query.get("tags") for call in site.calls if call.path == "/posts.json"}
    assert searches == {"smile"}
    assert {row["set"] for row in Dataset.open(folder).table(MEMBERS).to_pylist()} == {
        "main", "cats",
    }  # fmt: skip


def test_a_file_removed_by_hand_stays_away_until_it_is_restored(
    site: Site, finished: Path, copy: Copy
) -> None:
    folder = copy(finished)
    manifest = MANIFEST.read(folder / "manifest.parquet")
    victim = manifest.slice(3, 1).to_pylist()[0]
    (folder / victim["path"]).unlink()
    done = run(folder)
    assert "fetch" not in done
    assert asked(site) == Counter()
    drops = seals.read_drops(folder, "dedup").to_pylist()
    assert [drop["item"] for drop in drops if drop["reason"] == REMOVED] == [victim["md5"]]
    assert victim["md5"] not in MANIFEST.read(folder / "manifest.parquet")["md5"].to_pylist()

    prep.fetch.fetch(Dataset.open(folder))
    assert not (folder / victim["path"]).exists()

    prep.fetch.fetch(Dataset.open(folder), restore=True)
    run(folder)
    assert (folder / victim["path"]).is_file()
    assert MANIFEST.read(folder / "manifest.parquet").equals(manifest)


@pytest.mark.slow
def test_ten_new_posts_among_old_ones_cost_ten(
    make_dataset: Callable[..., Path], work: Counter[str]
) -> None:
    world = World(posts=POSTS, seed=2, size=64)
    with running(world) as site:
        fresh = _plain(world, 10)
        world.absent |= fresh
        folder = make_dataset(site, main={"query": "1girl"})
        run(folder)
        files = set(_files(folder))
        keepers = _keepers(folder)
        site.calls.clear()
        work.clear()
        world.absent.clear()
        prep.fetch.fetch(Dataset.open(folder))
        run(folder)
        assert asked(site)["original"] == 10
        assert (work["hashed"], work["tagged"]) == (10, 10)
        assert _keepers(folder) >= keepers
        captions = Dataset.open(folder).table(CAPTIONS)
        assert captions.num_rows == len(_keepers(folder))
        assert not pa.compute.any(pa.compute.equal(captions["caption"], "")).as_py()
        added = set(_files(folder)) - files
        assert sum(name.startswith("images/") for name in added) == 10
        assert len(added) <= 10 + 10  # the images, and shards of their shapes


@pytest.mark.slow
def test_the_number_of_files_stays_bounded_over_thirty_additions(
    make_dataset: Callable[..., Path],
) -> None:
    world = World(posts=130, seed=3, size=48)
    with running(world) as site:
        late = sorted(_plain(world, 60))
        world.absent |= set(late)
        folder = make_dataset(site, main={"query": "1girl"})
        run(folder)
        for start in range(0, 60, 2):
            world.absent -= set(late[start : start + 2])
            prep.fetch.fetch(Dataset.open(folder))
            run(folder)
        assert not list((folder / "tables").rglob("pending-*"))
        # one more since the site's tags are kept, one since the manifest that was given out is
        assert len(list((folder / "tables").rglob("*.parquet"))) <= 14
        shapes = {path.name.split("-")[0] for path in (folder / "latents").rglob("*.safetensors")}
        assert len(list((folder / "latents").rglob("*"))) <= 6 * max(6, len(shapes))


def test_an_unreadable_image_is_one_dropped_row(everyone: Path) -> None:
    drops = seals.read_drops(everyone, "dedup").to_pylist()
    broken = [drop for drop in drops if drop["reason"] == "unreadable image"]
    assert broken
    assert {drop["detail"] for drop in broken} <= {"truncated", "broken"}
    manifest = MANIFEST.read(everyone / "manifest.parquet")
    assert not {drop["item"] for drop in broken} & set(manifest["md5"].to_pylist())


def test_duplicates_are_near_their_keeper_and_the_best_is_kept(everyone: Path) -> None:
    dataset = Dataset.open(everyone)
    groups = dataset.table(GROUPS).to_pylist()
    losers = [row for row in groups if row["md5"] != row["keeper"]]
    assert losers
    assert all(row["distance"] <= 4 or row["by"] == "pixel_hash" for row in losers)
    posts = {row["md5"]: row for row in dataset.posts.read().to_pylist() if row["md5"]}
    assert all(posts[row["keeper"]]["score"] >= posts[row["md5"]]["score"] for row in losers)


def test_regularization_shares_no_near_duplicate_with_the_training_set(
    site: Site, make_dataset: Callable[..., Path]
) -> None:
    plain = {"query": "1girl", "role": "reg", "choose": 1000}
    folder = make_dataset(site, main={"query": CHARACTER}, plain=plain)
    run(folder)
    dataset = Dataset.open(folder)
    manifest = MANIFEST.read(folder / "manifest.parquet").to_pylist()
    hashes = {row["md5"]: row["phash"] for row in dataset.hashes.columns("phash").to_pylist()}
    learnt = [hashes[r["md5"]] for r in dataset.table(GROUPS).to_pylist() if r["set"] == "main"]
    reg = [hashes[row["md5"]] for row in manifest if row["is_reg"]]
    assert min((a ^ b).bit_count() for a in learnt for b in reg) > 4
    reasons = {drop["reason"] for drop in seals.read_drops(folder, "reg").to_pylist()}
    assert reasons == {"near a training image"}


def test_the_manifest_reads_alike_in_pyarrow_pandas_and_datasets(
    finished: Path, tmp_path: Path
) -> None:
    import datasets
    import pandas

    path = finished / "manifest.parquet"
    by_arrow = pq.read_table(path)
    by_pandas = pandas.read_parquet(path)
    by_datasets = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    captions = by_arrow["caption"].to_pylist()
    assert by_pandas["caption"].tolist() == captions
    assert list(by_datasets["caption"]) == captions
    first = by_arrow["tags"][0].as_py()
    assert list(by_pandas["tags"][0]) == first
    assert by_datasets[0]["tags"] == first


def test_a_folder_of_images_needs_no_site_and_keeps_its_tags(tmp_path: Path, model: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = random.Random(1)
    for number in range(8):
        draw(sample(rng), 96, 128).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(f"my_friend, picture {number}, Blue Hat")
    before = {path.name: path.read_bytes() for path in pictures.iterdir()}
    folder = tmp_path / "dataset"
    init(folder, source=pictures, base=str(model), trigger="My_Friend")
    tagger = f'tag.taggers=["{TAGGER.as_posix()}"]'
    nowhere = "fetch.site=http://127.0.0.1:9"
    small = (folder / "train.toml").read_text(encoding="utf-8").replace("min = 256", "min = 64")
    (folder / "train.toml").write_text(small, encoding="utf-8")
    assert run(folder, tagger, nowhere) == [step.name for step in ALL]
    rows = MANIFEST.read(folder / "manifest.parquet").to_pylist()
    assert len(rows) == 8
    assert all(row["caption"].startswith("My_Friend, ") for row in rows)
    assert all(", picture " in row["caption"] for row in rows)
    # every picture has it: a feature, for which the trigger stands
    assert not any("blue hat" in row["caption"] for row in rows)
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before
    assert run(folder, tagger, nowhere) == []

    draw(sample(rng), 96, 128).save(pictures / "late.png")
    assert run(folder, tagger, nowhere)[0] == "fetch"
    assert MANIFEST.read(folder / "manifest.parquet").num_rows == 9


def test_a_manifest_edited_by_hand_is_refused_until_its_owner_says_what_of_it(
    finished: Path, copy: Copy
) -> None:
    folder = copy(finished)
    pq.write_table(pq.read_table(folder / "manifest.parquet").slice(0, 5), folder / "x.parquet")
    (folder / "x.parquet").replace(folder / "manifest.parquet")
    edited = (folder / "manifest.parquet").read_bytes()
    with pytest.raises(DatasetError) as told:
        run(folder)
    assert str(told.value) == (
        f"{folder / 'manifest.parquet'} was changed since it was made here: `prep edit --from"
        " manifest.parquet` takes its captions as edits; remove the file to throw the changes away"
    )
    assert (folder / "manifest.parquet").read_bytes() == edited


def _plain(world: World, count: int) -> set[int]:
    """Ids of posts all over the world that any reader can have, of files that nothing drops."""
    posts = [
        post
        for post in world.newest_first()
        if not (post.hidden or post.is_deleted or post.unlisted or post.is_copy)
        and post.file_ext in ("jpg", "png", "webp")
        and not post.duration
        and "truncated" not in post.encoding
    ]
    return {post.id for post in posts[:: max(1, len(posts) // count)][:count]}


def _keepers(folder: Path) -> set[str]:
    groups = Dataset.open(folder).table(GROUPS).to_pylist()
    return {row["md5"] for row in groups if row["md5"] == row["keeper"]}


def _files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _bytes(folder: Path, except_for: tuple[str, ...]) -> dict[str, bytes]:
    return {
        name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part in (name := path.relative_to(folder).as_posix()) for part in except_for)
    }
