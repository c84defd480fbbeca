"""Thresholds fitted to the booru's tags: better on posts not fitted to, and kept until refit."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from prep.calibration import EVIDENCE, PRIOR, Known, f1, fit, in_force
from prep.captions.columns import Images
from prep.captions.post_tags import PostTags
from prep.captions.sources import from_booru, from_taggers
from prep.dataset import Dataset
from prep.demo.recipes import TAGGER
from prep.demo.world import World
from prep.probabilities import reads_of
from prep.tag import inputs, intact, tag
from schemas.errors import DatasetError
from schemas.recipes.load import PREP_FILE
from schemas.recipes.prep import TagSection
from schemas.tables import IMAGES, MEMBERS, POSTS, THRESHOLDS
from schemas.tags import CATEGORIES

RECIPE = """[sets]
main = {{ from = "pictures" }}
[tag]
taggers = ["{tagger}"]
{lines}
"""


def made(folder: Path, world: World, lines: str = "") -> Dataset:
    """A dataset of the world's still posts, as if just fetched."""
    (folder / "images").mkdir(parents=True)
    images, members, posts = [], [], []
    for id in world.ids:
        post = world.post(id)
        if post is None or post.hidden or post.is_copy or post.duration:
            continue
        file = world.file(post)
        path = f"images/{file.md5}.{post.file_ext}"
        (folder / path).write_bytes(world.bytes_of(post))
        images.append({"md5": file.md5, "path": path, "bytes": file.size, "width": 1, "height": 1})
        members.append({"set": "main", "md5": file.md5, "post_id": id})
        row: dict[str, Any] = {"id": id, "md5": file.md5, "file_ext": "jpg", "file_size": file.size}
        row |= {"width": 1, "height": 1, "score": 0, "fav_count": 0, "source": ""}
        row |= {"created_at": 0, "updated_at": 0, "is_deleted": False, "is_banned": False}
        posts.append(row | {name: list(post.by_category.get(name, ())) for name in CATEGORIES})
    (folder / PREP_FILE).write_text(RECIPE.format(tagger=TAGGER.as_posix(), lines=lines))
    dataset = Dataset.open(folder)
    dataset.images.append(pa.Table.from_pylist(images, IMAGES.schema))
    dataset.posts.append(pa.Table.from_pylist(posts, POSTS.schema))
    MEMBERS.write(dataset.path_of(MEMBERS), pa.Table.from_pylist(members, MEMBERS.schema))
    return dataset


NAMES = 3  # tags of the cases below


def known(*images: dict[int, float], there: list[set[int]]) -> Known:
    """Images, each its tags' probabilities, and the tags that the booru has on it."""
    flat = [(n, tag, p) for n, image in enumerate(images) for tag, p in image.items()]
    has = [(n, tag) for n, tags in enumerate(there) for tag in sorted(tags)]
    return Known(
        np.array([n for n, _, _ in flat], np.int64),
        np.array([tag for _, tag, _ in flat], np.int64),
        np.array([p for _, _, p in flat], np.float64),
        np.array([tag in there[n] for n, tag, _ in flat], bool),
        np.array([n for n, _ in has], np.int64),
        np.array([tag for _, tag in has], np.int64),
    )


def test_a_threshold_moves_to_where_a_tag_is_told_best_the_more_posts_the_nearer() -> None:
    usual = np.array([0.35, 0.35, 0.85])
    distances = []
    for count in (EVIDENCE - 1, EVIDENCE, 4 * EVIDENCE, 400):
        one = known(*[{0: 0.2, 1: 0.6}] * count, *[{0: 0.1, 1: 0.5}] * count,
                    there=[{0, 1}] * count + [set()] * count)  # fmt: skip
        low, high, other = fit(one, usual)
        assert other == usual[2]  # no image has it
        assert 0.15 <= low <= usual[0]
        assert usual[1] <= high <= 0.55
        distances.append((low - 0.15, 0.55 - high))
    few, *some, many = distances
    assert few == (pytest.approx(0.2), pytest.approx(0.2))
    assert sorted(distances, reverse=True) == distances
    assert max(many) < 0.02
    assert pytest.approx(some[0][0], abs=0.01) == PRIOR / (PRIOR + EVIDENCE) * 0.2


def test_posts_whose_probability_was_not_kept_count_as_missed() -> None:
    usual = np.full(NAMES, 0.9)
    seen = known(*[{0: 0.5}] * 40, *[{0: 0.3}] * 40, there=[{0}] * 40 + [set()] * 40)
    unseen = known(*[{0: 0.5}] * 40, *[{}] * 400, there=[{0}] * 440)
    assert fit(seen, usual)[0] > 0.4
    assert fit(unseen, usual)[0] < 0.4  # whatever finds more of them is better


def test_f1_of_a_tag_that_is_neither_there_nor_said_is_nothing() -> None:
    assert f1(np.array([[2, 0, 0], [2, 1, 0], [4, 0, 0]])).tolist() == [2 / 3, 0, 0]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few posts of the demo's world, tagged."""
    dataset = made(tmp_path_factory.mktemp("calibration") / "set", World(60, 0, 64))
    tag(dataset)
    return dataset.root


def test_a_fit_is_kept_until_refit_and_counts_where_the_recipe_says_so(root: Path) -> None:
    dataset = Dataset.open(root)
    before = inputs(dataset)
    assert not dataset.path_of(THRESHOLDS).exists()
    first = tag(dataset, calibrate=True)
    assert inputs(dataset) == before == first.inputs
    table = dataset.table(THRESHOLDS)
    assert table.num_rows > 10
    assert min(table["posts"].to_pylist()) >= EVIDENCE
    own = table["tag"].to_pylist()[0]
    assert in_force(dataset).threshold == {}
    used = Dataset.open(root, ["tag.calibrated=true", f"tag.threshold.'{own}'=0.5"])
    assert inputs(used) != before
    fitted = dict(zip(table["tag"].to_pylist(), table["threshold"].to_pylist(), strict=True))
    assert in_force(used).threshold == {**fitted, own: 0.5}

    changed = table.set_column(4, "threshold", pa.array([0.5] * table.num_rows, pa.float32()))
    THRESHOLDS.write(dataset.path_of(THRESHOLDS), changed)
    kept = tag(used)
    assert kept.fitted == first.fitted
    assert set(used.table(THRESHOLDS)["threshold"].to_pylist()) == {0.5}
    anew = tag(used, refit=True)
    assert used.table(THRESHOLDS).equals(table)
    assert anew.output != kept.output  # so that captions are made anew
    assert tag(Dataset.open(root)).fitted == first.fitted


def test_a_fit_to_other_terms_or_one_that_is_gone_is_made_anew(root: Path) -> None:
    used = Dataset.open(root, ["tag.calibrated=true"])
    tag(used)
    assert intact(used)
    before = used.table(THRESHOLDS)
    used.path_of(THRESHOLDS).unlink()
    assert not intact(used)
    assert intact(Dataset.open(root))
    tag(used)
    assert used.table(THRESHOLDS).equals(before)
    other = Dataset.open(root, ["tag.calibrated=true", "tag.combine=max"])
    assert inputs(other) != inputs(used)
    assert tag(other).fitted != tag(used).fitted


def test_without_posts_there_is_nothing_to_fit_to(tmp_path: Path) -> None:
    dataset = made(tmp_path / "set", World(0, 0, 64), "calibrated = true")
    with pytest.raises(DatasetError) as caught:
        tag(dataset)
    assert str(caught.value) == (
        f"{dataset.root}: no tagged image has a post to fit thresholds to: "
        "leave `calibrated` out of [tag]"
    )


def f1_of(dataset: Dataset, options: TagSection, tags: set[str]) -> tuple[float, float]:
    """F1 over all of these tags together, and its mean over them, by the booru's own tags."""
    rows = dataset.table(MEMBERS)
    md5s, count = rows["md5"].to_pylist(), rows.num_rows
    ids = rows["post_id"].to_numpy()
    images = Images.of_posts(["main"] * count, md5s, ids)
    right, wanted = Counter[str](), Counter[str]()
    both = (
        from_booru(images, PostTags.of([dataset.posts.read()])),
        from_taggers(reads_of(dataset, md5s), options),
    )
    there, said = ({(int(n), one.names[code]) for n, code in zip(one.image, one.tag, strict=True)}
                   for one in both)  # fmt: skip
    right.update(name for _, name in there & said if name in tags)
    wanted.update(name for _, name in [*there, *said] if name in tags)
    each = [2 * right[name] / wanted[name] for name in wanted]
    return 2 * right.total() / wanted.total(), float(np.mean(each))


@pytest.mark.slow
def test_fitted_thresholds_beat_the_defaults_on_posts_they_were_not_fitted_to(
    tmp_path: Path,
) -> None:
    learnt, other = (made(tmp_path / f"{seed}", World(400, seed, 160)) for seed in (0, 1))
    tag(learnt, calibrate=True)
    tag(other)
    fitted = in_force(Dataset.open(learnt.root, ["tag.calibrated=true"]))
    tags = set(fitted.threshold)
    assert len(tags) > 150
    for usual, better in zip(
        f1_of(other, other.recipe.tag, tags), f1_of(other, fitted, tags), strict=True
    ):
        assert better > usual
