"""A set comes into prep.toml, and whatever the person wrote there stays."""

import tomllib
from pathlib import Path

import pytest

from schemas.errors import RecipeError
from schemas.recipes.edit import add_sets
from schemas.recipes.prep import SetSection

PICKS = SetSection.model_validate({"from": "../my picks", "role": "reg", "repeats": 4})
LINE = 'picks = { from = "../my picks", role = "reg", repeats = 4 }'


def edited(folder: Path, text: str) -> str:
    path = folder / "prep.toml"
    path.write_bytes(text.encode())
    add_sets(path, {"picks": PICKS})
    return path.read_bytes().decode()


def test_a_set_is_a_further_line_of_the_table_of_sets(tmp_path: Path) -> None:
    text = (
        '# mine\n[sets]  # all\nmain = { query = "hat" }  # why\n\n# manners\n[fetch]\nsite = "x"'
    )
    assert edited(tmp_path, text) == text.replace("# why\n", f"# why\n{LINE}\n")


def test_line_ends_and_a_byte_order_mark_stay(tmp_path: Path) -> None:
    text = '\ufeff[sets]\r\nmain = { query = "hat" }\r\n\r\n[tag]\r\ngeneral = 0.5\r\n'
    assert edited(tmp_path, text) == text.replace(" }\r\n", f" }}\r\n{LINE}\r\n")


@pytest.mark.parametrize(
    "text",
    [
        '[sets.main]\nquery = "hat"\n# the end',
        '[sets.main]\nquery = "hat"\n\n[tag]\ngeneral = 0.5\n',
        '[fetch]\nsite = "x"\n',
        # a list over lines looks like a header
        '[sets]\nmain = { query = "hat", list = [\n  [1],\n] }\nb = { query = "x" }\n',
        '[sets]\nmain = { query = """\n[tag]\n""" }\n',
    ],
)
def test_other_ways_of_writing_sets_are_kept(tmp_path: Path, text: str) -> None:
    after = edited(tmp_path, text)
    read = tomllib.loads(text)
    read.setdefault("sets", {})["picks"] = {"from": "../my picks", "role": "reg", "repeats": 4}
    assert tomllib.loads(after) == read
    assert set(text.splitlines()) <= set(after.splitlines())


def test_a_recipe_that_takes_no_further_set_is_left_alone(tmp_path: Path) -> None:
    text = 'sets = { main = { query = "hat" } }\n'
    with pytest.raises(RecipeError) as told:
        edited(tmp_path, text)
    assert str(told.value) == (
        f"{tmp_path / 'prep.toml'}: the set cannot be added to what is written there;"
        f" add this line to its sets: {LINE}"
    )
    assert (tmp_path / "prep.toml").read_text() == text
