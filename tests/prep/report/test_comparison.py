"""Pages of experiments: true, whole, asking nothing of anyone, whatever is missing.

Interactions covered: seeds of training and of pictures; pictures that are there, cut short or gone;
arms that share a training; figures, tags, losses that nobody knows; results that are broken; the
log and the pages it names.
"""

import io
import os
import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from prep.report.comparison import write_pages
from prep.report.comparison.seeds import MOST, choose
from schemas.experiment_results import Arm, Difference, ExperimentResult, Run, write_result

Read = Callable[[str], Any]
SECTIONS = ["differences", "arms", "pictures", "losses", "recall", "done"]
PROMPTS = ("akari", "akari, <b>hat</b> & smile")
SIDE = 16


def run(arm: int, seed: int, **changes: Any) -> Run:
    values: dict[str, Any] = {
        "seed": seed,
        "figures": {"signature": 0.5 + arm / 10 + seed / 100, "kept": 0.9, "style": None},
        "recall": {"hat": 1.0, "smile": 1.0 - arm / 2},
        "seconds": 69.2,
        "memory": 412_000_000,
        "bytes": 1_385_080,
        "images": 746,
        "losses": tuple((step, 1 / step + arm) for step in range(1, 40)),
        "validation": ((20, 0.1111), (39, 0.1234)),
        "folder": f"experiments/runs/{arm}-seed{seed}",
        "pictures": f"experiments/pictures/{arm}-seed{seed}",
        "device": "cpu",
    }
    return Run(**values | changes)


def result(seeds: Sequence[int] = (1, 2, 3), **changes: Any) -> ExperimentResult:
    """Two arms; what is given replaces what stands here."""
    several = len(seeds) > 1
    spread: dict[str, float] = {"low": 0.05, "high": 0.15, "p": 0.0004} if several else {}
    values: dict[str, Any] = {
        "name": "rank",
        "question": "Is 8 <enough> & good?",
        "notes": "Some say so.",
        "figures": ("signature",),
        "seeds": tuple(seeds),
        "asked_seeds": 3,
        "arms": (
            Arm(name="16", changes="", images=97, runs=tuple(run(0, seed) for seed in seeds)),
            Arm(
                name="<8>",
                changes='train.adapter.dim = 8\nprep.x = "<y>"',
                images=97,
                regularization=57,
                runs=tuple(run(1, seed) for seed in seeds),
            ),
        ),
        "base": {"signature": 0.11, "kept": 1.0},
        "base_recall": {"hat": 0.25},
        "base_pictures": "experiments/pictures/base",
        "real": {"signature": 0.96, "kept": 1.17},
        "real_recall": {"hat": 0.98},
        "differences": (Difference(arm="<8>", figure="signature", mean=0.1, **spread),),
        "verdict": "Against 16, with <8> signature is higher.",
        "prompts": PROMPTS,
        "picture_seeds": (7, 8),
        "size": (SIDE, SIDE),
        "settings": (("optimizer", "AdamW at 0.003"), ("in common", "a = 1\nb = 2")),
    }
    return ExperimentResult(**values | changes)


def colour(folder: str, number: int, seed: int) -> tuple[int, int, int]:
    """The one colour of a picture, by where it lies."""
    return sum(map(ord, folder)) % 256, 40 * number, 9 * seed


def draw(root: Path, of: ExperimentResult) -> None:
    folders = [of.base_pictures, *(run.pictures for arm in of.arms for run in arm.runs)]
    for folder in filter(None, folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(1, len(of.prompts) + 1):
            for seed in of.picture_seeds:
                picture = Image.new("RGB", of.size, colour(folder, number, seed))
                picture.save(root / folder / f"{number:02}-seed{seed}.png")


@pytest.fixture
def pages(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """`pages(result, ..., drawn=True)`: the pages of a dataset with these results, by name."""

    def make(*results: ExperimentResult, drawn: bool = True) -> dict[str, str]:
        (tmp_path / "experiments").mkdir(exist_ok=True)
        for one in results:
            write_result(tmp_path / f"experiments/{one.name}.json", one)
            if drawn:
                draw(tmp_path, one)
        return {path.stem: path.read_text(encoding="utf-8") for path in write_pages(tmp_path)}

    return make


Pages = Callable[..., dict[str, str]]


def plain(text: str) -> str:
    return " ".join(text.split())


def test_a_page_is_whole_and_fetches_nothing(pages: Pages, read: Read) -> None:
    found = pages(result())
    seen = read(found["rank"])
    assert [name for name in seen.ids if name in SECTIONS] == SECTIONS
    assert len(seen.ids) == len(set(seen.ids))
    assert {r.partition(":")[0] if ":" in r else r[0] for r in seen.references} == {
        "#",
        "data",
        "i",
    }
    assert [r for r in seen.references if r[0] == "i"] == ["index.html"]
    for name in ("rank", "index"):
        read(found[name])
        assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttp", found[name])


def test_what_came_of_it_is_told_in_figures_and_words(pages: Pages, read: Read) -> None:
    page = pages(result())["rank"]
    words = {name: plain(text) for name, text in read(page).words.items()}
    assert "Is 8 &lt;enough&gt; &amp; good?</h1>" in page
    assert '<p class="verdict">Against 16, with &lt;8&gt; signature is higher.</p>' in page
    assert "2 arms, 3 training seeds each." in page
    assert "Some say so." in page
    assert "<8> +0.10 +0.05 to +0.15, p < 0.001, decided −0.15 0 +0.15" in words["differences"]
    assert "share of what the trigger stands for that is read" in words["differences"]
    arms = words["arms"]
    assert "16 97 images, 746 seen 0.52 0.50 to 0.54 0.90 0.88 to 0.92 1 min 9 s" in arms
    assert "412 MB of memory 1,385 kB" in arms
    assert "<8> 40 images, 57 for regularization, 746 seen 0.62" in arms
    assert "base model 0.11 1.00" in arms
    assert "real pictures 0.96 –" in arms  # they have nothing to keep
    assert "style" not in arms
    assert "ends at" in words["losses"]
    assert "held out 0.1234" in words["losses"]
    assert words["recall"].index("smile 1.00 0.50 – –") < words["recall"].index(
        "hat 1.00 1.00 0.25"
    )
    assert "optimizer AdamW at 0.003 In common a = 1 b = 2 What differs" in words["done"]
    assert 'train.adapter.dim = 8 prep.x = "<y>"' in words["done"]
    assert "as the experiment's recipes say" in words["done"]
    assert "experiments/runs/1-seed1, experiments/runs/1-seed2" in words["done"]
    assert "akari, <b>hat</b> & smile" in words["done"]


def test_every_picture_stands_where_its_seeds_and_its_arm_say(pages: Pages) -> None:
    page = pages(result())["rank"]
    shown = re.findall(
        r'<img src="data:image/webp;base64,([^"]+)" alt="([^"]+)" class="([^"]+)"', page
    )
    assert len(shown) == len({alt for _, alt, _ in shown}) == 2 * 2 * (1 + 2 * 3)
    for data, alt, kinds in shown:
        prompt, name, noise, *training = alt.split(" · ")
        folder = "experiments/pictures/base"
        if training:
            seed = training[0].removeprefix("training seed ")
            folder = f"experiments/pictures/{0 if name == '16' else 1}-seed{seed}"
            assert f"training-{int(seed) - 1}" in kinds
        number = 1 if prompt == "akari" else 2
        seed = int(noise.removeprefix("picture seed "))
        assert f"noise-{seed - 7}" in kinds
        pixel = Image.open(io.BytesIO(b64decode(data))).convert("RGB").getpixel((3, 3))
        assert pixel == colour(folder, number, seed)
    assert page.count('type="radio"') == 3 + 2
    assert "body:has(#training-2:checked) .frame > .training:not(.training-2)" in page


def test_pictures_keep_to_the_budget_of_the_page(
    pages: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages(result())
    for file in (tmp_path / "experiments/pictures").rglob("*.png"):
        Image.effect_noise((64, 64), 90).save(file)

    def taken() -> int:
        found = re.findall(r'<img src="(data:[^"]+)" alt="[^"]* · ', pages(drawn=False)["rank"])
        assert len(found) == 28
        return sum(map(len, found))

    exact = taken()
    (tmp_path / "experiments/rank.html").unlink()
    monkeypatch.setattr("prep.report.comparison.rows.BUDGET", exact - 1)
    assert taken() < exact


def test_with_one_seed_nothing_is_decided_and_nothing_is_to_choose(
    pages: Pages, read: Read
) -> None:
    alone = result((1,), verdict="One run each: not decided.", picture_seeds=(7,))
    page = pages(alone)["rank"]
    words = read(page).words
    assert '<p class="verdict">One run each: not decided.</p>' in page
    assert "2 arms, 1 training seed each; 2 of 3 seeds are not yet trained." in page
    assert "+0.10 one run each: not decided" in plain(words["differences"])
    assert "One training seed each: no interval can be told." in words["arms"]
    assert "0.51 0.90 1 min" in plain(words["arms"])
    assert 'type="radio"' not in page
    assert "1 (2 more not yet trained)" in words["done"]
    unsure = (Difference(arm="<8>", figure="signature", mean=0.1),)
    assert "two runs each: not decided" in pages(result((1, 2), differences=unsure))["rank"]


def test_a_picture_that_is_gone_or_cut_short_leaves_its_place_empty(
    pages: Pages, tmp_path: Path
) -> None:
    pages(result())
    (tmp_path / "experiments/pictures/1-seed2/01-seed7.png").unlink()
    broken = tmp_path / "experiments/pictures/base/02-seed8.png"
    broken.write_bytes(broken.read_bytes()[:40])
    page = pages(drawn=False)["rank"]
    assert page.count('<span class="noise noise-') == 2
    assert '<span class="noise noise-0 training training-1 none">no picture</span>' in page
    assert '<span class="noise noise-1 none">no picture</span>' in page


def test_what_nobody_knows_is_said_where_it_would_stand(pages: Pages, read: Read) -> None:
    empty = {
        "figures": {}, "recall": {}, "losses": (), "validation": (),
        "seconds": 0.0, "memory": 0, "bytes": 0, "images": 0, "device": "", "folder": "",
        "pictures": "",
    }  # fmt: skip
    arms = tuple(
        Arm(name=name, changes="", images=1, runs=(run(place, 1, **empty),))
        for place, name in enumerate("ab")
    )
    bare = result((1,), arms=arms, differences=(), notes="", base={}, real={}, settings=())
    words = {
        name: plain(text) for name, text in read(pages(bare, drawn=False)["rank"]).words.items()
    }
    assert "There is nothing to compare: no figure was read in every run." in words["differences"]
    assert "a 1 image – – b 1 image – –" in words["arms"]
    assert "No pictures are there any more: train compare draws them anew." in words["pictures"]
    assert "The course of the losses is not known." in words["losses"]
    assert "No tag by itself was read back." in words["recall"]


def test_arms_that_only_draw_otherwise_share_a_curve(pages: Pages) -> None:
    one, other = result().arms
    weak = one.model_copy(update={"name": "weak", "changes": "draw.strength = 0.5"})
    page = pages(result(arms=(one, weak, other)))["rank"]
    assert "<span>16, weak</span>" in page
    assert page.count('class="arm colour-0 dash-0"') == 3  # legend, loss, held out
    assert page.count('class="arm colour-1 dash-1"') == 3
    assert "colour-2 dash-2" not in page.partition("</style>")[2]


@given(
    seeds=st.integers(1, 9), pictures=st.integers(1, 12), prompts=st.integers(1, 60),
    arms=st.integers(1, 9),
)  # fmt: skip
def test_a_page_never_holds_more_pictures_than_it_can_show(
    seeds: int, pictures: int, prompts: int, arms: int
) -> None:
    many = result(
        range(1, seeds + 1),
        prompts=tuple(map(str, range(prompts))),
        picture_seeds=tuple(range(pictures)),
        arms=tuple(Arm(name=str(arm), changes="", images=1, runs=()) for arm in range(arms)),
    )
    shown = choose(many)
    pairs = len(shown.training) * len(shown.pictures)
    assert pairs == 1 or pairs * prompts * (arms + 1) <= MOST
    assert shown.training == many.seeds[: len(shown.training)]
    assert shown.pictures == many.picture_seeds[: len(shown.pictures)]
    if seeds * pictures * prompts * (arms + 1) <= MOST // 2:
        assert (len(shown.training), len(shown.pictures)) == (seeds, pictures)


def test_seeds_that_are_not_shown_are_told(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prep.report.comparison.seeds.MOST", 12)
    page = pages(result())["rank"]
    told = "Shown: 1 of 3 training seeds. All pictures lie in experiments/pictures."
    assert told in page
    assert page.count(' alt="') == 12


def test_the_log_names_every_experiment_the_newest_first(
    pages: Pages, read: Read, tmp_path: Path
) -> None:
    pages(result(name="old"), result(name="new"), result(name="lone #1", question="Gone?"))
    for age, name in enumerate(("new", "lone #1", "old")):
        os.utime(tmp_path / f"experiments/{name}.json", (1e9 - age * 90_000,) * 2)
    (tmp_path / "experiments/cut.json").write_text('{"name"', encoding="utf-8")
    (tmp_path / "experiments/alien.json").write_text('{"<i>": 1}', encoding="utf-8")
    found = pages(drawn=False)
    log = found["index"]
    seen = read(log)
    assert [r for r in seen.references if r.endswith("html")] == [
        "new.html",
        "lone%20%231.html",
        "old.html",
    ]
    assert set(found) == {"new", "lone #1", "old", "index"}
    assert log.count("data:image/webp") == 9  # base and two arms of each
    assert "2001-09-0" in log
    assert "Gone?" in log
    assert "Arms: 16; &lt;8&gt;" in log
    told = plain(seen.words["broken"])
    assert "cut.json cannot be read as an experiment's results: invalid JSON" in told
    assert "alien.json cannot be read as an experiment's results: name: field required" in told


def test_a_page_is_made_anew_where_what_it_shows_has_changed(pages: Pages, tmp_path: Path) -> None:
    pages(result(), result(name="other"))
    files = [tmp_path / f"experiments/{name}.html" for name in ("rank", "other")]

    def remade() -> list[bool]:
        for file in files:
            os.utime(file, (1e9, 1e9))
        pages(drawn=False)
        return [file.stat().st_mtime > 1e9 for file in files]

    assert remade() == [False, False]
    pages(result(notes="Others do not."), drawn=False)
    assert "Others do not." in files[0].read_text(encoding="utf-8")
    assert remade() == [False, False]
    draw(tmp_path, result(size=(SIDE, 2 * SIDE)))
    assert remade() == [True, True]
    (tmp_path / "experiments/pictures/base/01-seed7.png").unlink()
    assert remade() == [True, True]
    files[1].write_text("cut", encoding="utf-8")
    assert "Is 8" in pages(drawn=False)["other"]


def test_without_experiments_the_log_says_how_one_is_made(pages: Pages) -> None:
    assert "<code>train compare EXPERIMENT.toml</code> makes one" in pages()["index"]
