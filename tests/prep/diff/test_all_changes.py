"""Whatever recipe follows whichever: what is told is what changes, no more and no less."""

import contextlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prep.caption import caption
from prep.dataset import Dataset
from prep.diff.diff import diff
from prep.edits import edit as edits
from prep.edits.edit import Wanted
from schemas.errors import DatasetError
from schemas.tables import CAPTION_DIFF, CAPTIONS

IMAGES = 12
TAGS = ("hat", "witch_hat", "straw_hat", "long_hair", "very_long_hair", "smile", "tree", "topper")
SEEN = ("hat", "witch_hat", "long_hair", "smile", "tree", "azusa_(x)")
names = st.sampled_from(("hat", "witch hat", "long hair", "smile", "tree", "top hat", "azusa (x)"))
one_of = st.sampled_from
recipes = st.fixed_dictionaries(
    {
        "tag.general": one_of((0.2, 0.35, 0.6)),
        "caption.source": one_of(("union", "booru", "taggers", "intersection", "booru-first")),
        "caption.few": one_of((1, 4)),
        "caption.trigger": one_of(("azusa", "My_Char")),
        "caption.drop.tags": st.lists(names, max_size=2, unique=True),
        "caption.drop.patterns": one_of(([], ["*_hat"])),
        "caption.collapse.tags": st.one_of(
            st.just("found"), st.lists(names, max_size=2, unique=True)
        ),
        "caption.collapse.share": one_of((0.3, 0.6)),
        "caption.rename": st.dictionaries(names, one_of(("x", "hat", "lh")), max_size=2),
        "caption.quality": one_of(({}, {"good": 5}, {"good": 8, "best": 2})),
        "caption.render.keep": one_of((["trigger"], ["trigger", "character"])),
        "caption.render.order": one_of((["trigger", "general"], ["general", "character"])),
        "caption.render.escape": st.booleans(),
        "caption.rules": one_of(
            (
                ["source", "aliases", "drop", "trigger", "collapse", "edits", "rename", "implied",
                 "quality", "order", "render"],
                ["source", "rename", "trigger", "edits", "implied", "drop", "render"],
            )
        ),
    }
)  # fmt: skip
wanted = st.lists(
    st.one_of(
        st.builds(lambda tag: Wanted(add=(tag,)), names),
        st.builds(lambda tag: Wanted(remove=(tag,)), names),
        st.builds(lambda old, new: Wanted(replace=((old, new),)), names, names),
        st.builds(lambda tag: Wanted(caption=f"{tag}, own"), names),
        st.just(Wanted(exclude=True)),
    ),
    max_size=2,
)
Row = dict[str, Any]


def changes(recipe: dict[str, Any]) -> list[str]:
    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k!r} = {text(v)}" for k, v in value.items()) + "}"
        return str(value).lower() if isinstance(value, bool) else repr(value)

    return [f"{key}={text(value)}" for key, value in recipe.items()]


def stored(root: Path) -> dict[str, list[Row]]:
    return {row["md5"]: row["tags"] for row in Dataset.open(root).table(CAPTIONS).to_pylist()}


@pytest.fixture
def world(make: Callable[..., Path]) -> Path:
    chance = random.Random(5)
    posts = [
        {"general": chance.sample(TAGS, chance.randrange(6)), "score": chance.randrange(12)}
        for _ in range(IMAGES)
    ]
    seen = [{tag: round(chance.random(), 2) for tag in SEEN} for _ in range(IMAGES)]
    return make(posts, seen, reg=(3, 7))


def edit(root: Path, asked: list[Wanted]) -> None:
    for one in asked:
        with contextlib.suppress(DatasetError):  # there is nothing to change
            edits.edit(root, "tree" if one.exclude else "smile", one, command="")


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(recipes, recipes, wanted, wanted, st.booleans())
def test_the_changes_told_make_the_captions_then_of_those_now(
    world: Path,
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, Any],
    second: dict[str, Any],
    earlier: list[Wanted],
    later: list[Wanted],
    undone: bool,
) -> None:
    root = tmp_path_factory.mktemp("w") / "dataset"
    shutil.copytree(world, root)
    caption(Dataset.open(root, changes(first)))
    edit(root, earlier)
    caption(Dataset.open(root, changes(first)))
    edit(root, later)
    if undone and (root / "edits.jsonl").exists():
        edits.undo(root, 1, command="")
    before = stored(root)
    told = CAPTION_DIFF.read(diff(Dataset.open(root, changes(second))).path).to_pylist()
    caption(Dataset.open(root, changes(second)))
    after = stored(root)
    assert {row["md5"] for row in told if row["change"] == "image left"} == before.keys() - after
    assert {row["md5"] for row in told if row["change"] == "image came"} == after.keys() - before
    for md5 in before.keys() & after.keys():
        of_it = [row for row in told if row["md5"] == md5]
        check(of_it, before[md5], after[md5])


def check(told: list[Row], before: list[Row], after: list[Row]) -> None:
    """What is told of an image makes one caption of the other."""
    then = {tag["tag"]: tag for tag in before}
    now = {tag["tag"]: tag for tag in after}
    names = set(then)
    for row in told:
        if row["change"] in ("removed", "renamed"):
            names.remove(row["tag"])
    for row in told:
        if row["change"] == "added":
            assert row["tag"] not in then
            names.add(row["tag"])
        elif row["change"] == "renamed":
            names.add(row["now"])
    assert names == set(now)
    both = [tag for tag in then if tag in now]
    for kind, field in (("part", "part"), ("spelt", "text"), ("category", "category")):
        assert {(row["tag"], row["now"]) for row in told if row["change"] == kind} == {
            (tag, now[tag][field]) for tag in both if now[tag][field] != then[tag][field]
        }
    stays = [tag for tag in both if now[tag]["part"] == then[tag]["part"]]
    moves = {row["tag"] for row in told if row["change"] == "moved"}
    assert bool(moves) == (stays != [tag for tag in now if tag in stays])
    assert moves <= set(stays)


@pytest.mark.slow
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(recipes, recipes, wanted, st.integers(1, IMAGES))
def test_captions_and_changes_are_the_same_whatever_the_size_of_a_block(
    world: Path,
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, Any],
    second: dict[str, Any],
    asked: list[Wanted],
    size: int,
) -> None:
    root = tmp_path_factory.mktemp("w") / "dataset"
    shutil.copytree(world, root)
    caption(Dataset.open(root, changes(first)))
    edit(root, asked)
    made = []
    for block in (size, IMAGES):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("prep.caption_sources.BLOCK", block)
            told = diff(Dataset.open(root, changes(second)))
            rows = CAPTION_DIFF.read(told.path)
            counted = [(one.rule, one.change, one.tag, one.images) for one in told.groups]
            other = root.with_name(f"of {len(made)}")
            shutil.copytree(root, other)
            caption(Dataset.open(other, changes(second)))
            made.append((rows, counted, told.by_rule, Dataset.open(other).table(CAPTIONS)))
    assert made[0] == made[1]
