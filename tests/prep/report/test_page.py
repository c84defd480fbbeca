"""The page of a dataset as far as it has come: true, whole, and asking nothing of anyone.

Interactions covered: report and each stage; report and a run; pictures and their cache; a dataset
or prompt with signs that mean something in HTML; the command and what it is given wrong.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prep import seals
from prep.caption import before_rules
from prep.cli import app
from prep.cli.report import report
from prep.dataset import Dataset
from prep.demo.recipes import CHARACTER, TRIGGER
from prep.report.captions import examples
from prep.report.frequencies import frequencies
from prep.report.funnel import levels
from prep.report.run import find_run
from schemas.command import run
from schemas.tables import CAPTIONS, MANIFEST
from train.sample import Painter

Built = Any  # tests/prep/report/conftest.py
Read = Callable[[str], Any]
SECTIONS = [
    *("chain", "fetched", "tags", "pairs", "captions", "lint", "buckets"),
    *("training", "grid", "evaluation"),
]


def test_at_each_stage_the_page_is_whole_and_has_every_section(built: Built, read: Read) -> None:
    assert list(built.pages) == ["init", *seals.STAGES, "train"]
    for page in built.pages.values():
        assert read(page).ids == SECTIONS


def test_nothing_on_the_page_is_fetched_from_anywhere(built: Built, read: Read) -> None:
    page = built.pages["train"]
    references = read(page).references
    assert references
    assert {r.partition(":")[0] if ":" in r else r[0] for r in references} == {"#", "data"}
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "<script" not in page
    assert len(page) < 4_000_000


def test_what_is_missing_says_what_to_run(built: Built, read: Read) -> None:
    words = read(built.pages["init"]).words
    assert "Nothing is fetched yet: prep fetch" in " ".join(words["fetched"].split())
    for name in ("tags", "captions"):
        assert "No captions yet: prep caption" in " ".join(words[name].split())
    assert "No training yet: train" in " ".join(words["training"].split())
    assert "No pictures yet" in words["grid"]
    assert "Not measured yet: train evaluate" in " ".join(words["evaluation"].split())
    assert "No captions yet" in built.pages["tag"]
    assert "No captions yet" not in built.pages["caption"]
    assert "Nothing is fetched yet" not in built.pages["fetch"]
    assert "No training yet" in built.pages["latents"]
    assert "No training yet" not in built.pages["train"]


def test_signs_of_html_in_names_and_prompts_stay_text(built: Built) -> None:
    page = built.pages["train"]
    assert "<h1>akari &amp; &lt;friends&gt;</h1>" in page
    assert "&lt;b&gt;&quot;1girl&quot;&lt;/b&gt; &amp; smile" in page
    assert "<b>&quot;" not in page


def test_the_funnel_counts_as_the_stages_do(built: Built, read: Read) -> None:
    dataset = Dataset.open(built.folder)
    found = {level.name: level for level in levels(dataset, find_run(dataset))}
    sealed = {name: seals.read_seal(built.folder, name) for name in seals.STAGES}
    rows_in = {name: seal.rows_in for name, seal in sealed.items() if seal}
    rows_out = {name: seal.rows_out for name, seal in sealed.items() if seal}
    dropped = {name: seal.dropped for name, seal in sealed.items() if seal}
    assert found["posts listed"].total == rows_in["fetch"]
    assert found["files fetched"].total == rows_out["fetch"]
    assert dict(found["files fetched"].lost) == dropped["fetch"]
    assert found["without duplicates"].total == rows_out["dedup"]
    assert dict(found["without duplicates"].lost) == dropped["dedup"]
    assert found["captioned"].total == rows_out["caption"]
    assert found["in the manifest"].total == rows_out["manifest"]
    assert found["encoded"].total == rows_out["latents"]
    assert 0 < found["trained on"].total <= 2  # two steps of one image
    words = read(built.pages["train"]).words["fetched"]
    for stage in seals.STAGES:
        for reason in dropped[stage]:
            assert reason in words


def test_captions_tell_what_each_rule_took_and_gave(built: Built) -> None:
    dataset = Dataset.open(built.folder)
    rows, before = before_rules(dataset)
    found = json.loads((built.folder / "tables" / "found_features.json").read_text())["tags"]
    shown = examples(dataset, rows, before, found)
    captions = {(r["set"], r["md5"]): r["caption"] for r in dataset.table(CAPTIONS).to_pylist()}
    assert {one.is_reg for one in shown} == {True, False}
    for one in shown:
        assert ", ".join(word.text for word in one.after) == captions[one.set, one.md5]
        kept = {word.text for word in one.before if not word.fate}
        assert kept == {word.text for word in one.after if not word.fate}
        for word in one.before:
            if word.fate == "removed":
                collapsed = word.text.replace(" ", "_") in found and not one.is_reg
                others = ("a rule drops it", "another tag implies it")
                assert word.note.endswith("the trigger stands for it" if collapsed else others)
    words = [word for one in shown for word in one.before]
    assert {word.fate for word in words} == {"", "removed", "renamed"}
    assert {w.text for w in words if w.fate == "renamed"} == {"looking at viewer"}
    after = {word.text for one in shown for word in one.after if word.fate == "renamed"}
    assert after == {"lav"}


def test_tags_are_counted_over_the_images_to_learn_from(built: Built, read: Read) -> None:
    dataset = Dataset.open(built.folder)
    found = {one.name: one for one in frequencies(dataset, *before_rules(dataset))}
    manifest = MANIFEST.read(dataset.manifest).to_pylist()
    learnt = [row["caption"].split(", ") for row in manifest if not row["is_reg"]]
    for name in ("1girl", "lav", "smile"):
        assert found[name].caption == sum(name in caption for caption in learnt)
    assert found[CHARACTER].caption == found[CHARACTER].booru == len(learnt)
    assert found["lav"].was == "looking_at_viewer"
    assert "looking_at_viewer" not in found
    collapsed = found["red_hair"]
    assert collapsed.caption == 0
    assert collapsed.booru >= 0.8 * len(learnt)


def test_the_grid_shows_base_strengths_and_checkpoints_at_the_same_seeds(
    built: Built, read: Read
) -> None:
    words = " ".join(read(built.pages["train"]).words["grid"].split())
    for text in ("base no adapter", "strength 0.5 step 2", "strength 0.75 step 2"):
        assert text in words
    assert "strength 1 step 2" in words
    assert "step 1 strength 1" in words
    assert "32 × 48 px, DDIM, 1 steps, guidance 4, seeds 1, 2" in words
    drawn = [alt for alt in re.findall(r'alt="([^"]*)"', built.pages["train"]) if "· seed" in alt]
    assert len(drawn) == len(set(drawn)) == 10  # five models, two seeds


def test_pictures_are_drawn_once(built: Built, monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    dataset = Dataset.open(built.folder)
    drawn: list[str] = []
    draw = Painter.draw_batch

    def counted(self: Painter, prompts: Any, *rest: Any) -> Any:
        drawn.extend(prompts)
        return draw(self, prompts, *rest)

    monkeypatch.setattr(Painter, "draw_batch", counted)
    assert report(dataset).read_text(encoding="utf-8") == built.pages["train"]
    assert drawn == []
    pictures = sorted((built.folder / "runs/demo/report").glob("*.png"))
    assert len(pictures) == 10
    stray = pictures[0].with_name("0123456789abcdef.png")
    pictures[0].rename(stray)

    page = report(dataset, draw=False).read_text(encoding="utf-8")
    assert drawn == []
    assert page.count("· seed") < built.pages["train"].count("· seed")
    read(page)

    # drawn alone, a picture may differ in its last bits from what it was among others
    again = report(dataset).read_text(encoding="utf-8")
    assert without_pixels(again) == without_pixels(built.pages["train"])
    assert len(drawn) == 1
    assert not stray.exists()


def without_pixels(page: str) -> str:
    return re.sub(r"base64,[^\"]+", "", page)


def test_without_its_base_model_a_run_still_has_a_page(
    built: Built, tmp_path: Path, model: Path, read: Read
) -> None:
    folder = tmp_path / "runs" / "demo"
    shutil.copytree(built.folder / "runs/demo", folder)
    recipe = (folder / "recipe.toml").read_text(encoding="utf-8")
    moved = recipe.replace(model.as_posix(), (tmp_path / "nowhere").as_posix())
    (folder / "recipe.toml").write_text(moved, encoding="utf-8")
    page = report(Dataset.open(built.folder), folder).read_text(encoding="utf-8")
    words = {name: " ".join(text.split()) for name, text in read(page).words.items()}
    assert words["grid"].startswith(
        "The base, and what the adapter makes of it No pictures could be drawn: "
    )
    assert str(tmp_path / "nowhere") in words["grid"]
    assert "Loss: from" in words["training"]


def test_figures_that_were_read_back_are_shown(built: Built, read: Read) -> None:
    path = built.folder / "runs/demo/evaluate.json"
    figures = {"recall": 0.714, "signature": None, "unasked": 1.5}
    kinds = ("base", "adapter", "real", "shuffled")
    path.write_text(json.dumps(dict.fromkeys(kinds, figures)))
    try:
        page = report(Dataset.open(built.folder), draw=False).read_text(encoding="utf-8")
    finally:
        path.unlink()
    words = " ".join(read(page).words["evaluation"].split())
    assert "Tags asked for that are seen more is better 71% 71% 71% 71%" in words
    assert "1.50 1.50 1.50 1.50" in words
    assert "– – – –" in words


def test_a_run_that_is_under_way_shows_its_curve_so_far(
    built: Built, tmp_path: Path, read: Read
) -> None:
    folder = tmp_path / "runs" / "half"
    folder.mkdir(parents=True)
    recipe = (built.folder / "runs/demo/recipe.toml").read_text(encoding="utf-8")
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    step = {"step": 1, "loss": 0.5, "lr": 0.1, "seconds": 65.0, "images": 4}
    (folder / "log.jsonl").write_text(json.dumps(step) + '\n{"step": 2, "lo', encoding="utf-8")
    page = report(Dataset.open(built.folder), folder).read_text(encoding="utf-8")
    words = {name: " ".join(text.split()) for name, text in read(page).words.items()}
    told = "The run half : 1 step, 4 images seen (repeats counted), 1 min 5 s. It is not finished."
    assert told in words["training"]
    assert "No pictures yet: the run has saved no adapter so far." in words["grid"]


def test_the_command_says_where_the_page_lies(
    built: Built, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["report", str(built.folder), "--no-drawing"]) == 0
    assert capfd.readouterr().out == f"{built.folder / 'report.html'}\n"


def test_a_folder_that_is_no_run_is_refused(
    built: Built, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["report", str(built.folder), "--run", str(tmp_path)]) == 2
    assert capfd.readouterr().err == (
        f"prep: {tmp_path} holds no run: name the folder that `train` has made\n"
    )


def test_a_folder_that_is_no_dataset_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["report", str(tmp_path)]) == 2
    assert capfd.readouterr().err == (
        f"prep: {tmp_path} is no dataset (it has no prep.toml):"
        " make one with `prep init`, or name its folder\n"
    )


def test_the_trigger_stands_in_the_head(built: Built) -> None:
    assert f"called by <code>{TRIGGER}</code>" in built.pages["init"]


def test_the_log_of_experiments_is_linked_where_there_is_one(built: Built, read: Read) -> None:
    dataset = Dataset.open(built.folder)
    assert "experiments/index.html" not in built.pages["train"]
    log = built.folder / "experiments/index.html"
    log.parent.mkdir()
    log.touch()
    try:
        page = report(dataset, draw=False).read_text(encoding="utf-8")
    finally:
        log.unlink()
        log.parent.rmdir()
    assert "experiments/index.html" in read(page).references
