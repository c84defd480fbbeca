"""`prep caption` over a folder whose tables were written by hand: whose tags, found features."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prep.caption import caption, inputs
from prep.caption_fits import features_path
from prep.captions.tokens import Tokenizer
from prep.dataset import Dataset
from prep.edits import lines
from prep.edits.edit import Wanted, edit
from prep.edits.taken_back import take_back
from prep.lint.evidence import gather
from prep.lint.words import Words, words_alone
from prep.probabilities import index_path, labels_path
from prep.seals import Drop, drops_of, read_seal
from schemas.errors import DatasetError
from schemas.files import write_json, write_text
from schemas.tables import (
    CAPTIONS,
    GROUPS,
    IMPORTED,
    MEMBERS,
    POSTS,
    PROBABILITIES,
    SITE_TAGS,
    TWINS,
)

CSV = "tag_id,name,category,count\n1,hat,0,9\n2,long_hair,0,9\n3,azusa_(x),4,9\n"
A, B, C, D = (letter * 32 for letter in "abcd")
PROBABLE = {A: ([0, 1], [0.9, 0.8]), C: ([2, 0], [0.9, 0.3]), D: ([1], [0.5])}
RECIPE = """
[sets]
main = { query = "hat" }
plain = { query = "1girl", role = "reg" }
[tag]
taggers = ["wd"]
"""
POST = {
    "md5": None, "pixel_hash": None, "file_ext": "png", "file_size": 1, "width": 1, "height": 1,
    "rating": "g", "fav_count": 0, "created_at": 0, "updated_at": 0, "parent_id": None,
    "is_deleted": False, "is_banned": False, "source": "", "file_url": None, "character": [],
    "copyright": [], "artist": [], "meta": [],
}  # fmt: skip

TEXT = {
    "set": "main", "md5": C, "file": "c.png", "categories": ["", ""], "sentence": "",
    "post_id": 0, "gone": False,
}  # fmt: skip


def rows(table: Any, *of: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(of), schema=table.schema)


def group(part: str, md5: str, keeper: str | None = None) -> dict[str, Any]:
    by = "phash" if keeper else "itself"
    row = {"set": part, "md5": md5, "keeper": keeper or md5, "by": by, "distance": 0}
    return {**row, "family": None}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A and C to learn (C from a folder), B like A, D as regularization."""
    write_text(tmp_path / "prep.toml", RECIPE)
    dataset = Dataset.open(tmp_path)
    dataset.posts.append(
        rows(
            POSTS,
            {**POST, "id": 1, "score": 20, "general": ["hat", "belt"], "artist": ["me"]},
            {**POST, "id": 2, "score": 70, "general": ["hat", "gloves"]},
            {**POST, "id": 4, "score": 3, "general": ["hat", "solo"]},
        )
    )
    members = [("main", A, 1), ("main", B, 2), ("main", C, 0), ("plain", D, 4)]
    MEMBERS.write(
        dataset.path_of(MEMBERS),
        rows(MEMBERS, *({"set": s, "md5": m, "post_id": n} for s, m, n in members)),
    )
    groups = group("main", A), group("main", B, A), group("main", C), group("plain", D)
    GROUPS.write(dataset.path_of(GROUPS), rows(GROUPS, *groups))
    text = {**TEXT, "tags": ["azusa_(x)", "hat"]}
    IMPORTED.write(dataset.path_of(IMPORTED), rows(IMPORTED, text))
    return tmp_path


def tagged(
    root: Path,
    csv: str = CSV,
    values: Mapping[str, tuple[list[int], list[float]]] = PROBABLE,
) -> None:
    dataset = Dataset.open(root)
    write_json(index_path(dataset), {"wd": "0123"})
    write_text(labels_path(dataset, "0123"), csv)
    dataset.probabilities("0123").append(
        rows(
            PROBABILITIES,
            *(
                {"md5": md5, "labels": labels, "values": numbers, "problem": None}
                for md5, (labels, numbers) in values.items()
            ),
        )
    )


def captions(root: Path, *changes: str, refit: bool = False) -> dict[str, str]:
    dataset = Dataset.open(root, changes)
    caption(dataset, refit=refit)
    return {row["md5"]: row["caption"] for row in dataset.table(CAPTIONS).to_pylist()}


BARE = "caption.rules=['source','render']"
FOUND = "caption.trigger=azusa", "caption.collapse={ tags = 'found', share = 1.0 }"


def test_a_keeper_takes_its_duplicates_tags_where_the_recipe_says_so(root: Path) -> None:
    alone = captions(root, BARE, "caption.source=booru")
    assert alone == {A: "hat, belt, me", C: "azusa (x), hat", D: "hat, solo"}
    merged = captions(root, BARE, "caption.source=booru", "dedup.merge_tags=true")
    assert merged == {**alone, A: "hat, belt, me, gloves"}


def test_a_keeper_takes_the_tags_of_posts_whose_files_were_never_fetched(root: Path) -> None:
    dataset = Dataset.open(root)
    posts = {**POST, "id": 8, "score": 1, "general": ["hat", "scarf"]}, {
        **POST, "id": 9, "score": 1, "general": ["solo", "boots"]
    }  # fmt: skip
    dataset.posts.append(rows(POSTS, *posts))
    # of the pixels of the keeper's duplicate, and of an image that stands alone
    twins = {"set": "main", "md5": B, "post_id": 8}, {"set": "plain", "md5": D, "post_id": 9}
    TWINS.write(dataset.path_of(TWINS), rows(TWINS, *twins))
    alone = captions(root, BARE, "caption.source=booru")
    assert alone == {A: "hat, belt, me", C: "azusa (x), hat", D: "hat, solo"}
    merged = captions(root, BARE, "caption.source=booru", "dedup.merge_tags=true")
    assert merged == {
        A: "hat, belt, me, gloves, scarf", C: "azusa (x), hat", D: "hat, solo, boots"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("booru", {A: "hat, belt, me", C: "azusa (x), hat", D: "hat, solo"}),
        ("taggers", {A: "hat, long hair", C: "azusa (x)", D: "long hair"}),
        (
            "union",
            {
                A: "hat, belt, me, long hair",
                C: "azusa (x), hat",
                D: "hat, solo, long hair",
            },
        ),
        ("intersection", {A: "hat", C: "azusa (x)", D: ""}),
    ],
)
def test_whose_tags(root: Path, source: str, expected: dict[str, str]) -> None:
    tagged(root)
    assert captions(root, BARE, f"caption.source={source}") == expected


@pytest.mark.parametrize(
    ("few", "expected"),
    [
        (1, {A: "hat, belt, me", C: "azusa (x), hat", D: "hat, solo"}),
        (2, {A: "hat, belt, me", C: "azusa (x), hat", D: "hat, solo"}),
        (3, {A: "hat, belt, me, long hair", C: "azusa (x), hat", D: "hat, solo, long hair"}),
    ],
)
def test_taggers_add_to_images_of_few_general_tags_alone(
    root: Path, few: int, expected: dict[str, str]
) -> None:
    tagged(root)
    assert captions(root, BARE, "caption.source=booru-first", f"caption.few={few}") == expected


def test_each_tag_knows_its_category_source_and_rules(root: Path) -> None:
    tagged(root)
    captions(root, "caption.trigger=azusa")
    (row,) = [r for r in Dataset.open(root).table(CAPTIONS).to_pylist() if r["md5"] == C]
    assert [(t["tag"], t["category"], t["source"], t["part"], t["rules"]) for t in row["tags"]] == [
        ("azusa", "trigger", "rule", "head", ["trigger"]),
        ("azusa_(x)", "character", "both", "flex", []),
        ("hat", "general", "booru", "flex", []),
    ]


def test_only_keepers_get_captions_and_scores_are_the_posts(root: Path) -> None:
    quality = "caption.quality={ good = 18, any = -99 }"
    assert captions(root, quality, "caption.drop.categories=['artist']") == {
        A: "good, any, hat, belt",
        C: "azusa (x), hat",
        D: "any, hat, solo",
    }


def test_images_of_too_low_a_score_are_drops_and_shape_nothing(root: Path) -> None:
    dataset = Dataset.open(root, [*FOUND, "caption.drop.below=4"])
    assert captions(root, *FOUND, "caption.drop.below=21") == {C: "azusa"}
    assert json.loads(features_path(dataset).read_text())["tags"] == ["azusa_(x)", "hat"]
    assert captions(root, "caption.drop.below=4").keys() == {A, C}
    seal = read_seal(root, "caption")
    assert seal is not None
    assert (seal.rows_in, seal.rows_out, seal.dropped) == (3, 2, {"score below 4": 1})
    assert drops_of(root, "caption") == [Drop("plain", D, "score below 4", "score 3")]
    assert captions(root, BARE, "caption.drop.below=4").keys() == {A, C, D}  # without the rule


def test_edits_of_images_of_too_low_a_score_wait(root: Path, told: Callable[[], list[str]]) -> None:
    captions(root)
    edit(root, "solo", Wanted(add=["smile"]), command="edit")
    told()
    assert captions(root, "caption.drop.below=4").keys() == {A, C}
    assert told() == ["caption: edits of 1 images wait, which get no captions now"]
    assert captions(root)[D] == "hat, solo, smile"


RATED = "caption.rating={ g = 'Safe', e = 'nsfw' }"


def test_the_rating_is_the_sites_or_else_the_taggers(root: Path) -> None:
    assert captions(root, RATED) == {
        A: "Safe, hat, belt",
        C: "azusa (x), hat",
        D: "Safe, hat, solo",
    }
    tagged(root, CSV + "4,explicit,9,9\n", {C: ([3, 0], [0.9, 0.8]), D: ([3], [0.9])})
    assert captions(root, RATED)[C] == "nsfw, azusa (x), hat"
    assert captions(root, RATED)[D] == "Safe, hat, solo"
    assert captions(root, RATED, "caption.source=booru")[C] == "nsfw, azusa (x), hat"
    assert captions(root, RATED, "tag.rating=0.95")[C] == "azusa (x), hat"


def test_the_year_is_that_of_the_post_and_words_are_as_they_were_typed(root: Path) -> None:
    dataset = Dataset.open(root)
    eve = datetime(2020, 12, 31, 23, 59, 59, 999000, UTC)
    new = {**POST, "id": 1, "score": 20, "general": ["hat"], "created_at": eve}
    dataset.posts.append(rows(POSTS, new))
    years = "caption.year={ 'Newest' = 2021, recent_years = 2018, oldest = 1970 }"
    assert captions(root, years) == {
        A: "recent_years, hat", C: "azusa (x), hat", D: "oldest, hat, solo"
    }  # fmt: skip
    (row,) = [r for r in dataset.table(CAPTIONS).to_pylist() if r["md5"] == D]
    year = row["tags"][0]
    assert (year["tag"], year["category"], year["source"]) == ("oldest", "year", "rule")
    assert year["rules"] == ["year"]


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        (
            ["caption.rename={ hat = 'Solo', belt = 'gold belt' }"],
            ['rename calls "hat" "Solo", which is a tag of its own with its own meaning;'
             ' a word that is none, such as "aav", is free for it'],
        ),
        (["caption.rename={ hat = 'solo' }", "caption.rules=['source','render']"], []),
        (["caption.rename={ hat = 'long hair' }"], []),
        (["caption.render.keep=['belts', 'trigger', 'belt', 'Lav']", "caption.trigger='lav'"],
         ['render.keep names "belts", which no image has; did you mean "belt"?']),
        (["caption.render.tail=['hat', 'cap']", "caption.rename={ hat = 'cap' }"],
         ['render.tail names "hat", which rename calls "cap" by then']),
    ],
)  # fmt: skip
def test_names_that_do_nothing_or_mean_something_else_are_told(
    root: Path, told: Callable[[], list[str]], changes: list[str], sentences: list[str]
) -> None:
    captions(root, *changes)
    assert told() == [f"caption: {sentence}" for sentence in sentences]


def test_a_name_that_the_site_or_a_tagger_knows_is_told(
    root: Path, told: Callable[[], list[str]]
) -> None:
    tagged(root)
    dataset = Dataset.open(root)
    site = {"site": dataset.recipe.fetch.site, "category": None, "implies": [], "asked": 0}
    aliases = {**site, "name": "headgear", "alias_of": "hat"}
    SITE_TAGS.write(dataset.path_of(SITE_TAGS), rows(SITE_TAGS, aliases))
    captions(root, "caption.rename={ belt = 'long hair', headgear = 'hat', solo = 'headgear' }")
    free = 'a tag of its own with its own meaning; a word that is none, such as "aav", is free'
    assert told() == [
        f'caption: rename calls "belt" "long hair", which is {free} for it',
        f'caption: rename calls "solo" "headgear", which is {free} for it',
    ]
    captions(root, "caption.render.tail=['headgear']")
    assert told() == ['caption: render.tail names "headgear", which the site now calls "hat"']


def test_single_tags_have_fixed_places_and_words_stand_at_both_ends(root: Path) -> None:
    tagged(root)
    render = "caption.render={ keep = ['trigger', 'Hat'], tail = ['hat ornament', 'azusa (x)'],"
    fixed = " prefix = ['my_Style', 'belt'], suffix = ['the End'] }"
    assert captions(root, "caption.trigger=azusa", render + fixed) == {
        A: "my_Style, belt, azusa, hat, long hair, the End",
        C: "my_Style, belt, azusa, hat, azusa (x), the End",
        D: "my_Style, belt, hat, solo, long hair, the End",
    }
    table = Dataset.open(root).table(CAPTIONS).to_pylist()
    assert {row["md5"]: [tag["part"] for tag in row["tags"]] for row in table} == {
        A: ["head"] * 4 + ["flex", "tail"],
        C: ["head"] * 4 + ["tail", "tail"],
        D: ["head"] * 2 + ["flex"] * 3 + ["tail"],
    }
    assert table[0]["tags"][0] == {
        "tag": "my_style", "text": "my_Style", "category": "general", "source": "rule",
        "part": "head", "rules": ["render"],
    }  # fmt: skip


def test_what_a_person_wrote_word_for_word_gets_no_prefix(root: Path) -> None:
    captions(root)
    edit(root, "solo", Wanted(caption="alone, hat"), command="edit")
    assert captions(root, "caption.render.prefix=['my style']") == {
        A: "my style, hat, belt", C: "my style, azusa (x), hat", D: "alone, hat"
    }  # fmt: skip


SAID = "A witch sits there, her (old) hat in hand."


@pytest.fixture
def sentence(root: Path) -> str:
    """What stands beside C, and beside an image of another set that has none."""
    dataset = Dataset.open(root)
    text = {**TEXT, "tags": ["azusa_(x)", "hat"], "sentence": SAID}
    IMPORTED.write(
        dataset.path_of(IMPORTED),
        rows(IMPORTED, text, {**text, "set": "other", "md5": D}),
    )
    return SAID


def test_a_sentence_stands_whole_before_or_after_the_tags(root: Path, sentence: str) -> None:
    fixed = "caption.trigger=azusa", "caption.render.tail=['azusa (x)']"
    both = *fixed, "caption.render.suffix=['end']"
    assert captions(root, *fixed)[C] == "azusa, hat, azusa (x)"
    before = captions(root, *both, "caption.render.sentence=before")
    assert before[C] == f"azusa, {sentence}, hat, azusa (x), end"
    assert before[D] == "hat, solo, end"
    assert captions(root, *both, "caption.render.sentence=after", "caption.render.escape=true") == {
        A: "azusa, hat, belt, end",
        C: "azusa, hat, azusa \\(x\\), end, A witch sits there, her \\(old\\) hat in hand.",
        D: "hat, solo, end",
    }
    (row,) = [r for r in Dataset.open(root).table(CAPTIONS).to_pylist() if r["md5"] == C]
    assert row["tags"][-1] == {
        "tag": SAID, "text": "A witch sits there, her \\(old\\) hat in hand.",
        "category": "sentence", "source": "booru", "part": "tail", "rules": ["render"],
    }  # fmt: skip


def test_a_sentence_stays_beside_what_a_person_wrote(root: Path, sentence: str) -> None:
    captions(root)
    edit(root, "azusa_(x)", Wanted(caption="alone, hat"), command="edit")
    assert captions(root, "caption.render.sentence=before")[C] == f"{SAID}, alone, hat"


def test_edits_in_a_text_leave_its_sentence_alone(root: Path, sentence: str) -> None:
    write_text(root / "prep.toml", RECIPE + '[caption.render]\nsentence = "before"\n')
    assert captions(root)[C] == f"{SAID}, azusa (x), hat"
    text = lines.write_lines(root, "azusa_(x)")
    first = text.read_text(encoding="utf-8")
    assert f"{C} | {SAID} ||| azusa (x), hat" in first
    write_text(text, first.replace("hat, in", "hat").replace(" hat\n", " cap\n"))
    outcome = take_back(root, text, command="edit --from")
    assert [(change.do, [tag.tag for tag in change.tags]) for change in outcome.changes] == [
        ("remove", ["hat"]), ("add", ["cap"])
    ]  # fmt: skip
    assert captions(root)[C] == f"{SAID}, azusa (x), cap"
    # the whole caption as it was written, where its order is another
    write_text(text, first.replace("azusa (x), hat", "hat, azusa (x)"))
    take_back(root, text, command="edit --from")
    assert captions(root)[C] == f"{SAID}, hat, azusa (x)"


def test_lint_judges_tags_alone_but_counts_the_tokens_of_sentences(
    root: Path, sentence: str
) -> None:
    captions(root, "caption.render.sentence=after")
    evidence = gather(Dataset.open(root), Words(words_alone, "words", exact=False), 75)
    held = {evidence.tags.names[code] for code in evidence.tags.tag.tolist()}
    assert held == {"hat", "belt", "azusa_(x)", "solo"}
    assert len(evidence.written) == len(evidence.tags) + 1
    assert sentence in evidence.texts


def test_a_sentence_that_was_changed_is_told(root: Path, sentence: str) -> None:
    write_text(root / "prep.toml", RECIPE + '[caption.render]\nsentence = "before"\n')
    captions(root)
    text = lines.write_lines(root, "azusa_(x)")
    write_text(text, text.read_text(encoding="utf-8").replace("sits", "stands"))
    with pytest.raises(DatasetError) as refused:
        take_back(root, text, command="edit --from")
    assert str(refused.value) == (
        f'{text}, line 4, is no caption: the sentence "A witch sits there, her (old) hat in han'
        ' ..." was changed: edits are of tags, and sentences are changed in the folder they were'
        " imported from, or by `prep edit --caption`: nothing is changed; mend the line, then"
        f" `prep edit --from {text}` takes the captions"
    )


def test_lower_thresholds_need_no_tagger(root: Path) -> None:
    tagged(root)
    changes = BARE, "caption.source=taggers", "tag.general=0.2", "tag.character=0.95"
    assert captions(root, *changes)[C] == "hat"


def test_found_features_stay_as_they_are_until_refit(root: Path) -> None:
    dataset = Dataset.open(root)
    assert captions(root, *FOUND) == {A: "azusa, belt", C: "azusa, azusa (x)", D: "hat, solo"}
    assert json.loads(features_path(dataset).read_text())["tags"] == ["hat"]
    IMPORTED.write(dataset.path_of(IMPORTED), IMPORTED.empty())
    text = {**TEXT, "tags": ["belt", "hat"]}
    IMPORTED.write(dataset.path_of(IMPORTED), rows(IMPORTED, text))
    assert captions(root, *FOUND)[A] == "azusa, belt"
    assert captions(root, *FOUND, refit=True) == {A: "azusa", C: "azusa", D: "hat, solo"}


def test_features_are_found_anew_when_their_terms_change(root: Path) -> None:
    captions(root, *FOUND)
    share = "caption.collapse={ tags = 'found', share = 0.5 }"
    assert captions(root, FOUND[0], share) == {
        A: "azusa", C: "azusa", D: "hat, solo"
    }  # fmt: skip
    assert json.loads(features_path(Dataset.open(root)).read_text())["share"] == 0.5


def test_features_are_found_anew_when_other_few_tags_are_added_to(root: Path) -> None:
    tagged(root)
    first = "caption.collapse={ tags = 'found', share = 0.5 }", "caption.source=booru-first"
    path = features_path(Dataset.open(root))
    captions(root, FOUND[0], *first, "caption.few=1")
    assert json.loads(path.read_text())["tags"] == ["belt", "hat"]
    captions(root, FOUND[0], *first, "caption.few=3")
    assert json.loads(path.read_text())["tags"] == ["belt", "hat", "long_hair"]


def test_the_same_inputs_give_the_same_bytes(root: Path) -> None:
    tagged(root)
    captions(root)
    path = Dataset.open(root).path_of(CAPTIONS)
    before, seal = path.read_bytes(), read_seal(root, "caption")
    path.unlink()
    captions(root)
    assert path.read_bytes() == before
    assert read_seal(root, "caption") == seal
    assert seal is not None
    assert (seal.rows_in, seal.rows_out, seal.dropped) == (3, 3, {})


def test_a_set_without_images_has_no_captions(tmp_path: Path) -> None:
    write_text(tmp_path / "prep.toml", RECIPE)
    assert captions(tmp_path, "caption.trigger=azusa") == {}


def test_captions_have_at_most_so_many_tokens_of_the_model_to_train(root: Path) -> None:
    changes = ("caption.source=booru", "caption.render.max_tokens=75", "caption.trigger=azusa")
    many = [f"tag{n:02}" for n in range(40)]
    dataset = Dataset.open(root, changes)
    dataset.posts.append(rows(POSTS, {**POST, "id": 1, "score": 20, "general": many}))
    dataset.posts.fold()
    with pytest.raises(DatasetError) as error:
        caption(dataset)
    assert str(error.value) == (
        "caption.render.max_tokens = 75 counts as train.toml's model does, which is not on this"
        " machine: put it there, or set max_tokens = 0; training cuts captions itself"
    )

    def cut(texts: Sequence[str]) -> list[tuple[str, ...]]:
        return [(text,) * (2 + text.endswith(",")) for text in texts]

    known = replace(dataset, tokenizer=Tokenizer(cut, "three a tag"))
    caption(known)
    table = CAPTIONS.read(dataset.path_of(CAPTIONS)).to_pylist()
    (first,) = [row["caption"] for row in table if row["md5"] == A]
    assert first == ", ".join(["azusa", *many[:24]])  # 24 tags of 3, the last of 2
    assert inputs(known) != inputs(dataset)
    assert inputs(known) == read_seal(root, "caption").inputs  # type: ignore[union-attr]
