"""One key of prep.toml is changed, and every word that its owner wrote beside it stays."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import RecipeError
from schemas.recipes.change import Change, change
from schemas.recipes.prep import COMPOSITION
from schemas.recipes.spans import spans

SETS = '[sets]\nmain = { query = "hat" }\n'


def changed(folder: Path, text: str, *changes: Change) -> str:
    path = folder / "prep.toml"
    path.write_bytes(text.encode())
    change(path, changes)
    return path.read_bytes().decode()


RENAME = Change(("caption", "rename", "aiming at viewer"), "aav")
DROP = Change(("caption", "drop", "tags"), "solo", "add")
NO_DROP = Change(("caption", "drop", "tags"), "1girl", "remove")


@pytest.mark.parametrize(
    ("text", "one", "after"),
    [
        # a key that is there
        ("[caption] # c\ntrigger = 'a' # why\n", Change(("caption", "trigger"), "b"),
         '[caption] # c\ntrigger = "b" # why\n'),
        ("caption.trigger = 'a'\n", Change(("caption", "trigger"), "b"), 'caption.trigger = "b"\n'),
        ('[tag.threshold]\n"big dog" = 0.5 # d\n', Change(("tag", "threshold", "big dog"), 0.25),
         '[tag.threshold]\n"big dog" = 0.25 # d\n'),
        # a table that is there
        ("[caption.rename]\na = 'b' # c\n\n# t\n[tag]\n", RENAME,
         "[caption.rename]\na = 'b' # c\n\"aiming at viewer\" = \"aav\"\n\n# t\n[tag]\n"),
        ("[caption]\nrename = {}\n", RENAME,
         '[caption]\nrename = { "aiming at viewer" = "aav" }\n'),
        ("[caption]\nrename = { a = 'b' } # c\n", RENAME,
         "[caption]\nrename = { a = 'b', \"aiming at viewer\" = \"aav\" } # c\n"),
        # a table that is not
        ("[caption]\ntrigger = 'a'\n\n[caption.drop]\ntags = []\n\n[tag]\n", RENAME,
         "[caption]\ntrigger = 'a'\n\n[caption.drop]\ntags = []\n\n[caption.rename]\n"
         '"aiming at viewer" = "aav"\n\n[tag]\n'),
        ("[tag]\ngeneral = 0.4", RENAME,
         '[tag]\ngeneral = 0.4\n\n[caption.rename]\n"aiming at viewer" = "aav"\n'),
        ("[caption]\nrename.a = 'b'\n", RENAME,
         "[caption]\nrename.a = 'b'\nrename.\"aiming at viewer\" = \"aav\"\n"),
        # lists
        ("[caption]\ndrop = { tags = ['a'] } # x\n", DROP,
         "[caption]\ndrop = { tags = ['a', \"solo\"] } # x\n"),
        ("[caption.drop]\ntags = [\n  'a', # mine\n  'b', # yours\n]\n", DROP,
         "[caption.drop]\ntags = [\n  'a', # mine\n  'b', \"solo\", # yours\n]\n"),
        ("[caption.drop]\ntags = []\n", DROP, '[caption.drop]\ntags = ["solo"]\n'),
        ("[caption.drop]\ntags = ['1girl', 'a']\n", NO_DROP, "[caption.drop]\ntags = ['a']\n"),
        ("[caption.drop]\ntags = ['a', '1girl']\n", NO_DROP, "[caption.drop]\ntags = ['a']\n"),
        ("[caption.drop]\ntags = ['1girl']\n", NO_DROP, "[caption.drop]\ntags = []\n"),
        ("[caption.drop]\ntags = ['a', '1girl', 'b']\n", NO_DROP,
         "[caption.drop]\ntags = ['a', 'b']\n"),
        # nothing to do
        ("[caption.drop]\ntags = ['a']\n", NO_DROP, "[caption.drop]\ntags = ['a']\n"),
        ("[caption.drop]\ntags = ['solo']\n", DROP, "[caption.drop]\ntags = ['solo']\n"),
        ("[tag]\n", Change(("tag", "general"), 0.35), "[tag]\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_change_touches_its_own_key_alone(
    tmp_path: Path, text: str, one: Change, after: str, line_end: str
) -> None:
    head = "\ufeff# head\n"  # with a byte order mark
    body = text.replace("\n", line_end)
    own = SETS.replace("\n", line_end)
    # a root key stands before every table
    whole = [body, own] if text.startswith("caption.") else [own, body]
    given_text = head.replace("\n", line_end) + "".join(whole)
    found = changed(tmp_path, given_text, one)
    wanted = given_text.replace(body, after.replace("\n", line_end))
    assert found == wanted


def test_a_list_with_a_default_begins_as_that(tmp_path: Path) -> None:
    text = changed(tmp_path, SETS, Change(("caption", "collapse", "spare"), "dog", "add"))
    assert tomllib.loads(text)["caption"]["collapse"]["spare"] == [*COMPOSITION, "dog"]


def test_several_changes_are_made_or_none(tmp_path: Path) -> None:
    changes = [RENAME, DROP, Change(("caption", "trigger"), "me")]
    text = changed(tmp_path, SETS, *changes)
    read = tomllib.loads(text)["caption"]
    assert read == {
        "rename": {"aiming at viewer": "aav"}, "drop": {"tags": ["solo"]}, "trigger": "me",
    }  # fmt: skip
    path = tmp_path / "prep.toml"
    with pytest.raises(RecipeError) as told:
        change(path, [Change(("caption", "trigger"), "you"), Change(("tag", "general"), 3)])
    line = len(text.splitlines()) + 3
    assert str(told.value) == f'{path} line {line}: "tag.general" is 3; it must be 1 or less'
    assert path.read_bytes().decode() == text


def test_what_cannot_be_written_says_what_to_write(tmp_path: Path) -> None:
    text = "caption = { trigger = 'a', rename = { b = 'c' } }\n[[x]]\n"
    path = tmp_path / "prep.toml"
    path.write_text(text)
    with pytest.raises(RecipeError) as told:
        change(path, [RENAME])
    assert str(told.value).startswith(f"{path}")
    assert path.read_text() == text


def test_a_change_reads_as_a_line(tmp_path: Path) -> None:
    assert RENAME.line == 'caption.rename."aiming at viewer" = "aav"'
    assert DROP.line == 'caption.drop.tags += "solo"'
    assert NO_DROP.line == 'caption.drop.tags -= "1girl"'


scalars = st.one_of(
    st.booleans(), st.integers(-99, 99), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=6),
)  # fmt: skip
keys = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(keys, st.dictionaries(keys, values, max_size=3), max_size=3), st.data())
def test_every_value_is_found_where_it_stands(
    document: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    from schemas.recipes.write import inline_key, inline_value

    gaps = st.sampled_from(["", " ", "\t"])
    lines = []
    for name, table in document.items():
        lines.append(f"[{data.draw(gaps)}{inline_key(name)}{data.draw(gaps)}] # = [x]")
        for key, value in table.items():
            gap = data.draw(gaps)
            lines.append(f"{inline_key(key)}{gap}={gap}{inline_value(value)}{gap}# 'c' ]}}")
    text = "\n".join(lines)
    assert tomllib.loads(text) == document
    found = spans(text).values

    def check(value: Any, path: tuple[str | int, ...]) -> None:
        start, end = found[path]
        assert tomllib.loads(f"v = {text[start:end]}")["v"] == value
        if isinstance(value, dict | list):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, child in pairs:
                check(child, (*path, key))

    for name, table in document.items():
        for key, value in table.items():
            check(value, (name, key))


def test_long_texts_dates_and_tables_in_lists_are_read_over() -> None:
    text = (
        'a = """x "" \\""" = 3\n[b]\n"""\nc = \'\'\'y\n\'\'\' # z\nd = 1979-05-27 07:32:00\n'
        "e = [ # f\n 1, 2 , [3],]\n[[g]]\nh = 1\n[[g]]\nh = 2\n[i.'j k']\nl.m = {n = 1}\n"
    )
    found = spans(text).values
    assert {path: text[slice(*span)] for path, span in found.items() if path[0] in "dgi"} == {
        ("d",): "1979-05-27 07:32:00", ("g", 0, "h"): "1", ("g", 1, "h"): "2",
        ("i", "j k", "l", "m"): "{n = 1}", ("i", "j k", "l", "m", "n"): "1",
    }  # fmt: skip
    assert text[slice(*found["e", 2, 0])] == "3"
    assert text[slice(*found["a",])].endswith('[b]\n"""')
