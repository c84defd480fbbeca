"""The demo's words: Danbooru's spelling, a closed and acyclic set of implications."""

import re
from itertools import pairwise

from prep.demo.vocabulary import (
    ALIASES,
    ENTAILS,
    IMPLICATIONS,
    SLOTS,
    VOCABULARY,
    WORDS,
    closed,
)


def test_names_are_unique_and_in_danbooru_form():
    names = [word.name for word in VOCABULARY]
    assert len(names) == len(set(names)) == len(WORDS)
    for name in names:
        assert re.fullmatch(r"[!-~]+", name), name
        assert name == name.lower()
        assert not name.startswith(("-", "~", "_")), name
        assert not {"__", ",", "*"} & {name[i : i + n] for n in (1, 2) for i in range(len(name))}


def test_there_are_enough_words_of_each_category():
    of = dict.fromkeys(("general", "artist", "copyright", "character", "meta"), 0)
    for word in VOCABULARY:
        of[word.category] += 1
    assert of["general"] >= 80
    assert of["artist"] >= 5
    assert of["copyright"] == 2
    assert of["character"] >= 12
    assert of["meta"] >= 2


def test_there_are_many_colours_of_hair_and_eyes():
    assert len(SLOTS["hair_color"]) >= 9
    assert len(SLOTS["eye_color"]) >= 7


def test_every_implication_and_entailment_is_between_words_of_one_category():
    for antecedent, consequent in IMPLICATIONS:
        assert WORDS[antecedent].category == WORDS[consequent].category
    for value, seen in ENTAILS.items():
        assert WORDS[value].category == "general"
        assert all(WORDS[name].category == "general" for name in seen)
    assert len(set(IMPLICATIONS)) == len(IMPLICATIONS)


def test_implications_are_acyclic():
    after: dict[str, set[str]] = {}
    for antecedent, consequent in IMPLICATIONS:
        after.setdefault(antecedent, set()).add(consequent)

    def reachable(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        for following in after.get(name, ()):
            reachable(following, (*path, name))

    for name in after:
        reachable(name, ())


def test_closing_is_transitive_and_settles():
    assert closed(["holding_sword"]) == {
        *("holding_sword", "holding_weapon", "holding", "sword", "weapon"),
    }
    assert closed([":p"]) == {":p", "tongue_out", "tongue"}
    for word in VOCABULARY:
        once = closed([word.name])
        assert closed(once) == once


def test_implied_words_do_not_stand_before_their_first_reason():
    order = {word.name: index for index, word in enumerate(VOCABULARY)}
    general = [name for name in order if WORDS[name].category == "general"]
    assert general[:2] == ["1girl", "solo"]
    assert all(order[a] < order[b] for a, b in pairwise(general))


def test_aliases_are_old_spellings_of_words():
    old = [alias for alias, _ in ALIASES]
    assert len(old) == len(set(old))
    for alias, name in ALIASES:
        assert alias not in WORDS
        assert name in WORDS
