"""`prep lint` as a person and a program run it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prep.caption import caption
from prep.cli import app
from prep.dataset import Dataset
from prep.lint.lint import report_path
from schemas.command import run
from schemas.files import write_text
from schemas.tables import FINDINGS

RECIPE = """[caption]
trigger = "azusa"  # hers

[caption.drop]
tags = ["1girl", "watermark"]  # not wanted
"""


@pytest.fixture
def root(dataset_of: Callable[..., Path], picture: Any) -> Path:
    pictures = [picture("1girl aiming"), picture("aiming"), picture("aiming")]
    return dataset_of(RECIPE, *pictures, *[picture("aiming_at_viewer")] * 3)


def test_findings_are_told_with_their_images_and_rules(
    root: Path, capsys: pytest.CaptureFixture[str], told: Callable[[], list[str]]
) -> None:
    before = (root / "prep.toml").read_text()
    assert run(app, ["lint", str(root)]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        '! tags share words: "aiming at viewer" has "aiming" in it and is something else:'
        " 3 images with the one, 3 with the other alone",
        "    00000000, 00000000, 00000000 and 3 more",
        '    rule: caption.rename."aiming at viewer" = "aav"',
        '    prompts then ask for "aav"',
        '! people removed: caption.drop.tags takes "1girl" from 1 image that show it',
        "    00000000",
        '    rule: caption.drop.tags -= "1girl"',
        f"2 findings, 2 of them to mend (!); all images: {report_path(Dataset(root))};"
        " --fix writes 2 rules into prep.toml",
    ]
    assert said.err == (
        f"lint: words are compared, not tokens: {root / 'train.toml'} is missing:"
        " `prep init` writes one\n"
    )
    assert (root / "prep.toml").read_text() == before
    rows = FINDINGS.read(report_path(Dataset(root))).to_pylist()
    assert [(row["finding"], row["name"]) for row in rows] == [
        *[(1, "tags share words")] * 6, (2, "people removed")
    ]  # fmt: skip


def test_rules_are_written_and_mend(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (root / "prep.toml").read_text()
    assert run(app, ["lint", str(root), "--fix"]) == 0
    assert '    wrote caption.drop.tags -= "1girl"' in capsys.readouterr().out.splitlines()
    after = (root / "prep.toml").read_text()
    assert set(before.splitlines()) - set(after.splitlines()) == {
        'tags = ["1girl", "watermark"]  # not wanted'
    }
    assert 'tags = ["watermark"]  # not wanted' in after.splitlines()
    caption(Dataset.open(root))
    assert run(app, ["lint", str(root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing is amiss"


def test_one_kind_alone_is_mended(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["lint", str(root), "--fix", "--only", "people removed", "--json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding == {
        "name": "people removed", "grave": True, "tags": ["1girl"], "images": 1,
        "what": 'caption.drop.tags takes "1girl" from 1 image that show it',
        "first": ["0" * 32], "changes": ['caption.drop.tags -= "1girl"'], "mended": True,
        "remedy": "",
    }  # fmt: skip
    assert "aav" not in (root / "prep.toml").read_text()


def test_a_misspelt_name_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["lint", str(root), "--only", "people"]) == 2
    assert 'prep: no finding is called "people"; there are: trigger missing, ' in (
        capsys.readouterr().err
    )


def test_a_rule_that_cannot_be_written_is_told_and_the_others_are(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (root / "prep.toml").read_text().replace("[caption.drop]\ntags", "drop.tags")
    write_text(root / "prep.toml", text + "rename = {} # by hand\n")
    assert run(app, ["lint", str(root), "--fix"]) == 0
    after = (root / "prep.toml").read_text()
    assert 'rename = { "aiming at viewer" = "aav" } # by hand' in after
    assert 'drop.tags = ["watermark"]  # not wanted' in after


def test_without_captions_nothing_can_be_said(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "tables" / "captions.parquet").unlink()
    assert run(app, ["lint", str(root)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"prep: {root}: captions are missing or of other images: `prep caption` makes them"
    )
