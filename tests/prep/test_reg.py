"""The choice of regularization images, over tables written by hand.

Interactions covered: reg and captions (tags, trigger, collapsed features); reg and hashes; a choice
and what changes after it; sets with their own keys; and the manifest that comes of it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from prep import manifest, seals
from prep.dataset import Dataset
from prep.reg import choices_of, choices_path, reg
from schemas.errors import DataError, RecipeError
from schemas.recipes.load import load_prep
from schemas.tables import CAPTIONS, CHOSEN, GROUPS, HASHES, IMAGES, MANIFEST, MEMBERS

TAGS = ["1girl", "smile", "hat", "outdoors", "sitting", "dress", "comic", "monochrome"]
LIKELY = np.array([1, 0.9, 0.2, 0.8, 0.5, 0.6, 0, 0])  # in what is learnt
POOL = np.array([0.7, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3, 0.4])  # in what it is chosen from


def written(root: Path, table: Any, rows: list[dict[str, Any]]) -> None:
    table.write(Dataset.open(root).path_of(table), pa.Table.from_pylist(rows, schema=table.schema))


def caption_row(name: str, md5: str, tags: list[str]) -> dict[str, Any]:
    kinds = {"azusa_(x)": "character", "me": "trigger"}
    told = [
        {
            "tag": tag, "text": tag, "category": kinds.get(tag, "general"), "source": "booru",
            "part": "flex", "rules": [],
        }
        for tag in tags
    ]  # fmt: skip
    return {"set": name, "md5": md5, "caption": ", ".join(tags), "tags": told}


class Built:
    """A dataset of `learnt` images and of `pool` to choose from, with every table reg reads."""

    def __init__(self, root: Path, recipe: str, learnt: int = 40, pool: int = 400) -> None:
        self.root = root
        root.mkdir()
        (root / "prep.toml").write_text(recipe, encoding="utf-8")
        self.random = np.random.default_rng(0)
        self.members: list[dict[str, Any]] = []
        self.captions: list[dict[str, Any]] = []
        self.groups: list[dict[str, Any]] = []
        self.add("main", learnt, LIKELY, tall=True)
        self.add("plain", pool, POOL)
        self.write()

    @property
    def dataset(self) -> Dataset:
        return Dataset.open(self.root)

    def add(self, name: str, count: int, share: Any, *, tall: bool = False) -> list[str]:
        images, hashes = [], []
        new = []
        for _ in range(count):
            md5 = f"{len(self.members):032x}"
            new.append(md5)
            tags = [
                tag for tag, has in zip(TAGS, self.random.random(8) < share, strict=True) if has
            ]
            width, height = self.random.integers(400, 1600, 2).tolist()
            width = min(width, height) if tall else width
            images.append(
                {
                    "md5": md5, "path": f"images/00/{md5}.png", "bytes": 1, "width": width,
                    "height": height, "problem": None,
                }
            )  # fmt: skip
            phash = int(self.random.integers(0, 1 << 63)) * 2 + 1
            hashes.append({"md5": md5, "phash": phash, "small": None, "problem": None})
            self.members.append({"set": name, "md5": md5, "post_id": 0})
            self.captions.append(caption_row(name, md5, tags))
            self.groups.append(
                {
                    "set": name,
                    "md5": md5,
                    "keeper": md5,
                    "by": "itself",
                    "distance": 0,
                    "family": None,
                }
            )
        self.dataset.images.append(pa.Table.from_pylist(images, schema=IMAGES.schema))
        self.dataset.hashes.append(pa.Table.from_pylist(hashes, schema=HASHES.schema))
        return new

    def write(self) -> None:
        written(self.root, MEMBERS, self.members)
        written(self.root, GROUPS, self.groups)
        written(self.root, CAPTIONS, self.captions)

    def chosen(self, name: str = "plain") -> list[str]:
        rows = self.dataset.table(CHOSEN).to_pylist()
        return [row["md5"] for row in rows if row["set"] == name]

    def drops(self) -> dict[str, str]:
        return {
            row["item"]: row["reason"] for row in seals.read_drops(self.root, "reg").to_pylist()
        }

    def retag(self, md5: str, *tags: str) -> None:
        row = next(row for row in self.captions if row["md5"] == md5)
        row |= caption_row(row["set"], md5, list(tags))
        self.write()


RECIPE = '[sets]\nmain = { query = "a" }\nplain = { query = "b", role = "reg" }\n'
Make = Callable[..., Built]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda recipe=RECIPE, **sizes: Built(tmp_path / "set", recipe, **sizes)


def share(built: Built, md5s: list[str], tag: str) -> float:
    rows = {row["md5"]: row["caption"].split(", ") for row in built.captions}
    return sum(tag in rows[md5] for md5 in md5s) / len(md5s)


def test_as_many_are_chosen_as_are_learnt_and_they_have_the_same_tags(
    make: Make, told: Callable[[], list[str]]
) -> None:
    built = make()
    seal = reg(built.dataset)
    chosen = built.chosen()
    assert (seal.rows_in, seal.rows_out, seal.dropped) == (400, 40, {"others match better": 360})
    assert share(built, chosen, "smile") > 0.65
    assert share(built, chosen, "monochrome") < 0.2
    choice = choices_of(built.dataset)["plain"]
    kinds = ("tags", "aspect", "size")
    assert (choice.candidates, choice.chosen, set(choice.distance)) == (400, 40, set(kinds))
    for one in choice.distance.values():
        assert one.chosen <= one.random / 2
    distances = [(kind, choice.distance[kind]) for kind in kinds]
    figures = [f"{kind} {d.chosen:.2f} (at random {d.random:.2f})" for kind, d in distances]
    assert told() == [
        f"reg plain: 40 of 400 chosen; distance from what is learnt: {', '.join(figures)}"
    ]


def test_what_the_recipe_does_not_match_is_left_to_chance(make: Make) -> None:
    built = make(RECIPE + '[reg]\nmatch = ["aspect"]\n')
    reg(built.dataset)
    assert list(choices_of(built.dataset)["plain"].distance) == ["aspect"]
    widths = {
        row["md5"]: row["width"] / row["height"] for row in built.dataset.images.read().to_pylist()
    }
    wide = [md5 for md5 in built.chosen() if widths[md5] > 1]
    assert len(wide) < 6


def test_a_set_chooses_its_own_number_and_a_folder_is_taken_whole(make: Make) -> None:
    lines = '[sets]\nmain = { query = "a" }\nplain = { query = "b", role = "reg", choose = 7 }\n'
    built = make(lines + 'own = { from = "own", role = "reg" }\n', pool=90)
    built.add("own", 60, POOL)
    built.write()
    reg(built.dataset)
    assert (len(built.chosen()), len(built.chosen("own"))) == (7, 60)


def test_repeats_and_weight_of_each_set_reach_the_manifest(make: Make) -> None:
    sets = 'main = { query = "a", repeats = 3 }\nplain = { query = "b", role = "reg", choose = 5,'
    built = make(f"[sets]\n{sets} repeats = 2, weight = 0.25 }}\n", learnt=4, pool=20)
    reg(built.dataset)
    manifest.manifest(built.dataset)
    rows = MANIFEST.read(built.dataset.manifest).to_pylist()
    assert {(row["is_reg"], row["repeats"], row["weight"]) for row in rows} == {
        (False, 3, 1.0), (True, 2, 0.25),
    }  # fmt: skip
    assert sorted(row["md5"] for row in rows if row["is_reg"]) == built.chosen()


def test_repeats_weigh_what_is_to_be_matched(make: Make) -> None:
    sets = 'main = { query = "a" }\nmore = { query = "c", repeats = 20 }\n'
    built = make(f'[sets]\n{sets}plain = {{ query = "b", role = "reg", choose = 30 }}\n')
    built.add("more", 20, np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    built.write()
    reg(built.dataset)
    assert share(built, built.chosen(), "monochrome") > 0.65


def test_features_that_the_trigger_stands_for_may_differ(make: Make) -> None:
    lines = '[caption]\ntrigger = "me"\ncollapse = { tags = ["Monochrome"] }\n'
    built = make(RECIPE + lines)
    reg(built.dataset)
    assert share(built, built.chosen(), "monochrome") > 0.2


def test_nothing_near_a_training_image_nor_with_the_triggers_tag_is_chosen(make: Make) -> None:
    built = make(RECIPE + '[caption]\ntrigger = "Azusa (X)"\n[dedup]\nbits = 5\n', pool=50)
    rows = {row["md5"]: row["phash"] for row in built.dataset.hashes.read().to_pylist()}
    near, far, named = (f"{number:032x}" for number in (40, 41, 42))
    learnt = rows[f"{3:032x}"]
    changed = [
        {"md5": near, "phash": learnt ^ 0b11111 << 7, "small": None, "problem": None},
        {"md5": far, "phash": learnt ^ 0b111111 << 7, "small": None, "problem": None},
    ]
    built.dataset.hashes.append(pa.Table.from_pylist(changed, schema=HASHES.schema))
    built.retag(named, "1girl", "azusa_(x)")
    reg(built.dataset)
    assert built.drops()[near] == "near a training image"
    assert built.drops()[named] == "has the trigger's tag"
    assert built.drops().get(far) in (None, "others match better")
    assert not {near, named} & set(built.chosen())


def test_a_choice_stays_until_refit_and_is_only_added_to(make: Make) -> None:
    built = make()
    reg(built.dataset)
    first = built.chosen()
    gone = built.add("main", 6, LIKELY)
    built.add("plain", 200, LIKELY)  # better ones than were there
    built.write()
    reg(built.dataset)
    second = built.chosen()
    assert set(first) < set(second)
    assert len(second) == 46

    # what is no candidate any more is replaced, what is left out of training takes none away
    built.groups = [row for row in built.groups if row["md5"] not in {*gone, first[0]}]
    built.captions = [row for row in built.captions if row["md5"] not in {*gone, first[0]}]
    built.write()
    reg(built.dataset)
    third = built.chosen()
    assert set(second) - set(third) == {first[0]}
    assert len(third) == 45

    before = choices_of(built.dataset)["plain"].distance["tags"].chosen
    reg(built.dataset, refit=True)
    assert len(built.chosen()) == 40
    assert choices_of(built.dataset)["plain"].distance["tags"].chosen < before


def test_another_number_or_another_kind_of_match_chooses_anew(make: Make) -> None:
    built = make()
    reg(built.dataset)
    first = built.chosen()
    (built.root / "prep.toml").write_text(RECIPE.replace('"reg" }', '"reg", choose = 40 }'))
    built.add("plain", 300, LIKELY)
    built.write()
    reg(built.dataset)
    assert len(built.chosen()) == 40
    assert not set(first) <= set(built.chosen())


def test_a_replaced_image_stays_chosen(make: Make) -> None:
    from schemas.tables import REPLACED

    built = make(pool=100)
    reg(built.dataset)
    first = built.chosen()
    old, new = first[0], "f" * 32
    for rows in (built.groups, built.captions):
        for row in rows:
            row["md5"] = new if row["md5"] == old else row["md5"]
            row["keeper"] = new if row.get("keeper") == old else row.get("keeper")
    for row in built.captions:
        row.pop("keeper")
    image = {
        "md5": new, "path": "images/ff/f.png", "bytes": 1, "width": 500, "height": 600,
        "problem": None,
    }  # fmt: skip
    built.dataset.images.append(pa.Table.from_pylist([image], schema=IMAGES.schema))
    hashed = {"md5": new, "phash": 12345, "small": None, "problem": None}
    built.dataset.hashes.append(pa.Table.from_pylist([hashed], schema=HASHES.schema))
    built.write()
    written(built.root, REPLACED, [{"md5": old, "by": new, "current": True}])
    reg(built.dataset)
    assert set(built.chosen()) == {*first[1:], new}


def test_the_same_tables_give_the_same_choice_byte_for_byte(make: Make) -> None:
    built = make()
    paths = (built.dataset.path_of(CHOSEN), choices_path(built.dataset))
    reg(built.dataset)
    first = [path.read_bytes() for path in paths]
    reg(built.dataset, refit=True)
    assert [path.read_bytes() for path in paths] == first


def test_frequent_tags_that_no_candidate_has_are_told(
    make: Make, told: Callable[[], list[str]]
) -> None:
    built = make(learnt=10, pool=60)
    for number in range(10):
        built.retag(f"{number:032x}", "1girl", "halo", *(["gun"] if number < 5 else []))
    reg(built.dataset)
    assert choices_of(built.dataset)["plain"].missing == ["halo", "gun"]
    assert told()[-1] == "reg plain: no image of the set has halo, gun"


def test_a_damaged_account_of_the_choice_is_told(make: Make) -> None:
    built = make(pool=10)
    choices_path(built.dataset).write_text(json.dumps({"plain": {}}))
    with pytest.raises(DataError) as told:
        choices_of(built.dataset)
    assert str(told.value) == (
        f"{choices_path(built.dataset)} is not what `prep reg` wrote: remove it and run that"
    )


def test_without_captions_of_new_images_the_others_are_chosen(make: Make) -> None:
    built = make(pool=30)
    built.captions = [row for row in built.captions if row["md5"] != f"{45:032x}"]
    built.write()
    seal = reg(built.dataset)
    assert seal.rows_out == 29
    assert seals.read_seal(built.root, "reg") == seal


def test_a_set_may_ask_for_what_another_asks_for_without_its_first_tag(tmp_path: Path) -> None:
    sets = '[sets]\nmain = {{ query = "{}" }}\n{}\n'
    plain = 'plain = { query_of = "main", role = "reg", limit = 9 }'
    file = tmp_path / "prep.toml"
    file.write_text(sets.format("rating:g Azusa_(x) -comic order:score", plain))
    recipe = Dataset.open(tmp_path).recipe
    assert recipe.sets["plain"].query == "rating:g -azusa_(x) -comic order:score"
    assert load_prep(file).sets["plain"].query == ""

    file.write_text(sets.format("hat or smile", plain))
    with pytest.raises(RecipeError) as told:
        Dataset.open(tmp_path)
    assert str(told.value) == (
        'set "plain", query_of "main": "hat or smile" has no plain tag that it is about:'
        " write the query out instead"
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('plain = { query_of = "main", role = "reg" }', "line 3: sets.plain: query_of needs a"
         " limit: without its first tag a query finds too much"),
        ('plain = { query_of = "mian", role = "reg", limit = 9 }',
         'line 1: sets: set "plain": query_of names no set of this file'),
        ('plain = { query_of = "own", role = "reg", limit = 9 }\nown = { from = "x" }',
         'line 1: sets: set "plain": the set that query_of names has no query'),
        ('plain = { query_of = "main", limit = 9 }',
         'line 3: sets.plain: query_of is for a set with role = "reg"'),
        ('plain = { query = "x", choose = 9 }',
         'line 3: sets.plain: choose is for a set with role = "reg"'),
    ],
)  # fmt: skip
def test_keys_that_do_not_go_together_are_refused(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "prep.toml"
    file.write_text(f'[sets]\nmain = {{ query = "a" }}\n{line}\n')
    with pytest.raises(RecipeError) as caught:
        load_prep(file)
    assert str(caught.value) == f"{file} {told}"
