"""FILE:strength:blocks, where the file's own name may hold colons."""

from pathlib import Path

import pytest

from train.merging.sources import Source, parse_source


@pytest.mark.parametrize(
    ("behind", "strength", "blocks"),
    [
        ("", 1.0, ""),
        (":0.8", 0.8, ""),
        (":-0.5:OUT03-06=2,TE", -0.5, "OUT03-06=2,TE"),
        ("::NCNF", 1.0, "NCNF"),
    ],
)
def test_what_stands_behind_the_file_is_strength_and_blocks(
    behind: str, strength: float, blocks: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    path.touch()
    assert parse_source(f"{path}{behind}") == Source(path, strength, blocks)


def test_a_folder_here_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_source(".:0.5").path.name == tmp_path.name
