"""What would change, which rule does it, and that nothing but the report is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from prep.caption import caption
from prep.cli import app
from prep.dataset import Dataset
from prep.diff import told
from prep.diff.diff import Diff, diff
from prep.edits import edit as edits
from prep.edits.edit import Wanted
from schemas.command import run
from schemas.tables import CAPTION_DIFF, CAPTIONS, GROUPS, IMPORTED, POSTS

A, B, C, D, REG = (f"{n:032x}" for n in range(5))
Files = Callable[[Path], dict[str, bytes]]


def found(root: Path, *changes: str, refit: bool = False) -> Diff:
    return diff(Dataset.open(root, changes), refit=refit)


def made(root: Path, *changes: str) -> None:
    caption(Dataset.open(root, changes))


def said(result: Diff) -> list[tuple[str, str, str, int, str]]:
    """rule, sign, what is said, images, line of prep.toml."""
    return [
        (one.rule, told.SIGNS.get(one.change, "→"), told.change_of(one), one.images, one.why)
        for one in result.groups
    ]


def edited(root: Path, query: str, **wanted: Any) -> None:
    edits.edit(root, query, Wanted(**wanted), command="")


def test_nothing_changes_where_nothing_was_changed(root: Path) -> None:
    result = found(root)
    assert (result.images, result.stored, result.changed) == (5, 5, 0)
    assert (result.recipe, result.groups, result.coming) == ([], [], {})
    assert told.summary(result) == "Nothing would change: 5 images would keep their captions."
    assert CAPTION_DIFF.read(result.path).num_rows == 0


def test_a_threshold_takes_tags_away_and_its_line_is_named(root: Path) -> None:
    result = found(root, "tag.general=0.5")
    line = "tag.general = 0.5"
    assert said(result) == [("source", "-", "long hair (tagger)", 1, line)]
    assert told.recipe_lines(result.recipe or ()) == ["tag.general = 0.5 (was 0.35)"]
    assert result.groups[0].first == [A]
    assert told.summary(result) == "Of 5 captions 1 would change."


def test_a_threshold_of_a_tags_own_is_the_line(root: Path) -> None:
    threshold = 'tag.threshold={ smile = 0.25, "azusa (x)" = 0.95 }'
    assert said(found(root, "tag.general=0.5", threshold)) == [
        ("source", "+", "smile (tagger)", 1, "tag.threshold.smile = 0.25"),
        ("source", "-", "azusa (x) (tagger)", 1, 'tag.threshold."azusa (x)" = 0.95'),
        ("source", "-", "long hair (tagger)", 1, "tag.general = 0.5"),
    ]


def test_what_is_dropped_names_list_or_pattern(root: Path) -> None:
    drop = "caption.drop={ tags = ['hat'], patterns = ['*_hair'], categories = ['character'] }"
    result = found(root, drop)
    assert said(result) == [
        ("drop", "-", "hat", 2, "caption.drop.tags"),
        ("drop", "-", "long hair", 2, 'caption.drop.patterns "*_hair"'),
        ("drop", "+", "me", 1, 'caption.drop.categories "artist"'),
        ("drop", "-", "azusa (x)", 1, 'caption.drop.categories "character"'),
    ]


def test_what_was_dropped_comes_back_by_the_rule_that_drops_it_no_more(root: Path) -> None:
    made(root, "caption.drop.tags=['hat', 'tree']")
    result = found(root, "caption.drop.tags=['tree']")
    assert said(result) == [("drop", "+", "hat", 2, "caption.drop.tags")]
    assert told.recipe_lines(result.recipe or ()) == ['caption.drop.tags -= "hat"']


def test_what_nothing_implies_any_more_comes_back_by_that_rule(root: Path) -> None:
    assert said(found(root, "caption.drop.tags=['witch_hat']")) == [
        ("drop", "-", "witch hat", 1, "caption.drop.tags"),
        ("implied", "+", "hat", 1, "the site's implications"),
    ]


def test_a_new_name_is_a_rename_there_and_back(root: Path) -> None:
    line = 'caption.rename."long hair"'
    rename = "caption.rename={ 'long hair' = 'lh' }"
    assert said(found(root, rename)) == [("rename", "→", "long hair is called lh", 2, line)]
    made(root, rename)
    result = found(root)
    assert said(result) == [("rename", "→", "lh is called long hair", 2, line)]
    assert told.recipe_lines(result.recipe or ()) == [f'{line} is gone (was "lh")']


def test_a_renamed_tag_that_sources_lose_is_lost_by_sources(root: Path) -> None:
    rename = "caption.rename={ 'long hair' = 'lh' }"
    made(root, rename)
    assert said(found(root, rename, "tag.general=0.5")) == [
        ("source", "-", "lh (tagger)", 1, "tag.general = 0.5")
    ]
    assert said(found(root, "caption.drop.tags=['long hair']")) == [
        ("drop", "-", "lh", 2, "caption.drop.tags")
    ]


def test_an_alias_that_the_site_has_now_is_a_rename(root: Path) -> None:
    made(root, "caption.rules=['source','drop','edits','render']")
    rules = "caption.rules=['source','aliases','drop','edits','render']"
    assert said(found(root, rules)) == [
        ("aliases", "→", "topper is called top hat", 1, "the site's aliases")
    ]


def test_trigger_collapse_and_quality(root: Path) -> None:
    changes = (
        "caption.trigger=My_Char", "caption.collapse={ tags = ['tree'] }",
        "caption.quality={ good = 18 }",
    )  # fmt: skip
    result = found(root, *changes)
    assert said(result) == [
        ("trigger", "+", "my char", 4, "caption.trigger"),
        ("collapse", "-", "tree", 2, 'caption.collapse.tags += "tree"'),
        ("quality", "+", "good", 2, "caption.quality.good"),
    ]
    made(root, *changes)
    assert said(found(root)) == [
        ("trigger", "-", "my char", 4, "caption.trigger"),
        ("collapse", "+", "tree", 2, 'caption.collapse.tags -= "tree"'),
        ("quality", "-", "good", 2, "caption.quality.good"),
    ]


def test_only_what_goes_elsewhere_moves(root: Path) -> None:
    made(root, "caption.render.order=['general','character']")
    result = found(root, "caption.render.order=['character','general']")
    line = "caption.render.order"
    assert said(result) == [("order", "↕", "azusa (x) moves", 1, line)]
    lines = told.recipe_lines(result.recipe or ())
    assert lines == [f'{line} = ["character", "general"] (was ["general", "character"])']


def test_parts_and_spelling(root: Path) -> None:
    result = found(root, "caption.render.keep=['character']", "caption.render.escape=true")
    assert said(result) == [
        ("render", "→", "azusa (x) is head now", 1, "caption.render.keep, caption.render.tail"),
        ("render", "→", "azusa (x) is written azusa \\(x\\)", 1, "caption.render.escape"),
    ]


def test_a_fixed_beginning_is_told_by_the_rule_that_renders(root: Path) -> None:
    line = "caption.render.prefix, caption.render.suffix"
    assert said(found(root, "caption.render.prefix=['sketch']")) == [
        ("render", "+", "sketch", 5, line)
    ]
    made(root, "caption.render.prefix=['sketch']")
    assert said(found(root)) == [("render", "-", "sketch", 5, line)]


def test_edits_are_told_and_so_is_their_end(root: Path) -> None:
    edited(root, "tree", add=["grass"], remove=["smile"])
    edited(root, "red_eyes", caption="eyes, tree")
    assert said(found(root)) == [
        ("edits", "+", "grass", 2, ""),
        ("edits", "-", "smile", 2, ""),
        ("edits", "+", "eyes", 1, ""),
        ("edits", "+", "tree", 1, ""),
        ("edits", "-", "red eyes", 1, ""),
    ]
    made(root)
    edits.undo(root, 2, command="")
    assert said(found(root)) == [
        ("edits", "+", "smile", 2, ""),
        ("edits", "-", "grass", 2, ""),
        ("edits", "+", "red eyes", 1, ""),
        ("edits", "-", "eyes", 1, ""),
        ("edits", "-", "tree", 1, ""),
    ]


def test_images_come_and_leave(root: Path) -> None:
    edited(root, "red_eyes", exclude=True)
    dataset = Dataset.open(root)
    groups = dataset.table(GROUPS).to_pylist()
    for row in groups:
        if row["md5"] == A:
            row.update(keeper=B, by="phash", distance=2)
    GROUPS.write(dataset.path_of(GROUPS), pa.Table.from_pylist(groups, schema=GROUPS.schema))
    result = found(root)
    assert result.coming == {("image left", "dedup"): 1, ("image left", "edits"): 1}
    assert told.summary(result) == (
        "Of 5 captions 0 would change."
        " 2 images would leave: 1 another stands for it, 1 excluded by an edit."
    )
    rows = CAPTION_DIFF.read(result.path).to_pylist()
    assert [(one["md5"], one["rule"], one["now"]) for one in rows] == [
        (A, "dedup", B), (D, "edits", ""),
    ]  # fmt: skip
    made(root)
    for row in groups:
        if row["md5"] in (A, B):
            row.update(keeper=A, by="itself" if row["md5"] == A else "phash")
    GROUPS.write(dataset.path_of(GROUPS), pa.Table.from_pylist(groups, schema=GROUPS.schema))
    edits.undo(root, 1, command="")
    assert found(root).coming == {
        ("image left", "dedup"): 1, ("image came", "dedup"): 1, ("image came", "edits"): 1,
    }  # fmt: skip


def test_a_set_that_is_gone_takes_its_images(root: Path) -> None:
    groups = Dataset.open(root).table(GROUPS)
    left = groups.filter(pc.equal(groups["set"], "main"))
    GROUPS.write(Dataset.open(root).path_of(GROUPS), left)
    assert found(root).coming == {("image left", "fetch"): 1}


def test_before_the_first_captions_they_are_shown(
    root: Path, files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("captions.parquet", "captions.made_by.json", "caption.seal.json"):
        (root / "tables" / file).unlink()
    before = files(root)
    monkeypatch.setenv("COLUMNS", "80")
    assert run(app, ["caption", str(root), "--diff"]) == 0
    shown = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "There are no captions yet: 5 images would get one.",
        "",
        "000000000000  hat, smile, tree, long hair",
        "000000000000  azusa (x), smile, witch hat, long hair",
        "000000000000  tree, top hat",
        "000000000000  red eyes, smile",
        "000000000000  hat, 1girl",
        "",
        "To read: reports/caption_diff.html and reports/caption_diff.parquet."
        " Nothing else is written: `prep caption` does it.",
    ]
    assert files(root) == before


FOUND = "caption.trigger=azusa", "caption.collapse={ tags = 'found', share = 0.5 }"


def test_found_features_are_shown_before_they_are_kept(root: Path, files: Files) -> None:
    before = files(root)
    result = found(root, *FOUND)
    assert [(one.tag, one.share, one.images, told.note_of(one)) for one in result.features] == [
        ("long_hair", 1.0, 2, "new"), ("hat", 0.5, 2, "new"), ("tree", 0.5, 2, "new"),
    ]  # fmt: skip
    assert files(root) == before


def test_refit_shows_what_refitting_would_change(root: Path, files: Files) -> None:
    made(root, *FOUND)
    posts = Dataset.open(root).posts
    row = posts.read().slice(0, 1).to_pylist()[0]
    row["general"] = ["smile", "red_eyes", "hat"]  # and no longer a tree
    posts.append(pa.Table.from_pylist([row], schema=POSTS.schema))
    posts.fold()
    made(root, *FOUND)
    before = files(root)
    assert not found(root, *FOUND).groups
    result = found(root, *FOUND, refit=True)
    assert [(one.tag, told.note_of(one)) for one in result.features] == [
        ("long_hair", ""), ("red_eyes", "new"), ("hat", ""), ("tree", "no longer"),
    ]  # fmt: skip
    assert said(result) == [
        ("collapse", "-", "red eyes", 2, "caption.collapse.tags"),
        ("collapse", "+", "tree", 1, "caption.collapse.tags"),
    ]
    assert files(root) == before


@pytest.mark.parametrize("refit", [False, True])
def test_nothing_but_the_report_is_written(root: Path, files: Files, refit: bool) -> None:
    made(root, *FOUND)
    edited(root, "tree", add=["grass"])
    before = files(root)
    reports = {path.name for path in (root / "reports").iterdir()}
    changes = [f"--set={one}" for one in (*FOUND, "tag.general=0.5", "caption.drop.tags=['hat']")]
    arguments = ["caption", str(root), "--diff", *changes, *(["--refit"] if refit else [])]
    assert run(app, arguments) == 0
    assert files(root) == before
    assert {path.name for path in (root / "reports").iterdir()} - reports == {
        "caption_diff.html", "caption_diff.parquet",
    }  # fmt: skip


def test_captions_of_an_earlier_version_are_compared_all_the_same(root: Path) -> None:
    (root / "tables" / "captions.made_by.json").unlink()
    result = found(root, "tag.general=0.5")
    assert result.recipe is None
    assert said(result) == [("source", "-", "long hair (tagger)", 1, "")]


def test_what_is_no_table_of_captions_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Dataset.open(root).path_of(CAPTIONS)
    path.write_bytes(b"none")
    assert run(app, ["caption", str(root), "--diff"]) == 1
    error = f"prep: {path} is no table of captions: `prep caption` makes it anew\n"
    assert error in capsys.readouterr().err


def test_what_captions_need_is_asked_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "tables" / "tag.seal.json").unlink()
    assert run(app, ["caption", str(root), "--diff"]) == 2
    assert capsys.readouterr().err.endswith(
        f"prep: {root}: caption needs what `prep tag` makes:"
        " run that first, or `prep run` for all that is wanted\n"
    )


def test_images_that_leave_between_others_are_passed_over_in_any_block(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make([{"general": ["hat"]}] * 7, [{}] * 7)
    made(root)
    groups = Dataset.open(root).table(GROUPS)
    left = groups.filter(pc.not_equal(groups["md5"], f"{5:032x}"))
    GROUPS.write(Dataset.open(root).path_of(GROUPS), left)
    monkeypatch.setattr("prep.caption_sources.BLOCK", 2)
    result = found(root, "caption.trigger=azusa")
    assert result.coming == {("image left", "fetch"): 1}
    assert said(result) == [("trigger", "+", "azusa", 6, "caption.trigger")]


def test_a_score_takes_images_out_and_lets_them_in_again(root: Path) -> None:
    result = found(root, "caption.drop.below=10")
    assert result.coming == {("image left", "drop"): 3}
    assert told.summary(result) == (
        "Of 5 captions 0 would change. 3 images would leave: 3 below the score."
    )
    made(root, "caption.drop.below=10")
    assert found(root).coming == {("image came", "drop"): 3}


def test_year_and_rating_words_are_told_by_their_rules(root: Path) -> None:
    rating = "caption.rating={ g = 'safe' }"
    assert said(found(root, rating)) == [("rating", "+", "safe", 5, "caption.rating")]


def test_a_sentence_is_told_by_the_rule_that_renders(root: Path) -> None:
    dataset = Dataset.open(root)
    beside = {
        "set": "main", "md5": D, "file": "d.png", "tags": [], "categories": [], "post_id": 0,
        "sentence": "She smiles, (at last).", "gone": False,
    }  # fmt: skip
    IMPORTED.write(
        dataset.path_of(IMPORTED), pa.Table.from_pylist([beside], schema=IMPORTED.schema)
    )
    key = "caption.render.sentence"
    told_now = said(found(root, f"{key}=after"))
    assert told_now == [("render", "+", "She smiles, (at last).", 1, key)]
    made(root, f"{key}=after")
    assert said(found(root)) == [("render", "-", "She smiles, (at last).", 1, key)]
