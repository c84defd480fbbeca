"""Aliases and implications: the rules over them, against sets and dicts in plain Python."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from prep.captions import knowledge as module
from prep.captions.columns import BOORU, KINDS, PERSON, RULE, Images, Tags, made
from prep.captions.knowledge import Implied, Knowledge, ancestors
from prep.captions.rules import Aliases, Fitted, Rename, rules_of
from schemas.recipes.prep import CaptionsSection

HAIR = {"very_long_hair": ("long_hair",), "witch_hat": ("hat",), "hat": ("headwear",)}


def columns(*pictures: Sequence[str]) -> tuple[Images, Tags]:
    """General tags of the booru, picture by picture."""
    names = tuple(sorted({name for picture in pictures for name in picture}))
    image = [n for n, picture in enumerate(pictures) for _ in picture]
    tag = [names.index(name) for picture in pictures for name in picture]
    count = len(pictures)
    images = Images.of_posts(
        ["main"] * count, [f"{n:032x}" for n in range(count)], np.arange(count)
    )
    return images, made(names, np.array(image, int), np.array(tag, int), "general", BOORU)


def lists(tags: Tags, count: int) -> list[list[str]]:
    """The names of each picture's tags, in order."""
    found: list[list[str]] = [[] for _ in range(count)]
    for image, tag in zip(tags.image.tolist(), tags.tag.tolist(), strict=True):
        found[image].append(tags.names[tag])
    return found


def after(rule: Implied | Aliases, *pictures: Sequence[str]) -> list[list[str]]:
    images, tags = columns(*pictures)
    return lists(rule(tags, images, 2), len(pictures))


def test_what_another_tag_implies_goes_over_any_number_of_steps() -> None:
    assert after(Implied(HAIR), ["headwear", "witch_hat", "smile"], ["headwear", "hat"]) == [
        ["witch_hat", "smile"],
        ["hat"],
    ]


@pytest.mark.parametrize(
    "pair",
    [("ring", "earrings"), ("cat", "cat_ears"), ("hair", "chair"), ("pants", "no_pants")],
)
def test_words_within_words_imply_nothing(pair: tuple[str, str]) -> None:
    assert after(Implied(HAIR), pair) == [list(pair)]


def test_tags_that_imply_each_other_both_stay() -> None:
    circle = {"a": ("b",), "b": ("c",), "c": ("a", "d")}
    assert after(Implied(circle), ["a", "b", "c", "d"]) == [["a", "b", "c"]]


def test_triggers_and_what_a_person_added_stay() -> None:
    images, tags = columns(["hat", "headwear", "witch_hat"])
    tags.source[0] = PERSON
    tags.category[1], tags.source[1] = KINDS.index("trigger"), RULE
    assert lists(Implied(HAIR)(tags, images, 2), 1) == [["hat", "headwear", "witch_hat"]]


def test_an_alias_takes_its_present_name_once_and_is_marked() -> None:
    knowledge = Knowledge(aliases={"nekomimi": "kemonomimi", "kemonomimi": "cat_ears"})
    images, tags = columns(["nekomimi", "smile"], ["cat_ears", "nekomimi"], ["smile"])
    resolved = Aliases(knowledge)(tags, images, 2)
    assert lists(resolved, 3) == [["cat_ears", "smile"], ["cat_ears"], ["smile"]]
    assert resolved.touched.tolist() == [2, 0, 2, 0]


def test_aliases_in_a_circle_change_nothing() -> None:
    knowledge = Knowledge(aliases={"a": "b", "b": "a", "c": "a"})
    assert after(Aliases(knowledge), ["a", "b", "c"]) == [["a", "b", "c"]]


def caption(recipe: Mapping[str, object], knowledge: Knowledge, picture: Sequence[str]) -> set[str]:
    images, tags = columns(picture)
    for rule in rules_of(CaptionsSection.model_validate(recipe), Fitted(), knowledge).values():
        tags = rule(tags, images, 2)
    return set(lists(tags, 1)[0])


def test_the_recipes_own_names_may_be_aliases() -> None:
    knowledge = Knowledge(
        aliases={"nekomimi": "cat_ears", "pony_tail": "ponytail", "specs": "glasses"}
    )
    recipe = {
        "trigger": "azusa",
        "drop": {"tags": ["Nekomimi"]},
        "collapse": {"tags": ["pony tail"]},
        "rename": {"specs": "ggl"},
    }
    picture = ["cat_ears", "ponytail", "glasses", "smile"]
    assert caption(recipe, knowledge, picture) == {"azusa", "ggl", "smile"}
    without = recipe | {"rules": ["source", "drop", "trigger", "collapse", "rename", "render"]}
    assert caption(without, knowledge, picture) == {"azusa", *picture}


def test_a_renamed_tag_implies_what_it_did() -> None:
    recipe = {"rename": {"witch hat": "wht", "headwear": "hdw"}}
    assert caption(recipe, Knowledge(implications=HAIR), ["witch_hat", "headwear"]) == {"wht"}


def test_aliases_come_first() -> None:
    with pytest.raises(ValidationError, match='"aliases" follows "source": what comes later goes'):
        CaptionsSection(rules=("source", "drop", "aliases", "render"))


words = st.sampled_from("abcdefgh")
graphs = st.dictionaries(words, st.lists(words, max_size=3).map(tuple), max_size=8)


def reached(graph: Mapping[str, Sequence[str]], name: str, steps: int = 9) -> set[str]:
    found = {name}
    for _ in range(steps):
        found |= {one for each in found for one in graph.get(each, ())}
    return found - {name} if name not in graph.get(name, ()) else found


@settings(deadline=None)
@given(graphs, st.lists(st.lists(words, max_size=6, unique=True), min_size=1, max_size=7),
       st.integers(1, 40))  # fmt: skip
def test_any_graph_drops_what_sets_say(
    graph: dict[str, tuple[str, ...]], pictures: list[list[str]], block: int
) -> None:
    def implied(name: str, picture: Sequence[str]) -> bool:
        return any(
            name in reached(graph, other) and other not in reached(graph, name)
            for other in picture
            if other != name
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        assert after(Implied(graph), *pictures) == [
            [name for name in picture if not implied(name, picture)] for picture in pictures
        ]


@settings(deadline=None)
@given(st.dictionaries(words, words, max_size=5),
       st.lists(st.lists(words, max_size=6, unique=True), min_size=1, max_size=5))  # fmt: skip
def test_renaming_some_images_leaves_the_others(
    names: dict[str, str], pictures: list[list[str]]
) -> None:
    images, tags = columns(*pictures)
    expected = [list(dict.fromkeys(names.get(one, one) for one in each)) for each in pictures]
    assert lists(Rename(names)(tags, images, 2), len(pictures)) == expected


def test_only_names_that_are_there_are_ancestors() -> None:
    assert ancestors(HAIR, ["witch_hat", "headwear"]) == {"witch_hat": {"headwear"}}
