"""The documentation tells the truth: commands as they are, links that lead somewhere."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from train.compare.statistics import compare, verdict

ROOT = Path(__file__).parent.parent


def script(name: str) -> Any:
    """A script of docs/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_commands_page_is_what_help_says() -> None:
    page, stale = script("make_commands"), "run `python docs/make_commands.py`"
    assert (ROOT / "docs/commands.md").read_text(encoding="utf-8") == page.commands(), stale


def test_the_page_of_experiments_is_what_their_results_say() -> None:
    page, stale = script("make_experiments"), "run `python docs/make_experiments.py`"
    assert (ROOT / "docs/experiments.md").read_text(encoding="utf-8") == page.written(), stale


def test_verdicts_on_experiments_are_what_their_runs_say() -> None:
    kept = script("make_experiments").kept()
    assert len(kept) >= 7
    for one in kept:
        figures = {
            arm.name: {name: [run.figures.get(name) for run in arm.runs] for name in one.figures}
            for arm in one.arms
        }
        found = compare(figures, one.figures)
        assert one.verdict == verdict(one.arms[0].name, found, len(one.seeds))
        for told, again in zip(one.differences, found, strict=True):
            assert (told.arm, told.figure) == (again.arm, again.figure)
            assert told.mean == pytest.approx(again.mean)
            assert told.p == pytest.approx(again.p)
            assert told.decided == again.decided


def test_results_are_taken_in_by_name_without_their_curves() -> None:
    page = script("make_experiments")
    kept = page.kept()
    run = kept[0].arms[0].runs[0].model_copy(update={"losses": ((1, 0.5), (2, 0.25))})
    arm = kept[0].arms[0].model_copy(update={"runs": (run,)})
    newer = kept[0].model_copy(update={"arms": (arm,), "question": "And now?"})
    other = newer.model_copy(update={"name": "a new one"})
    whole = page.with_added(kept, [newer, other])
    assert [one.name for one in whole] == ["a new one", *(one.name for one in kept)]
    assert whole[1].question == "And now?"
    assert whole[1].arms[0].runs[0].losses == ((2, 0.25),)
    assert whole[2:] == list(kept[1:])
    assert "## a new one\n\nAnd now?\n" in page.page(whole)


def test_every_command_is_in_the_readme() -> None:
    from prep.cli import app

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [name for name in app if not name.startswith("-")]
    assert names
    assert [name for name in names if f"prep {name}" not in readme] == []


def test_links_between_our_files_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
