"""`prep demo --compare`: the shipped experiments on the demo's own datasets, done once.

The real chain, trainer and tagger, on a base model that knows no picture; what is small is the
number of pictures and steps.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import prep.cli.demo_compare as demo
from prep.cli import app
from prep.cli.demo_compare import SHIPPED, SUBJECTS, Subject, demo_compare
from prep.dataset import Dataset
from prep.demo.model import SIDE, build_model
from prep.demo.world import World
from prep.variant import Variants
from schemas.errors import RecipeError, UsageError
from schemas.experiment_results import read_result
from schemas.recipes.experiment import load_experiment
from schemas.tables import MANIFEST
from train.compare.experiment import open_experiment
from train.compare.training import Training

FRESH = 28
SMALL = {
    'query = "akari_(hoshizora_academy)"': 'query = "akari_(hoshizora_academy)", limit = 8',
    'query = "neon_kumo"': 'query = "neon_kumo", limit = 8',
    "total = 200\nbatch = 4": "total = 2\nbatch = 1",
    "pictures = 5\nsteps = 12": "pictures = 1\nsteps = 1",
}


def shrunk(source: Path, target: Path, changes: dict[str, str]) -> None:
    """Copy a recipe with the changes made, as far as they apply, and two prompts alone."""
    text = source.read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    own = '"akari (hoshizora academy), smile", ' if "akari" in text else ""
    text = re.sub(r"prompts = \[.*?\n\]", f'prompts = [{own}"hat"]', text, flags=re.DOTALL)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """The same experiments and subjects, of few pictures and steps."""
    small = tmp_path_factory.mktemp("small")
    for path in SUBJECTS.glob("*.toml"):
        shrunk(path, small / "subjects" / path.name, SMALL)
    for path in SHIPPED.glob("*.toml"):
        less = {"limit = 64": "limit = 2", "repeats = 64": "repeats = 2"}
        shrunk(path, small / "shipped" / path.name, less)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "SUBJECTS", small / "subjects")
        patch.setattr(demo, "SHIPPED", small / "shipped")
        world = World(240, 0, 96, small=True)
        patch.setattr(demo.recipes, "world", lambda: world)
        patch.setattr(demo, "DRAWING", demo.DRAWING.model_copy(update={"steps": 1}))
        yield patch


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def folder(
    patched: pytest.MonkeyPatch, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A demo in which the regularization images were compared, with one seed."""
    folder = tmp_path_factory.mktemp("demo")
    pages = demo_compare(folder, ["regularization"], seeds=1, model=model, fresh=FRESH)
    made = folder / "compare" / "character" / "experiments"
    assert pages == [made / "regularization.html", made / "index.html"]
    assert all(page.is_file() for page in pages)
    return folder


def stamps(folder: Path) -> dict[Path, int]:
    """Of all but pages, which are written anew, and what says that latents came into a dataset."""
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".html" and path.name != "variant.json"
    }


@pytest.mark.slow
def test_every_arm_is_trained_and_read_and_nothing_is_done_twice(folder: Path, model: Path) -> None:
    root = folder / "compare" / "character"
    result = read_result(root / "experiments" / "regularization.json")
    regs = {arm.name: arm.regularization for arm in result.arms}
    assert regs["none"] == 0
    assert regs["booru"] > 0
    assert regs["transparent"] == 1
    assert regs["self-made"] > 0
    datasets = Variants(Dataset.open(root), root / "experiments" / "data")
    experiment = open_experiment(root / "regularization.toml", root, datasets)
    captions = {
        arm.name: {
            row["caption"]
            for row in MANIFEST.read(arm.data / "manifest.parquet").to_pylist()
            if row["is_reg"]
        }
        for arm in experiment.arms
    }
    assert captions["transparent"] == {""}
    assert captions["self-made"] <= captions["booru"]
    assert result.seeds == (1,)
    assert result.asked_seeds == 3
    for arm in result.arms:
        figures = arm.runs[0].figures
        assert all(0 <= (figures[name] or 0) <= 1 for name in ("signature", "recall", "obeyed"))
        assert "style" not in figures
    before = stamps(folder)
    demo_compare(folder, ["regularization"], seeds=1, model=model, fresh=FRESH)
    assert stamps(folder) == before


@pytest.mark.slow
def test_the_same_training_in_several_experiments_is_one(folder: Path) -> None:
    root = folder / "compare" / "character"
    datasets = Variants(Dataset.open(root), root / "experiments" / "data")
    subject = Subject.of("character", folder)
    found = {}
    for name in ("blocks", "rank", "regularization"):
        path = subject.experiment(demo.SHIPPED / f"{name}.toml")
        experiment = open_experiment(path, root, datasets)
        found |= {(name, arm.name): Training(experiment, arm, 1).key for arm in experiment.arms}
    assert found["blocks", "all"] == found["rank", "16"] == found["regularization", "none"]
    assert len(set(found.values())) == 8  # of 10


@pytest.mark.slow
def test_a_manner_of_drawing_is_read_by_its_own_reader(
    patched: pytest.MonkeyPatch, model: Path, tmp_path: Path
) -> None:
    demo_compare(tmp_path, ["style-text-encoder"], seeds=1, model=model, fresh=FRESH)
    file = tmp_path / "compare" / "style" / "experiments" / "style-text-encoder.json"
    result = read_result(file)
    for figures in (result.base, result.real, *(arm.runs[0].figures for arm in result.arms)):
        assert 0 <= (figures["style"] or 0) <= 1
    assert result.base["signature"] is None
    assert "the reader of styles" in dict(result.settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('learnt = "hta"', 'rank: the demo\'s world has no tag "hta"'),
        (
            'ask.prompts = ["nonsense"]',
            'rank: ask.prompts: "nonsense" asks for nothing that the tagger knows',
        ),
    ],
)
def test_what_cannot_be_read_is_said_before_anything_is_trained(
    folder: Path, model: Path, line: str, says: str
) -> None:
    root = folder / "compare" / "character"
    runs = sorted((root / "experiments" / "runs").iterdir())
    written = Subject.of("character", folder).experiment(demo.SHIPPED / "rank.toml")
    text = written.read_text(encoding="utf-8")
    key = line.split(" = ")[0].split(".")[-1]
    changed = re.sub(rf"^{key} = .*$", f"{key} = {line.split(' = ')[1]}", text, flags=re.MULTILINE)
    assert changed != text
    written.write_text(changed, encoding="utf-8")
    try:
        with pytest.raises(RecipeError, match=f"^{re.escape(says)}$"):
            demo_compare(folder, ["rank"], seeds=1, model=model, fresh=FRESH)
    finally:
        written.unlink()
    assert sorted((root / "experiments" / "runs").iterdir()) == runs


def test_an_experiment_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as told:
        demo_compare(tmp_path, ["nought"])
    assert str(told.value) == (
        "--compare nought: the experiments are blocks, captions, rank, regularization, relora,"
        " resolution, style-text-encoder, tag-left-out"
    )


def test_seeds_are_of_a_comparison(tmp_path: Path) -> None:
    for given, says in (
        (["--seeds", "1"], "--seeds is for --compare: say which experiments, or none for three"),
        (["--compare", "--seeds", "0"], "--seeds 0: every arm is trained once or more often"),
    ):
        with pytest.raises(UsageError, match=f"^{re.escape(says)}$"):
            app(["demo", str(tmp_path), *given], exit_on_error=False, result_action="return_value")


def test_every_shipped_experiment_is_made_on_one_dataset(tmp_path: Path) -> None:
    subjects = [Subject.of(file.stem, tmp_path) for file in SUBJECTS.glob("*.toml")]
    listed = [name for subject in subjects for name in subject.values["experiments"]]
    assert sorted(listed) == sorted(path.stem for path in SHIPPED.glob("*.toml"))


def test_arms_are_trained_at_the_size_of_the_base_model_or_less(tmp_path: Path) -> None:
    for file in SUBJECTS.glob("*.toml"):
        subject = Subject.of(file.stem, tmp_path)
        assert subject.values["train"]["latents"]["resolution"] == SIDE
    for path in SHIPPED.glob("*.toml"):
        for arm in load_experiment(path).arms.values():
            assert arm.train.get("latents", {}).get("resolution", SIDE) <= SIDE
