"""`prep edit` as a person meets it: what a query finds, an editor, what was edited elsewhere."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from prep import chain
from prep.cli import app
from prep.dataset import Dataset
from prep.edits.journal import read
from schemas.command import run as run_command
from schemas.tables import CAPTIONS, MANIFEST

TEXTS = {"a": "hat, solo", "b": "hat, dog, solo", "c": "dog, looking at viewer"}
RECIPE = """
[sets]
main = { from = "pictures" }
[tag]
taggers = ["nowhere"]
[caption]
source = "booru"
trigger = "azusa"
[caption.rename]
"looking at viewer" = "lav"
"""

Prep = Callable[..., tuple[int, str, str]]


@pytest.fixture
def prep(capfd: pytest.CaptureFixture[str]) -> Prep:
    """`prep("edit", ...)`: exit status, stdout, last line of stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        status = run_command(app, [str(word) for word in words])
        out, err = capfd.readouterr()
        return status, out, (err.splitlines() or [""])[-1]

    return call


STEPS = [step for step in chain.STEPS if step.name != "tag"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures with captions beside them, through the chain but for a tagger."""
    folder = tmp_path / "set"
    (folder / "pictures").mkdir(parents=True)
    (folder / "prep.toml").write_text(RECIPE)
    for number, (name, text) in enumerate(TEXTS.items()):
        picture = Image.linear_gradient("L").rotate(40 * number).resize((40 + 9 * number, 50))
        picture.save(folder / "pictures" / f"{name}.png")
        (folder / "pictures" / f"{name}.txt").write_text(text)
    make(folder)
    monkeypatch.chdir(folder)
    return folder


def make(folder: Path) -> None:
    chain.run(Dataset.open(folder), STEPS)


def captions(folder: Path) -> list[str]:
    make(folder)
    return sorted(row["caption"] for row in Dataset.open(folder).table(CAPTIONS).to_pylist())


BEFORE = ["azusa, dog, lav", "azusa, hat, dog, solo", "azusa, hat, solo"]


def test_a_query_is_edited_shown_first_undone_and_done_again(prep: Prep, root: Path) -> None:
    assert captions(root) == BEFORE
    words = ("edit", "hat -dog", "--add", "red hat, cat", "--remove", "hat")
    status, out, _ = prep(*words, "--dry-run")
    assert status == 0
    assert out.splitlines()[:3] == [
        "1 image found", "1 image: remove hat", "1 image: add red_hat, cat",
    ]  # fmt: skip
    assert out.splitlines()[-1] == "nothing is written yet: say it again without --dry-run"
    assert not (root / "edits.jsonl").exists()
    assert prep(*words)[0] == 0
    after = ["azusa, dog, lav", "azusa, hat, dog, solo", "azusa, solo, red hat, cat"]
    assert captions(root) == after
    (entry,) = read(root).entries
    assert entry.command == "'hat -dog' --add 'red hat, cat' --remove hat"
    assert prep("edit", "--undo")[1] == f"undone: edit 1, {entry.command}\n"
    assert captions(root) == BEFORE
    assert prep("edit", "--redo", "1", ".")[1] == f"done again: edit 1, {entry.command}\n"
    assert captions(root) == after
    rows = Dataset.open(root).table(CAPTIONS).to_pylist()
    sources = {tag["tag"]: (tag["source"], tag["rules"]) for row in rows for tag in row["tags"]}
    assert sources["red_hat"] == ("person", ["edits"])
    assert sources["azusa"] == ("rule", ["trigger"])
    status, out, _ = prep("edit", "--log")
    starts = [line[:4].strip() for line in out.splitlines()]
    assert (status, [start for start in starts if start]) == (0, ["edit", "1", "2", "3"])


def test_a_whole_caption_stands_word_for_word_and_an_image_leaves_its_set(
    prep: Prep, root: Path
) -> None:
    prep("edit", "dog -hat", "--caption", "One Girl, azusa ||| hat, looking at viewer ||| dog")
    prep("edit", "solo dog", "--exclude", "--reason", "cut off")
    assert captions(root) == ["azusa, hat, solo", "one girl, azusa, hat, looking at viewer, dog"]
    rows = Dataset.open(root).table(CAPTIONS).to_pylist()
    (row,) = [row for row in rows if len(row["tags"]) == 5]
    assert [tag["part"] for tag in row["tags"]] == ["head", "head", "flex", "flex", "tail"]
    drops = prep("status", "--json")[1]
    assert {stage["name"]: stage["dropped"] for stage in json.loads(drops)["stages"]}[
        "caption"
    ] == {"excluded by an edit": 1}
    prep("edit", "", "--include")
    assert "azusa, hat, dog, solo" in captions(root)


def test_an_edit_that_finds_nothing_any_more_is_reported(prep: Prep, root: Path) -> None:
    prep("edit", "hat dog", "--remove", "dog")
    (root / "pictures" / "b.txt").write_text("hat")
    make(root)
    (line,) = (root / "reports" / "edit_conflicts.jsonl").read_text().splitlines()
    assert {**json.loads(line), "md5": ""} == {
        "edit": 1, "set": "main", "md5": "", "tag": "dog", "why": "the tag is not there",
    }  # fmt: skip
    assert "stands, 1 gone" in prep("edit", "--log")[1]
    (root / "pictures" / "b.txt").write_text("hat, dog, cat")
    assert "azusa, hat, cat" in captions(root)
    assert (root / "reports" / "edit_conflicts.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("bear", "--add", "x"), 'prep: .: no image has a caption that "bear" finds'),
        (
            ("hat", "--remove", "lion"),
            "prep: .: of the 2 images that the query finds none has lion:"
            " there is nothing to change",
        ),
        (
            ("hat", "--set", "a", "--add", "b"),
            "prep: --set, --caption, --exclude and --include each stand alone:"
            " give one of them, or any of --add, --remove and --replace",
        ),
        (("hat", "--undo", "--add", "b"), "prep: --undo, --redo and --log each stand alone"),
        (("--undo",), "prep: .: there is no edit to undo"),
        (("--redo",), "prep: .: nothing was undone since the last edit"),
        (
            ("--from", "nowhere"),
            "prep: nowhere is not there: --from takes a file or a folder of captions",
        ),
        (
            ("hat", "--caption", "a ||| b ||| c ||| d"),
            'prep: a caption has at most a head, a middle and a tail: "|||" stands twice',
        ),
    ],
)
def test_mistakes_are_told_and_change_nothing(
    prep: Prep, root: Path, words: tuple[str, ...], told: str
) -> None:
    status, _, error = prep("edit", *words)
    assert (status, error) == (2, told)
    assert not (root / "edits.jsonl").exists()


EDITOR = """
import sys
path = sys.argv[-1]
lines = open(path, encoding="utf-8").read().splitlines()
open(path, "w", encoding="utf-8").write("\\n".join({} for line in lines) + "\\n")
"""


def with_editor(root: Path, monkeypatch: pytest.MonkeyPatch, each: str) -> None:
    script = root.parent / "my editor.py"
    script.write_text(EDITOR.format(each))
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f'"{sys.executable}" "{script}"')


def test_what_is_changed_in_an_editor_becomes_edits(
    prep: Prep, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = 'line.replace("hat, dog", "dog").replace("lav", "far away")'
    with_editor(root, monkeypatch, each)
    status, out, _ = prep("edit", "dog", "--open")
    assert (status, out.splitlines()[0]) == (0, "2 images changed")
    assert captions(root) == ["azusa, dog, far away", "azusa, dog, solo", "azusa, hat, solo"]
    done = [(one.do, [tag.tag for tag in one.tags]) for one in read(root).entries[0].changes]
    assert sorted(done) == [
        ("add", ["far_away"]), ("remove", ["hat"]), ("remove", ["looking_at_viewer"]),
    ]  # fmt: skip
    # another order is another caption
    with_editor(root, monkeypatch, 'line.replace("hat, solo", "solo, hat")')
    prep("edit", "--open", "hat")
    assert "azusa, solo, hat" in captions(root)


def test_a_line_that_cannot_be_understood_loses_nothing(
    prep: Prep, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_editor(root, monkeypatch, 'line.replace("hat", "cap")[9 * line.endswith("dog, solo"):]')
    status, _, error = prep("edit", "--open", "hat")
    assert status == 2
    text = Path(error.removeprefix("prep: ").partition(", line ")[0])
    assert error.endswith(
        'is not "md5 | caption": nothing is changed; mend the line,'
        f" then `prep edit --from {text}` takes the captions"
    )
    lines = text.read_text().splitlines()
    text.write_text("\n".join(line for line in lines if not line.endswith("dog, solo")))
    assert prep("edit", "--from", text)[0] == 0
    assert captions(root) == ["azusa, dog, lav", "azusa, hat, dog, solo", "azusa, solo, cap"]


@pytest.mark.parametrize("kind", ["txt", "kohya", "imagefolder", "jsonl"])
def test_only_what_a_person_changed_in_an_export_becomes_an_edit(
    prep: Prep, root: Path, kind: str
) -> None:
    out = root.parent / "out"
    prep("export", out, "--to", kind)
    # rules change meanwhile
    recipe = (root / "prep.toml").read_text()
    (root / "prep.toml").write_text(recipe + '[caption.drop]\ntags = ["solo"]\n')
    make(root)
    for path in [*out.rglob("*.txt"), *out.rglob("*.jsonl")]:
        path.write_text(path.read_text().replace("hat, dog", "cap, dog"))
    assert prep("edit", "--from", out)[1].splitlines()[0] == "1 image changed"
    assert captions(root) == ["azusa, dog, cap", "azusa, dog, lav", "azusa, hat"]
    (root / "prep.toml").write_text(recipe)
    assert "azusa, dog, solo, cap" in captions(root)
    prep("edit", "--from", out)  # once more
    make(root)
    assert not (root / "reports" / "edit_conflicts.jsonl").exists()


def test_a_manifest_edited_by_hand_is_not_overwritten(prep: Prep, root: Path) -> None:
    path = root / "manifest.parquet"
    rows: list[dict[str, Any]] = MANIFEST.read(path).to_pylist()
    for row in rows:
        row["caption"] = row["caption"].replace("hat, dog", "dog")
    MANIFEST.write(path, pa.Table.from_pylist(rows, schema=MANIFEST.schema))
    edited = path.read_bytes()
    assert prep("manifest") == (
        2,
        "",
        "prep: manifest.parquet was changed since it was made here: `prep edit --from"
        " manifest.parquet` takes its captions as edits;"
        " remove the file to throw the changes away",
    )
    assert path.read_bytes() == edited
    assert prep("edit", "--from", "manifest.parquet")[0] == 0
    (beside,) = root.glob("manifest.????????.parquet")
    assert beside.read_bytes() == edited
    assert captions(root) == ["azusa, dog, lav", "azusa, dog, solo", "azusa, hat, solo"]
    assert [row["caption"] for row in MANIFEST.read(path).to_pylist()].count("azusa, dog, solo")


SENTENCE = "She sits in the sun, Smiling (a bit) at the viewer."


def test_a_sentence_in_a_caption_stays_as_it_was_written(root: Path, prep: Prep) -> None:
    text = f"azusa ||| {SENTENCE}, Hat, looking at viewer"
    assert prep("edit", "dog -hat", "--caption", text)[0] == 0
    expected = f"azusa, {SENTENCE}, hat, looking at viewer"
    assert captions(root)[0] == expected
    (row,) = [r for r in Dataset.open(root).table(CAPTIONS).to_pylist() if r["caption"] == expected]
    assert [(tag["tag"], tag["category"], tag["source"]) for tag in row["tags"]][1] == (
        SENTENCE, "sentence", "person",
    )  # fmt: skip


def test_a_sentence_that_was_written_so_outlives_another_order(
    root: Path, prep: Prep, monkeypatch: pytest.MonkeyPatch
) -> None:
    prep("edit", "dog -hat", "--caption", f"azusa, {SENTENCE}, hat, dog")
    captions(root)
    with_editor(root, monkeypatch, 'line.replace("hat, dog", "dog, hat")')
    assert prep("edit", "", "--open")[0] == 0
    assert captions(root)[0] == f"azusa, dog, hat, {SENTENCE}"
