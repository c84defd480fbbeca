"""The latent cache: what is encoded, what is kept, and what a kill, a bad file or a gc leave.

Interactions covered: same set again; images added; size or rule changed; one image in two sets;
interrupted and killed runs; unreadable, missing and changed files; VAEs that give NaN; damaged
shards; many small additions; gc. The VAE is a real AutoencoderKL with random weights.
"""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from schemas.errors import DataError, DeviceError, ModelError
from schemas.recipes.train import LatentsSection, ModelSection, TrainRecipe
from schemas.tables import MANIFEST
from train import latent_encoding, latent_index
from train.diffusers_folder import DiffusersVae
from train.latents import LatentStore, encode, gc, keys, stored, vae_key, wanted
from train.variants import made

CPU = torch.device("cpu")
KEY = "0123456789abcdef"
SHAPES = [(150, 100), (100, 150), (128, 128), (300, 200), (90, 200)]


def make_vae(seed: int = 0) -> AutoencoderKL:
    torch.manual_seed(seed)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )


def make_recipe(**latents: object) -> TrainRecipe:
    geometry = {"resolution": 128, "min": 64, "max": 256, "step": 32} | latents
    return TrainRecipe(model=ModelSection(path="model"), latents=LatentsSection(**geometry))


def make_images(root: Path, numbers: Sequence[int], shapes=SHAPES) -> pa.Table:
    """Write images whose pixels follow from their number; return their manifest."""
    rows = []
    for number in numbers:
        width, height = shapes[number % len(shapes)]
        noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        path = root / "images" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(path)
        rows.append(row_of(root, path, width, height))
    return MANIFEST.sorted(pa.Table.from_pylist(rows, schema=MANIFEST.schema))


def row_of(root: Path, path: Path, width: int, height: int) -> dict[str, object]:
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    return {
        "md5": md5,
        "path": path.relative_to(root).as_posix(),
        "width": width,
        "height": height,
        "set": "main",
        "split": "train",
        "group": md5,
        "is_reg": False,
        "repeats": 1,
        "weight": 1.0,
        "caption": "",
        "tags": [],
    }


def run(
    root: Path, manifest: pa.Table, vae: AutoencoderKL | None = None, **geometry
) -> LatentStore:
    return encode(manifest, root, make_recipe(**geometry), vae or make_vae(), CPU, KEY)


def folder(root: Path) -> Path:
    return root / "latents" / KEY


def shard_files(root: Path) -> list[Path]:
    return sorted(folder(root).glob("*.safetensors"))


def all_latents(store: LatentStore) -> dict[int, np.ndarray]:
    held = np.flatnonzero(store.buckets[:, 0])
    return {int(row): store.read(np.array([row]))[0].numpy() for row in held}


def assert_same_latents(one: LatentStore, other: LatentStore) -> None:
    mine, theirs = all_latents(one), all_latents(other)
    assert mine.keys() == theirs.keys()
    for row in mine:
        assert np.abs(mine[row] - theirs[row]).max() <= 1e-4


def directly(root: Path, manifest: pa.Table, store: LatentStore, row: int) -> np.ndarray:
    """The latent of one row as one would write it down from the placement alone."""
    at = store.placement
    image = Image.open(root / manifest.column("path")[row].as_py()).convert("RGB")
    size = (int(at.scaled_width[row]), int(at.scaled_height[row]))
    left, top = int(at.crop_left[row]), int(at.crop_top[row])
    width, height = (int(side) for side in store.buckets[row])
    image = image.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(image.crop((left, top, left + width, top + height)))
    batch = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        mean: np.ndarray = make_vae().eval().encode(batch).latent_dist.mean[0].numpy()
    return mean


def test_latents_equal_those_encoded_directly(tmp_path):
    manifest = make_images(tmp_path, range(12))
    store = run(tmp_path, manifest)
    assert store.encoded == 12
    assert not store.problems
    for row, latent in all_latents(store).items():
        assert latent.dtype == np.float32
        assert np.abs(latent - directly(tmp_path, manifest, store, row)).max() <= 1e-4


def test_rows_of_one_bucket_are_read_in_the_order_asked_for(tmp_path):
    store = run(tmp_path, make_images(tmp_path, range(12)))
    rows = np.flatnonzero((store.buckets == store.buckets[0]).all(axis=1))[::-1]
    width, height = store.buckets[0]
    batch = store.read(rows)
    assert batch.dtype == torch.float32
    assert batch.shape == (len(rows), 4, height // 8, width // 8)
    alone = torch.cat([store.read(rows[at : at + 1]) for at in range(len(rows))])
    assert torch.equal(batch, alone)


def test_rows_of_two_buckets_are_not_read_together(tmp_path):
    store = run(tmp_path, make_images(tmp_path, [0, 1], [(150, 100), (100, 150)]))
    with pytest.raises(ValueError, match="rows of one bucket are read together"):
        store.read(np.array([0, 1]))


def test_a_second_run_encodes_nothing_and_writes_nothing(tmp_path):
    manifest = make_images(tmp_path, range(10))
    first = run(tmp_path, manifest)
    before = {path: path.stat().st_mtime_ns for path in folder(tmp_path).iterdir()}
    assert wanted(manifest, tmp_path, make_recipe(), KEY) == 0
    second = run(tmp_path, manifest)
    assert second.encoded == 0
    assert {path: path.stat().st_mtime_ns for path in folder(tmp_path).iterdir()} == before
    assert_same_latents(first, second)
    assert_same_latents(first, stored(manifest, tmp_path, make_recipe(), KEY))


def test_images_that_are_added_are_all_that_is_encoded(tmp_path):
    run(tmp_path, make_images(tmp_path, range(20)))
    manifest = make_images(tmp_path, range(23))
    assert wanted(manifest, tmp_path, make_recipe(), KEY) == 3
    assert run(tmp_path, manifest).encoded == 3


def test_an_image_of_two_sets_is_encoded_once(tmp_path):
    manifest = make_images(tmp_path, range(3))
    again = manifest.set_column(4, MANIFEST.schema.field("set"), pa.array(["finish"] * 3))
    both = MANIFEST.sorted(pa.concat_tables([manifest, again]))
    store = run(tmp_path, both)
    assert store.encoded == 3
    latents = all_latents(store)
    assert len(latents) == 6
    md5 = both.column("md5").to_pylist()
    pairs = [[row for row in latents if md5[row] == name] for name in set(md5)]
    assert all((latents[one] == latents[other]).all() for one, other in pairs)


def test_another_size_adds_rows_and_keeps_the_old_ones(tmp_path):
    manifest = make_images(tmp_path, range(10))
    small = run(tmp_path, manifest)
    assert wanted(manifest, tmp_path, make_recipe(resolution=192), KEY) > 0
    large = run(tmp_path, manifest, resolution=192)
    moved = (small.buckets != large.buckets).any(axis=1) | (
        small.placement.scaled_width != large.placement.scaled_width
    )
    assert large.encoded == moved.sum() > 0
    assert latent_index.read(folder(tmp_path)).num_rows == 10 + moved.sum()
    assert run(tmp_path, manifest).encoded == 0


def test_switching_variants_on_encodes_the_new_ones_alone_and_off_encodes_nothing(tmp_path):
    manifest = make_images(tmp_path, range(6), [(128, 128), (150, 100)])
    plain = run(tmp_path, manifest)
    assert wanted(manifest, tmp_path, make_recipe(flip=True), KEY) == 6
    flipped = run(tmp_path, manifest, flip=True)
    assert flipped.encoded == 6
    both = run(tmp_path, manifest, flip=True, color=True)
    assert both.encoded == 6 * 4
    assert run(tmp_path, manifest, color=True).encoded == 0
    again = run(tmp_path, manifest)
    assert again.encoded == 0
    for row in range(6):
        own = plain.read(np.array([row]))
        assert torch.equal(both.read(np.array([row])), own)
        assert torch.equal(again.read(np.array([row])), own)
        each = [both.read(np.array([row]), number).numpy().tobytes() for number in range(6)]
        assert len(set(each)) == 6
        assert flipped.read(np.array([row]), 1).numpy().tobytes() == each[3]
    assert gc(tmp_path, {KEY: keys(manifest, make_recipe(flip=True))}) > 0
    assert run(tmp_path, manifest, flip=True).encoded == 0


def test_a_variants_latent_is_that_of_its_pixels(tmp_path):
    manifest = make_images(tmp_path, range(2), [(128, 128)])
    store = run(tmp_path, manifest, flip=True, color=True)
    for row, (path, md5) in enumerate(
        zip(*(manifest.column(name).to_pylist() for name in ("path", "md5")), strict=True)
    ):
        own = np.asarray(Image.open(tmp_path / path).convert("RGB"))
        for number, variant in enumerate(store.variants):
            pixels = made(own, variant, md5).copy()
            expected = latent_encoding.posterior_means(make_vae().eval(), pixels[None], CPU)
            found = store.read(np.array([row]), np.array([number])).numpy()
            assert np.abs(found - expected).max() <= 1e-4


def test_an_image_whose_variant_has_no_latent_is_left_out(tmp_path):
    manifest = make_images(tmp_path, range(2), [(64, 64)])
    run(tmp_path, manifest)
    (tmp_path / manifest.column("path")[0].as_py()).unlink()
    store = run(tmp_path, manifest, flip=True)
    assert store.problems == {0: "missing"}
    assert store.buckets.tolist() == [[0, 0], [64, 64]]


def transparent(root: Path, number: int, alpha: int) -> pa.Table:
    """A row of the manifest whose image's left half is as opaque as `alpha`."""
    path = root / "images" / f"cut{number}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGBA", (64, 64), (number, 90, 0, 255))
    image.paste((number, 90, 0, alpha), (0, 0, 32, 64))
    image.save(path)
    return pa.Table.from_pylist([row_of(root, path, 64, 64)], schema=MANIFEST.schema)


def test_masks_are_kept_with_the_latents_and_outlive_their_shards(tmp_path):
    opaque = make_images(tmp_path, range(2), [(64, 64)])
    assert run(tmp_path, opaque).masks(np.array([0, 1])) is None
    parts = [opaque]
    for number in range(latent_index.PILE + 2):  # the last merges the shards of all
        parts.append(transparent(tmp_path, number, 51 * number))
        manifest = MANIFEST.sorted(pa.concat_tables(parts))
        store = run(tmp_path, manifest, flip=True)
    paths = manifest.column("path").to_pylist()
    left = [int(Path(p).stem[3:]) / 5 if "cut" in p else 1.0 for p in paths]
    rows = np.arange(len(paths))
    masks = store.masks(rows)
    assert (masks.shape, masks.dtype) == ((len(paths), 1, 8, 8), torch.float32)
    assert masks[:, 0, 0, 0].tolist() == pytest.approx(left)
    assert (masks[:, :, :, 4:] == 1).all()
    assert torch.equal(store.masks(rows, np.ones_like(rows)), masks.flip(3))
    assert store.opacity().tolist() == pytest.approx([(1 + part) / 2 for part in left])
    (whole,) = [row for row, part in enumerate(left) if part == 0]
    assert store.masks(np.array([whole])).mean() == 0.5
    assert len(shard_files(tmp_path)) <= latent_index.PILE + 1


def test_a_mask_whose_bytes_have_turned_is_refused(tmp_path):
    manifest = transparent(tmp_path, 0, 0)
    run(tmp_path, manifest)
    (path,) = shard_files(tmp_path)
    data = bytearray(path.read_bytes())
    at = data.rindex(bytes([0] * 4 + [255] * 4))
    data[at] = 9
    path.write_bytes(bytes(data))
    store = stored(manifest, tmp_path, make_recipe(), KEY)
    assert store.read(np.array([0])).shape == (1, 4, 8, 8)
    with pytest.raises(DataError) as caught:
        store.masks(np.array([0]))
    assert str(caught.value) == f"{path} is damaged: remove it and run `prep latents` again"


def test_the_kohya_rule_does_not_reuse_latents_of_another_filter(tmp_path):
    manifest = make_images(tmp_path, range(4), [(256, 256)])
    log = run(tmp_path, manifest)
    kohya = run(tmp_path, manifest, buckets="kohya")
    assert (log.buckets == kohya.buckets).all()
    assert kohya.encoded == 4
    assert any((all_latents(log)[row] != all_latents(kohya)[row]).any() for row in range(4))


def test_an_image_smaller_than_a_step_is_a_problem_that_costs_nothing(tmp_path):
    manifest = make_images(tmp_path, range(2), [(128, 128), (40, 20)])
    store = run(tmp_path, manifest)
    small = manifest.column("width").to_pylist().index(40)
    assert store.problems == {small: "smaller than 32 px"}
    assert store.buckets[small].tolist() == [0, 0]
    assert store.encoded == 1
    with pytest.raises(DataError) as caught:
        store.read(np.array([small]))
    assert str(caught.value) == f"manifest row {small} has no latent: smaller than 32 px"


def test_what_is_not_encoded_yet_is_said_to_be_so(tmp_path):
    manifest = make_images(tmp_path, range(2))
    store = stored(manifest, tmp_path, make_recipe(), KEY)
    assert store.problems == {0: "not encoded yet", 1: "not encoded yet"}
    assert not (tmp_path / "latents").exists()


def test_an_unreadable_image_is_one_problem_and_is_not_tried_again(tmp_path):
    manifest = make_images(tmp_path, range(6))
    manifest = MANIFEST.sorted(pa.concat_tables([manifest, broken_image(tmp_path, 0)]))
    row = manifest.column("path").to_pylist().index("images/broken0.jpg")
    for encoded in (6, 0):
        store = run(tmp_path, manifest)
        assert store.problems == {row: "unreadable image: truncated"}
        assert store.encoded == encoded
    assert wanted(manifest, tmp_path, make_recipe(), KEY) == 0


def test_a_missing_or_changed_file_is_a_problem_until_it_is_mended(tmp_path):
    manifest = make_images(tmp_path, range(4), [(128, 128)])
    names = manifest.column("path").to_pylist()
    gone, changed = (tmp_path / names[row] for row in (0, 1))
    kept = gone.read_bytes(), changed.read_bytes()
    gone.unlink()
    changed.write_bytes(kept[0])
    store = run(tmp_path, manifest)
    assert store.problems == {0: "missing", 1: "changed since the manifest was made"}
    assert store.encoded == 2
    assert wanted(manifest, tmp_path, make_recipe(), KEY) == 2
    gone.write_bytes(kept[0])
    changed.write_bytes(kept[1])
    store = run(tmp_path, manifest)
    assert not store.problems
    assert store.encoded == 2


def test_latents_that_are_not_finite_are_refused_by_name(tmp_path):
    manifest = make_images(tmp_path, range(3))
    vae = make_vae()
    with torch.no_grad():
        vae.quant_conv.bias.fill_(float("nan"))
    store = run(tmp_path, manifest, vae)
    assert store.problems == dict.fromkeys(range(3), "non-finite latent")
    assert (store.buckets == 0).all()
    assert not shard_files(tmp_path)
    assert run(tmp_path, manifest, vae).encoded == 0
    with pytest.raises(DataError) as caught:
        store.read(np.array([2]))
    assert str(caught.value) == "manifest row 2 has no latent: non-finite latent"


def test_one_latent_that_is_not_finite_does_not_take_its_batch_with_it(tmp_path):
    manifest = make_images(tmp_path, range(3), [(64, 64)])
    path = tmp_path / "images" / "white.png"
    Image.new("RGB", (64, 64), "white").save(path)
    white = pa.Table.from_pylist([row_of(tmp_path, path, 64, 64)], schema=MANIFEST.schema)
    manifest = MANIFEST.sorted(pa.concat_tables([manifest, white]))
    vae = make_vae()
    encode_all = vae.encode

    def overflow_on_white(images: torch.Tensor) -> object:
        output = encode_all(images)
        output.latent_dist.mean[images.amin(dim=(1, 2, 3)) == 1] = float("inf")
        return output

    vae.encode = overflow_on_white
    row = manifest.column("path").to_pylist().index("images/white.png")
    store = run(tmp_path, manifest, vae)
    assert store.problems == {row: "non-finite latent"}
    assert len(all_latents(store)) == 3


def test_an_interrupted_run_goes_on_to_the_same_index_and_latents(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for root in (whole, broken):
        manifest = make_images(root, range(140), [(64, 64), (96, 64)])
        files = [broken_image(root, number) for number in range(10)]
        manifest = MANIFEST.sorted(pa.concat_tables([manifest, *files]))
    undisturbed = run(whole, manifest, resolution=96)
    vae, calls = make_vae(), []
    encode_one = vae.encode

    def stop_at_the_sixth(images: torch.Tensor) -> object:
        calls.append(len(images))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return encode_one(images)

    vae.encode = stop_at_the_sixth
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latent_encoding, "BATCH_PIXELS", 96 * 64 * 16)
        with pytest.raises(KeyboardInterrupt):
            run(broken, manifest, vae, resolution=96)
    kept = latent_index.read(folder(broken)).num_rows
    assert 0 < kept < 150
    resumed = run(broken, manifest, resolution=96)
    assert resumed.encoded < 140
    assert len(resumed.problems) == 10
    assert_same_latents(undisturbed, resumed)
    assert index_bytes(whole) == index_bytes(broken)


def broken_image(root: Path, number: int) -> pa.Table:
    """A row of the manifest whose file is cut short."""
    path = root / "images" / f"broken{number}.jpg"
    Image.new("RGB", (64, 64), (number, 0, 0)).save(path)
    path.write_bytes(path.read_bytes()[:650])
    return pa.Table.from_pylist([row_of(root, path, 64, 64)], schema=MANIFEST.schema)


def index_bytes(root: Path) -> bytes:
    return (folder(root) / "index.parquet").read_bytes()


KILLED = """
import sys, time
from pathlib import Path
import torch
sys.path[:0] = {path!r}
from test_latents import *
torch.set_num_threads(1)

def hang(*_):
    print("now", flush=True)
    time.sleep(600)

root, moment = Path({root!r}), {moment!r}
manifest = make_images(root, range(150), [(64, 64)])
vae = make_vae()
if moment == "encoding":
    encode_one, calls = vae.encode, []
    vae.encode = lambda x: hang() if calls.append(1) or len(calls) > 1 else encode_one(x)
    latent_encoding.BATCH_PIXELS = 64 * 64 * 64
else:
    swap, calls = latent_index.swap, []
    latent_index.swap = lambda *a: hang() if calls.append(1) or len(calls) > 1 else swap(*a)
run(root, manifest, vae)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["encoding", "before the index is swapped"])
def test_a_killed_run_loses_one_shard_and_ends_as_an_undisturbed_one(tmp_path, moment):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    manifest = make_images(whole, range(150), [(64, 64)])
    undisturbed = run(whole, manifest)
    here = Path(__file__).parent
    script = KILLED.format(path=[str(here), str(here.parents[1])], root=str(broken), moment=moment)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"now"
        process.kill()
    assert latent_index.read(folder(broken)).num_rows == latent_index.SHARD_ROWS
    resumed = run(broken, manifest)
    assert resumed.encoded == 150 - latent_index.SHARD_ROWS
    assert_same_latents(undisturbed, resumed)
    assert index_bytes(whole) == index_bytes(broken)
    assert [path.name for path in shard_files(whole)] == [path.name for path in shard_files(broken)]


def test_thirty_small_additions_leave_few_files_and_right_latents(tmp_path):
    shapes, most = [(64, 64), (96, 64)], 0
    manifest = make_images(tmp_path, range(120), shapes)
    number = [int(Path(path).stem) for path in manifest.column("path").to_pylist()]
    for count in range(4, 124, 4):
        store = run(tmp_path, manifest.filter(pa.array([at < count for at in number])))
        assert store.encoded == 4
        most = max(most, len(shard_files(tmp_path)))
    assert most <= 2 * (1 + latent_index.PILE)
    elsewhere = tmp_path / "elsewhere"
    assert_same_latents(store, run(elsewhere, make_images(elsewhere, range(120), shapes)))


def test_merging_follows_from_the_index_alone(tmp_path):
    roots = [tmp_path / "one", tmp_path / "other"]
    for root in roots:
        for count in range(3, 24, 3):
            manifest = make_images(root, range(count), [(64, 64)])
            run(root, manifest)
    assert index_bytes(roots[0]) == index_bytes(roots[1])


def test_a_store_stays_readable_while_its_shards_are_merged_away(tmp_path):
    manifest = make_images(tmp_path, range(3), [(64, 64)])
    early = run(tmp_path, manifest)
    before = all_latents(early)
    old = shard_files(tmp_path)
    for count in range(6, 30, 3):
        run(tmp_path, make_images(tmp_path, range(count), [(64, 64)]))
    assert sys.platform == "win32" or not any(path.exists() for path in old)
    after = all_latents(early)
    assert all((before[row] == after[row]).all() for row in before)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_shards_are_mapped_and_hold_no_file_descriptor(tmp_path):
    store = run(tmp_path, make_images(tmp_path, range(3), [(64, 64)]))
    (path,) = shard_files(tmp_path)
    mapped = Path("/proc/self/maps").read_text()
    assert str(path) in mapped
    open_files = {str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.exists()}
    assert str(path) not in open_files
    assert store.read(np.array([0])).shape == (1, 4, 8, 8)


@pytest.mark.parametrize("length", [0, 5, 100, -100])
def test_a_truncated_or_removed_shard_is_encoded_again(tmp_path, length):
    manifest = make_images(tmp_path, range(6), [(64, 64), (96, 64)])
    first = all_latents(run(tmp_path, manifest))
    one, other = shard_files(tmp_path)
    one.write_bytes(one.read_bytes()[:length])
    other.unlink()
    assert wanted(manifest, tmp_path, make_recipe(), KEY) == 6
    store = run(tmp_path, manifest)
    assert store.encoded == 6
    assert all((first[row] == latent).all() for row, latent in all_latents(store).items())


def test_a_shard_of_other_images_is_not_taken_for_this_one(tmp_path):
    manifest = make_images(tmp_path, range(3), [(64, 64)])
    run(tmp_path, manifest)
    foreign = tmp_path / "foreign"
    run(foreign, make_images(foreign, range(3, 6), [(64, 64)]))
    shard_files(tmp_path)[0].write_bytes(shard_files(foreign)[0].read_bytes())
    assert run(tmp_path, manifest).encoded == 3


def test_a_latent_whose_bytes_have_turned_is_refused(tmp_path):
    manifest = make_images(tmp_path, range(1), [(64, 64)])
    run(tmp_path, manifest)
    (path,) = shard_files(tmp_path)
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))
    store = stored(manifest, tmp_path, make_recipe(), KEY)
    with pytest.raises(DataError) as caught:
        store.read(np.array([0]))
    assert str(caught.value) == f"{path} is damaged: remove it and run `prep latents` again"


def test_gc_frees_what_nothing_wants_and_nothing_else(tmp_path):
    manifest = make_images(tmp_path, range(20), [(64, 64), (96, 64)])
    store = run(tmp_path, manifest)
    kept = all_latents(store)
    (folder(tmp_path) / "64x64-feedbeef.safetensors").write_bytes(b"x" * 1000)
    (folder(tmp_path) / "index.parquet.0a.aside").write_bytes(b"x" * 500)
    (folder(tmp_path) / "notes.txt").write_text("mine")
    half = manifest.slice(0, 11)
    before = sum(path.stat().st_size for path in folder(tmp_path).iterdir())
    freed = gc(tmp_path, {KEY: keys(half, make_recipe())})
    assert freed == before - sum(path.stat().st_size for path in folder(tmp_path).iterdir())
    assert freed > 1500
    again = run(tmp_path, half)
    assert again.encoded == 0
    assert all((kept[row] == latent).all() for row, latent in all_latents(again).items())
    assert latent_index.read(folder(tmp_path)).num_rows == 11
    assert (folder(tmp_path) / "notes.txt").exists()
    assert gc(tmp_path, {KEY: keys(half, make_recipe())}) == 0


def test_gc_frees_the_latents_of_a_vae_that_is_no_longer_used(tmp_path):
    run(tmp_path, make_images(tmp_path, range(3)))
    (tmp_path / "latents" / "mine").mkdir()
    assert gc(tmp_path, {}) > 0
    assert [path.name for path in (tmp_path / "latents").iterdir()] == ["mine"]


def test_the_key_follows_the_vaes_bytes_and_not_its_path(tmp_path):
    make_vae().save_pretrained(tmp_path / "a")
    make_vae().save_pretrained(tmp_path / "b")
    make_vae(seed=1).save_pretrained(tmp_path / "c")
    config = (tmp_path / "b" / "config.json").read_text()
    other = config.replace('"_diffusers_version": "', '"_diffusers_version": "0.')
    assert other != config
    (tmp_path / "b" / "config.json").write_text(other)
    key, same, other = (vae_key(DiffusersVae(tmp_path / name)) for name in "abc")
    assert key == same != other


def test_a_folder_without_a_vae_is_named(tmp_path):
    with pytest.raises(ModelError) as caught:
        vae_key(DiffusersVae(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path} holds no VAE (config.json and diffusion_pytorch_model.safetensors):"
        " name a diffusers VAE folder"
    )


def test_a_vae_that_shrinks_otherwise_is_refused(tmp_path):
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4)
    with pytest.raises(ModelError) as caught:
        run(tmp_path, make_images(tmp_path, range(1), [(64, 64)]), vae)
    assert str(caught.value) == (
        "this VAE makes 64x64 latents of 64x64 pixels; one that shrinks 8 times is needed"
    )


def test_a_batch_that_does_not_fit_is_halved(tmp_path):
    manifest = make_images(tmp_path, range(9), [(64, 64)])
    vae, sizes = make_vae(), []
    encode_one = vae.encode

    def small_device(images: torch.Tensor) -> object:
        sizes.append(len(images))
        if len(images) > 3:
            raise torch.OutOfMemoryError
        return encode_one(images)

    vae.encode = small_device
    store = run(tmp_path, manifest, vae)
    assert sizes == [9, 4, 2, 2, 5, 2, 3]
    assert_same_latents(store, run(tmp_path, manifest))


def test_a_device_too_small_for_one_image_is_an_error(tmp_path):
    vae = make_vae()

    def no_memory(_: torch.Tensor) -> object:
        raise torch.OutOfMemoryError

    vae.encode = no_memory
    with pytest.raises(DeviceError) as caught:
        run(tmp_path, make_images(tmp_path, range(2), [(64, 64)]), vae)
    assert str(caught.value) == (
        "cpu has too little memory to encode 64x64 pixels:"
        " lower [latents] resolution, or free the device"
    )
    assert not (tmp_path / "latents").exists()


def test_an_empty_manifest_has_no_latents(tmp_path):
    store = run(tmp_path, MANIFEST.empty())
    assert store.buckets.shape == (0, 2)
    assert not store.problems


def test_a_file_that_is_a_folder_does_not_stop_the_others(tmp_path):
    manifest = make_images(tmp_path, range(3), [(64, 64)])
    path = tmp_path / manifest.column("path")[1].as_py()
    path.unlink()
    path.mkdir()
    store = run(tmp_path, manifest)
    assert store.encoded == 2
    assert list(store.problems) == [1]
    assert store.problems[1].startswith("cannot be read: ")


def test_the_vae_computes_in_fp32_without_tf32_and_leaves_the_settings_alone(tmp_path):
    vae, seen = make_vae().half(), []
    encode_one = vae.encode

    def look(images: torch.Tensor) -> object:
        cudnn = torch.backends.cudnn
        seen.append((cudnn.enabled, cudnn.allow_tf32, torch.get_float32_matmul_precision()))
        assert images.dtype == vae.dtype == torch.float32
        return encode_one(images)

    vae.encode = look
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    run(tmp_path, make_images(tmp_path, range(2), [(64, 64)]), vae)
    assert seen == [(True, False, "highest")]
    assert before == (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision())


def test_counting_what_is_wanted_does_not_load_torch(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from train.latents import wanted, vae_key, gc, stored;"
        "sys.exit('torch' in sys.modules)"
    )
    root = str(Path(__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", script, root], check=False).returncode == 0
