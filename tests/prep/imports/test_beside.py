"""What lies beside the images of a folder, through the import of real files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from prep.dataset import Dataset
from prep.fetch import fetch
from prep.init import init
from prep.seals import read_drops
from schemas.tables import IMPORTED, MEMBERS

POST = {
    "id": 77, "created_at": "2024-05-06T07:08:09.123-04:00", "score": 61, "rating": "s",
    "file_url": "https://cdn.donmai.us/x.png", "tag_string_general": "1girl hat",
    "tag_string_character": "azusa_(x)", "tags": ["1girl", "hat", "azusa_(x)"],
}  # fmt: skip
COLOURS = iter(range(1 << 20))


def picture(path: Path) -> Path:
    """A picture like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = next(COLOURS)
    Image.new("RGB", (4, 4), (number % 256, number // 256 % 256, 7)).save(path)
    return path


def imported(source: Path, root: Path) -> dict[str, dict[str, Any]]:
    if not root.exists():
        init(root, source=source, like="style")
    fetch(Dataset.open(root))
    return {row["file"]: row for row in Dataset.open(root).table(IMPORTED).to_pylist()}


def drops(root: Path) -> list[tuple[str, str, str]]:
    return [
        (row["item"], row["reason"], row["detail"])
        for row in read_drops(root, "fetch").sort_by("item").to_pylist()
    ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "my pictures é"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


@pytest.fixture
def told(told: Callable[[], list[str]]) -> Callable[[], list[str]]:
    """The lines about imports that a person has seen."""
    return lambda: [line for line in told() if line.startswith("import ")]


@pytest.mark.parametrize(
    "name", ["a b.txt", "a b.png.txt", "a b.caption", "a b.png.caption", "A B.TXT"]
)
def test_a_text_may_be_named_in_all_these_ways(source: Path, root: Path, name: str) -> None:
    picture(source / "a b.png")
    (source / name).write_bytes("\ufeffmy char,\r\n1girl, azusa \\(x\\)\r\n".encode())
    assert imported(source, root)["a b.png"]["tags"] == ["my_char", "1girl", "azusa_(x)"]


def test_all_that_speaks_of_an_image_counts_together_texts_first(source: Path, root: Path) -> None:
    picture(source / "a.png")
    (source / "a.txt").write_text("hat, 1girl")
    (source / "a.caption").write_text("a girl in a hat")
    (source / "a.json").write_text(json.dumps({"tags": {"artist": ["me"], "general": ["hat"]}}))
    line = {"file_name": "a.png", "text": "solo, hat"}
    (source / "metadata.jsonl").write_text(json.dumps(line) + "\n")
    row = imported(source, root)["a.png"]
    assert dict(zip(row["tags"], row["categories"], strict=True)) == {
        "hat": "general", "1girl": "", "solo": "", "me": "artist",
    }  # fmt: skip
    assert row["tags"][:2] == ["hat", "1girl"]
    assert row["sentence"] == "a girl in a hat"


def test_a_posts_facts_beside_an_image_are_in_the_table_of_posts(source: Path, root: Path) -> None:
    picture(source / "a.png")
    (source / "a.png.json").write_text(json.dumps(POST))
    row = imported(source, root)["a.png"]
    assert (row["tags"], row["post_id"]) == ([], 77)
    (post,) = Dataset.open(root).posts.read().to_pylist()
    assert (post["score"], post["character"]) == (61, ["azusa_(x)"])
    (member,) = Dataset.open(root).table(MEMBERS).to_pylist()
    assert member["post_id"] == 77

    (source / "a.png.json").write_text(json.dumps({**POST, "score": 5}))
    imported(source, root)
    (post,) = Dataset.open(root).posts.read().to_pylist()
    assert post["score"] == 5


def test_sd_scripts_lists_name_images_by_path_or_stem_and_the_later_one_counts(
    source: Path, root: Path
) -> None:
    for name in ("a.png", "deep er/b.png", "c.png"):
        picture(source / name)
    first = {"a": {"caption": "a girl in a hat"}, "C:\\elsewhere\\b.png": {"tags": "hat, 1girl"}}
    (source / "meta_cap.json").write_text(json.dumps(first))
    later = {"a": {"tags": "solo, blue hat"}, "/home/x/c.png": {"tags": "smile"}}
    (source / "meta_cap_dd.json").write_text(json.dumps(later))
    rows = imported(source, root)
    assert (rows["a.png"]["tags"], rows["a.png"]["sentence"]) == (
        ["solo", "blue_hat"], "a girl in a hat",
    )  # fmt: skip
    assert rows["deep er/b.png"]["tags"] == ["hat", "1girl"]
    assert rows["c.png"]["tags"] == ["smile"]
    assert drops(root) == []


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_imagefolders_lists_name_images_from_where_they_lie(
    source: Path, root: Path, kind: str
) -> None:
    picture(source / "train" / "a.png")
    picture(source / "train" / "café.png")
    rows = [
        {"file_name": "a.png", "text": "hat, 1girl"},
        {"file_name": "cafe\u0301.png", "text": "smile"},  # as macOS writes it
        {"file_name": "none.png", "text": "smile"},
    ]
    path = source / "train" / f"metadata.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif kind == "csv":
        lines = [f'{row["file_name"]},"{row["text"]}"' for row in rows]
        path.write_text("\n".join(["file_name,text", *lines]), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = imported(source, root)
    assert found["train/a.png"]["tags"] == ["hat", "1girl"]
    assert found["train/café.png"]["tags"] == ["smile"]
    assert drops(root) == [
        ("train/none.png", "caption without an image", f"listed in train/metadata.{kind}")
    ]


def test_what_cannot_be_taken_is_dropped_with_its_reason(source: Path, root: Path) -> None:
    picture(source / "a.png")
    (source / "copy.png").write_bytes((source / "a.png").read_bytes())
    (source / "bad.png").write_bytes(b"no picture")
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(source / "moves.gif", save_all=True, append_images=frames[1:])
    (source / "lonely.txt").write_text("hat")
    (source / "a.json").write_text("{")
    (source / "a.txt").write_bytes(b"\x00\x01")
    (source / "bad.json").write_text("[1, 2]")
    (source / "metadata.jsonl").write_text('{"text": "hat"}')
    (source / "._a.png").write_bytes(b"of a Mac")
    rows = imported(source, root)
    assert sorted(rows) == ["a.png", "bad.png", "moves.gif"]
    found = drops(root)
    assert [(item, reason) for item, reason, _ in found] == [
        ("a.json", "caption that cannot be read"),
        ("a.txt", "caption that cannot be read"),
        ("bad.json", "caption that cannot be read"),
        ("bad.png", "unreadable image"),
        ("copy.png", "same bytes"),
        ("lonely.txt", "caption without an image"),
        ("metadata.jsonl", "caption that cannot be read"),
        ("moves.gif", "animated"),
    ]
    details = {item: detail for item, _, detail in found}
    assert details["a.txt"] == "no text: it holds zero bytes"
    assert details["bad.json"] == "no JSON object"
    assert details["copy.png"] == "a.png"
    assert details["metadata.jsonl"] == "ValueError: a row without file_name"
    assert details["bad.png"] == "no image that can be read (UnidentifiedImageError)"


def test_what_is_guessed_or_set_aside_is_told(
    source: Path, root: Path, told: Callable[[], list[str]]
) -> None:
    for name, text in (("a", b"caf\xe9"), ("b", b"(hat:1.2)"), ("c", b"a girl in a hat")):
        picture(source / f"{name}.png")
        (source / f"{name}.txt").write_bytes(text)
    imported(source, root)
    assert sorted(told()) == [
        "import main: 1 captions are not UTF-8 but read as Windows-1252 (a.txt)",
        'import main: 1 captions have weights such as "(hat:1.2)", taken as text (b.png)',
        "import main: 1 images have sentences, kept apart from their tags (c.png)",
    ]


def test_images_of_a_kohya_folder_that_nothing_speaks_of_have_its_words(
    tmp_path: Path, root: Path
) -> None:
    source = tmp_path / "4_azusa blue hat"
    picture(source / "a.png")
    picture(source / "b.png").with_suffix(".txt").write_text("smile")
    rows = imported(source, root)
    assert (rows["a.png"]["tags"], rows["b.png"]["tags"]) == (["azusa", "blue_hat"], ["smile"])
    assert Dataset.open(root).recipe.sets["main"].repeats == 4


def test_an_empty_text_in_a_kohya_folder_says_that_there_are_no_tags(
    tmp_path: Path, root: Path
) -> None:
    source = tmp_path / "4_azusa"
    picture(source / "a.png").with_suffix(".txt").write_text("\n")
    assert imported(source, root)["a.png"]["tags"] == []


def test_tags_whose_category_the_folder_knows_have_it_and_are_no_sentences(
    source: Path, root: Path
) -> None:
    song = "the song of the girl and her cat"
    picture(source / "a.png").with_suffix(".txt").write_text(f"azusa, {song}")
    picture(source / "b.png")
    stated = [{"tag": "Azusa", "category": "character"}, {"tag": "hat", "category": "nonsense"}]
    (source / "b.json").write_text(json.dumps({"tags": stated, "caption": "a girl in a hat"}))
    said = {"azusa": "trigger", song: "copyright", "b": "nonsense"}
    (source / "tag_categories.json").write_text(json.dumps(said))
    rows = imported(source, root)
    assert rows["a.png"]["tags"] == ["azusa", "the_song_of_the_girl_and_her_cat"]
    assert rows["a.png"]["categories"] == ["trigger", "copyright"]
    assert (rows["b.png"]["tags"], rows["b.png"]["sentence"]) == (["azusa", "hat"], "")
    assert rows["b.png"]["categories"] == ["character", ""]

    (source / "tag_categories.json").write_text("[1]")
    imported(source, root)
    assert drops(root) == [
        (
            "tag_categories.json", "caption that cannot be read",
            "AttributeError: 'list' object has no attribute 'items'",
        )
    ]  # fmt: skip


def test_a_changed_caption_is_taken_as_new_tags(source: Path, root: Path) -> None:
    picture(source / "a.png")
    (source / "a.txt").write_text("hat")
    assert imported(source, root)["a.png"]["tags"] == ["hat"]
    (source / "a.txt").write_text("smile, 1girl")
    assert imported(source, root)["a.png"]["tags"] == ["smile", "1girl"]


def test_what_left_the_folder_leaves_the_set_until_it_is_back(source: Path, root: Path) -> None:
    picture(source / "a.png")
    moved = picture(source / "b.png")
    imported(source, root)
    moved.rename(source.parent / "b.png")
    assert imported(source, root)["b.png"]["gone"]
    assert drops(root) == [("b.png", "gone from its folder", "")]
    assert Dataset.open(root).table(MEMBERS).num_rows == 1
    imported(source, root)
    assert drops(root) == [("b.png", "gone from its folder", "")]
    (source.parent / "b.png").rename(moved)
    assert not imported(source, root)["b.png"]["gone"]
    assert Dataset.open(root).table(MEMBERS).num_rows == 2


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_set_whose_folder_is_gone_stays_as_it_was_imported(
    source: Path, root: Path, left: str, told: Callable[[], list[str]]
) -> None:
    picture(source / "a.png").with_suffix(".txt").write_text("hat")
    picture(source / "b.png")
    before = imported(source, root)
    members = Dataset.open(root).table(MEMBERS)
    source.rename(source.parent / "elsewhere")
    if left != "nothing":
        source.mkdir()
    assert imported(source, root) == before
    assert Dataset.open(root).table(MEMBERS).equals(members)
    path = root / "../my pictures é"
    line = f"import main: {path} is not there: its 2 images stay as they were imported"
    assert told() == [line]


def test_a_folder_within_a_set_that_is_another_set_is_left_to_that_one(
    source: Path, root: Path
) -> None:
    picture(source / "a.png")
    picture(source / "reg" / "r.png")
    imported(source, root)
    members = Dataset.open(root).table(IMPORTED).to_pylist()
    assert [(row["set"], row["file"]) for row in members] == [("main", "a.png"), ("reg", "r.png")]
    assert Dataset.open(root).recipe.sets["reg"].role == "reg"


def test_a_dataset_may_lie_among_the_pictures(source: Path) -> None:
    picture(source / "a.png")
    root = source / "set"
    imported(source, root)
    assert list(imported(source, root)) == ["a.png"]
    assert drops(root) == []


def test_a_file_that_did_not_change_is_not_read_again(
    source: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(source / "a.png")
    imported(source, root)
    picture(source / "b.png")
    read: list[str] = []

    def md5_of(path: Path) -> str:
        read.append(path.name)
        return original(path)

    import prep.imports.seen

    original = prep.imports.seen.md5_of
    monkeypatch.setattr(prep.imports.seen, "md5_of", md5_of)
    imported(source, root)
    assert read == ["b.png"]
