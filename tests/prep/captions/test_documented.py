"""docs/captions.md tells the truth: its examples and its whole recipe are run."""

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from prep.caption import caption, spellings
from prep.captions.columns import BOORU, Images, made
from prep.captions.knowledge import Knowledge
from prep.captions.render import laid_out, render
from prep.captions.rules import Fitted, rules_of
from prep.dataset import Dataset
from prep.seals import drops_of
from schemas.files import write_text
from schemas.recipes.prep import CaptionsSection, RuleName
from schemas.tables import CAPTIONS, GROUPS, MEMBERS, POSTS, SITE_TAGS
from schemas.tags import canonical

PAGE = (Path(__file__).parents[3] / "docs/captions.md").read_text(encoding="utf-8")
SITE = Knowledge({"nekomimi": "cat_ears"}, {"witch_hat": ("hat",)})
JUNE = datetime(2019, 6, 1, tzinfo=UTC)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table() -> list[list[str]]:
    """The rows of the table of rules: rule, keys, example, before, after."""
    lines = [line for line in section("The rules, in order").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
    return [[cell.strip("`") if n != 1 else cell for n, cell in enumerate(row)] for row in rows]


def test_the_table_has_all_rules_in_their_order() -> None:
    assert [row[0] for row in table()] == list(get_args(RuleName))


@pytest.mark.parametrize("row", [row for row in table() if len(row) == 5 and row[3]])
def test_the_examples_of_the_rules_are_what_they_make(row: list[str]) -> None:
    rule, _, example, before, after = row
    keys = tomllib.loads(f"caption = {{ {example} }}")["caption"]
    recipe = CaptionsSection.model_validate(keys)
    names = tuple(map(canonical, before.split(", ")))
    bare = Images.of_posts(["main"], ["0" * 32], np.array([1]))
    images = Images(
        bare.sets, bare.md5s, bare.post_ids, bare.is_reg, np.array([20.0]),
        np.array([(JUNE - datetime(1970, 1, 1, tzinfo=UTC)).days], np.int32),
        np.array([0], np.int8),
    )  # fmt: skip
    tags = made(names, np.zeros(len(names), int), np.arange(len(names)), "general", BOORU)
    order = list(recipe.rules)
    for name, one in rules_of(recipe, Fitted(), SITE).items():
        tags = one(tags, images, 1 << order.index(name))
    laid = laid_out(tags, images, recipe.render, order, spellings(recipe))
    (made_of_it,) = render(*laid, images, order).to_pylist()
    assert made_of_it["caption"] == after
    assert rule in order


def posts(*given: dict[str, Any]) -> pa.Table:
    usual: dict[Any, Any] = {pa.string(): "", pa.bool_(): False, pa.list_(pa.string()): []}
    rows = [
        {
            column.name: None if column.nullable else usual.get(column.type, 0)
            for column in POSTS.schema
        }
        | one
        for one in given
    ]
    return pa.Table.from_pylist(rows, schema=POSTS.schema)


def test_the_whole_recipe_makes_the_caption_it_says(tmp_path: Path) -> None:
    whole = section("A whole recipe")
    recipe, told, caption_told = re.findall(r"```(?:toml|text)\n(.*?)```", whole, re.DOTALL)
    write_text(tmp_path / "prep.toml", f'sets = {{ main = {{ query = "hat" }} }}\n{recipe}')
    facts = dict(re.findall(r"(\w+): (.*?)(?:   |\n)", told))
    assert "June 2019" in told
    post = {
        "general": facts["general"].split(", "), "character": [facts["character"]],
        "artist": [facts["artist"]], "score": int(facts["score"]), "rating": facts["rating"],
        "created_at": JUNE,
    }  # fmt: skip
    dataset = Dataset.open(tmp_path)
    dataset.posts.append(posts({**post, "id": 1}, {**post, "id": 2, "score": 4}))
    md5s = ["a" * 32, "b" * 32]
    members = [{"set": "main", "md5": md5, "post_id": n} for n, md5 in enumerate(md5s, 1)]
    MEMBERS.write(dataset.path_of(MEMBERS), pa.Table.from_pylist(members, schema=MEMBERS.schema))
    groups = [
        {"set": "main", "md5": md5, "keeper": md5, "by": "itself", "distance": 0, "family": None}
        for md5 in md5s
    ]
    GROUPS.write(dataset.path_of(GROUPS), pa.Table.from_pylist(groups, schema=GROUPS.schema))
    site = {"site": dataset.recipe.fetch.site, "category": None, "alias_of": None, "asked": 0}
    known = [{**site, "name": "witch_hat", "implies": ["hat"]}]
    SITE_TAGS.write(
        dataset.path_of(SITE_TAGS), pa.Table.from_pylist(known, schema=SITE_TAGS.schema)
    )
    caption(dataset)
    (row,) = dataset.table(CAPTIONS).to_pylist()
    assert row["caption"] == caption_told.strip()
    parts = {part: [tag["text"] for tag in row["tags"] if tag["part"] == part]
             for part in ("head", "flex", "tail")}  # fmt: skip
    assert parts["head"] == ["lav", "1girl"]
    assert parts["tail"][0] == "masterpiece"
    assert [drop.reason for drop in drops_of(tmp_path, "caption")] == ["score below 5"]


@pytest.mark.parametrize("title", ["Quality", "Years and ratings"])
def test_the_tables_of_the_page_are_recipes(title: str) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", section(title), re.DOTALL)
    CaptionsSection.model_validate(tomllib.loads(text)["caption"])
