"""Reading recipes: defaults, changes from the command line, and every fault as one sentence."""

import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from schemas.errors import RecipeError
from schemas.recipes.load import load_prep, load_train
from schemas.recipes.prep import PrepRecipe, SetSection
from schemas.recipes.section import Section
from schemas.recipes.train import TrainRecipe

SETS = '[sets]\nmain = { query = "hat" }\n'
MODEL = '[model]\npath = "m"\n'


def prep(folder: Path, text: str, *changes: str) -> PrepRecipe:
    (folder / "prep.toml").write_text(text, encoding="utf-8")
    return load_prep(folder / "prep.toml", changes)


def train(folder: Path, text: str, *changes: str) -> TrainRecipe:
    (folder / "train.toml").write_text(text, encoding="utf-8")
    return load_train(folder / "train.toml", changes)


def told(load: Any, folder: Path, text: str, *changes: str) -> str:
    """The sentence of the error, with the folder left out."""
    with pytest.raises(RecipeError) as error:
        load(folder, text, *changes)
    return str(error.value).replace(f"{folder}/", "").replace(f"{folder}\\", "")


def test_what_is_not_written_has_its_default(tmp_path: Path) -> None:
    recipe = prep(tmp_path, SETS)
    assert recipe.sets["main"] == SetSection(query="hat")
    assert recipe.dedup.bits == 6
    assert recipe.caption.rules[0] == "source"
    assert train(tmp_path, MODEL).steps.total == 4000


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert prep(tmp_path, "\ufeff" + SETS).sets["main"].query == "hat"


def test_quality_tags_are_sorted_by_their_least_score(tmp_path: Path) -> None:
    text = SETS + '[caption.quality]\n"high quality" = 6\nmasterpiece = 60\n"best quality" = 18\n'
    scores = prep(tmp_path, text).caption.quality.least
    assert list(scores.items()) == [("masterpiece", 60), ("best quality", 18), ("high quality", 6)]


def test_a_site_loses_its_last_slash(tmp_path: Path) -> None:
    text = SETS + '[fetch]\nsite = "http://booru:3000/"\n'
    assert prep(tmp_path, text).fetch.site == "http://booru:3000"


# --- changes from the command line


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("dedup.bits=4", 4),
        (" dedup . bits = 4 ", 4),
        ('"dedup".bits=4', 4),
    ],
)
def test_a_change_is_read_as_toml(tmp_path: Path, change: str, value: object) -> None:
    assert prep(tmp_path, SETS + "[dedup]\nbits = 9\n", change).dedup.bits == value


def test_a_change_that_is_no_toml_is_taken_as_text(tmp_path: Path) -> None:
    changes = "fetch.site=http://other:1", "caption.trigger= azusa (blue archive)"
    recipe = prep(tmp_path, SETS, *changes)
    assert recipe.fetch.site == "http://other:1"
    assert recipe.caption.trigger == "azusa (blue archive)"


def test_a_change_can_be_a_list_or_a_table(tmp_path: Path) -> None:
    recipe = prep(
        tmp_path, SETS, 'sets.more={ from = "picks" }', 'caption.drop.tags=["hat", "a = b"]'
    )
    assert recipe.sets["more"].folder == "picks"
    assert recipe.caption.drop.tags == ("hat", "a = b")


@pytest.mark.parametrize("key", ['"hair.ornament=x"', "'hair.ornament=x'"])
def test_a_quoted_key_of_a_change_is_one_key(tmp_path: Path, key: str) -> None:
    recipe = prep(tmp_path, SETS, f"tag.threshold.{key}=0.5")
    assert recipe.tag.threshold == {"hair.ornament=x": 0.5}


def test_a_key_of_several_words_needs_no_quotes(tmp_path: Path) -> None:
    recipe = prep(tmp_path, SETS, "caption.rename.aiming at viewer=aav")
    assert recipe.caption.rename == {"aiming at viewer": "aav"}


@pytest.mark.parametrize("change", ["dedup.bits", "=4", "dedup.=4", ".bits=4", "dedup..bits=4", ""])
def test_a_change_that_is_none_is_told(tmp_path: Path, change: str) -> None:
    assert told(prep, tmp_path, SETS, change) == (
        f'--set {change}: write it as key=value, such as "adapter.dim=32"'
    )


def test_a_change_below_a_value_is_told(tmp_path: Path) -> None:
    text = SETS + "[dedup]\nbits = 6\n"
    assert told(prep, tmp_path, text, "dedup.bits.more=1") == (
        '--set dedup.bits.more=1: "bits" is no table'
    )


def test_a_fault_in_a_change_names_the_change(tmp_path: Path) -> None:
    assert told(prep, tmp_path, SETS, "dedup.bit=4") == (
        '--set dedup.bit=4: unknown key "dedup.bit"; did you mean "bits"?'
    )
    assert told(prep, tmp_path, SETS, "dedup.bits=40") == (
        '--set dedup.bits=40: "dedup.bits" is 40; it must be 16 or less'
    )


# --- files


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        load_prep(tmp_path / "prep.toml")
    assert str(error.value) == f"{tmp_path / 'prep.toml'} is missing: `prep init` writes one"


@pytest.mark.skipif("os.name == 'nt'", reason="a folder is a permission error there")
def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        load_prep(tmp_path)
    assert str(error.value) == f"{tmp_path} is a folder, not a recipe file"


def test_a_file_of_another_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / "prep.toml"
    path.write_bytes(b"[sets]\n# \xe9\n")
    with pytest.raises(RecipeError) as error:
        load_prep(path)
    assert str(error.value) == (
        f"{path} cannot be read as UTF-8 text:"
        " 'utf-8' codec can't decode byte 0xe9 in position 9: invalid continuation byte"
    )


def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    text = '[sets]\nmain = "a\n'
    with pytest.raises(tomllib.TOMLDecodeError, match="line 2") as fault:
        tomllib.loads(text)
    assert told(prep, tmp_path, text) == f"prep.toml: not TOML: {fault.value}"


# --- values


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", 'prep.toml: "sets" must be given'),
        ("[sets]\n", 'prep.toml line 1: "sets" is {}; it must be at least 1 long'),
        ("sets = 3\n", 'prep.toml line 1: "sets" is 3; it must be a table in { }'),
        (
            SETS + "[dedup]\nbits = 6.5\n",
            'prep.toml line 4: "dedup.bits" is 6.5; it must be a whole number',
        ),
        (
            SETS + '[dedup]\nbits = "few"\n',
            'prep.toml line 4: "dedup.bits" is "few"; it must be a whole number',
        ),
        (
            SETS + '[fetch]\nsize = "large"\n',
            'prep.toml line 4: fetch.size: size is "original", "sample", or pixels, 64 or more',
        ),
        (
            SETS + "[dedup]\nbits = -1\n",
            'prep.toml line 4: "dedup.bits" is -1; it must be 0 or more',
        ),
        (
            SETS + "[tag]\ngeneral = []\n",
            'prep.toml line 4: "tag.general" is []; it must be a number',
        ),
        (
            SETS + '[tag]\ncharacter = "mct"\n',
            'prep.toml line 4: tag.character: it is a probability from 0.01 to 1, or "mcut"',
        ),
        (
            SETS + "[tag]\ncharacter = 1.5\n",
            'prep.toml line 4: "tag.character" is 1.5; it must be 1 or less',
        ),
        (
            SETS + '[tag]\ntaggers = ["own", "other"]\nweight = { owm = 2.0 }\n',
            'prep.toml line 3: tag: weight names "owm", which is none of the taggers; '
            'did you mean "own"?',
        ),
        (
            SETS + '[tag]\ntaggers = ["own"]\ncombine = "max"\nweight = { own = 2.0 }\n',
            'prep.toml line 3: tag: weight is for combine = "mean"',
        ),
        (
            SETS + "[tag]\ntaggers = []\n",
            'prep.toml line 4: "tag.taggers" is []; it must be at least 1 long',
        ),
        (
            SETS + '[tag]\ntaggers = "one"\n',
            'prep.toml line 4: "tag.taggers" is "one"; it must be a list in [ ]',
        ),
        (
            SETS + "[tag]\ntaggers = [3]\n",
            'prep.toml line 4: "tag.taggers.0" is 3; it must be text in quotes',
        ),
        (
            SETS + '[tag]\ndevice = "gpu"\n',
            'prep.toml line 4: "tag.device" is "gpu"; it can be "auto", "cpu" or "cuda"',
        ),
        (
            SETS + '[tag.threshold]\n"hair ornament" = "x"\n',
            'prep.toml line 4: "tag.threshold.hair ornament" is "x"; it must be a number',
        ),
        (
            SETS + '[caption.quality]\nmasterpiece = "x"\n',
            'prep.toml line 4: "caption.quality.masterpiece" is "x"; it must be a whole number',
        ),
        (
            SETS + '[caption.render]\nescape = "perhaps"\n',
            'prep.toml line 4: "caption.render.escape" is "perhaps"; it must be true or false',
        ),
        (
            SETS + "[fetch]\nrequests_per_second = 0\n",
            'prep.toml line 4: "fetch.requests_per_second" is 0; it must be more than 0',
        ),
        (
            SETS + '[fetch]\nsite = "danbooru"\n',
            'prep.toml line 4: fetch.site: "danbooru" is no web address:'
            " it starts with https:// or http://",
        ),
        (
            SETS + '[fetch]\nsite = "https://me:key@booru.org"\n',
            "prep.toml line 4: fetch.site: a login in the address would be written into logs:"
            " set KIROKU_LOGIN and KIROKU_API_KEY instead",
        ),
        (SETS + "caption = 3\n", 'prep.toml line 3: "sets.caption" is 3; it must be a table'),
        ("caption = 3\n" + SETS, 'prep.toml line 1: "caption" is 3; it must be a table'),
        (
            SETS + 'other = { query = "a", from = "b" }\n',
            "prep.toml line 3: sets.other: give one of query, from and query_of",
        ),
        (
            SETS + "other = {}\n",
            "prep.toml line 3: sets.other: give one of query, from and query_of",
        ),
        (
            '[sets]\nplain = { query = "a", role = "reg" }\n',
            "prep.toml line 1: sets: no set to train on: every set has role reg",
        ),
        (
            SETS + '"My Set" = { query = "a" }\n',
            'prep.toml line 1: sets: set "My Set":'
            ' names are lower-case letters, digits, "-" and "_"',
        ),
        (
            SETS + '[caption]\nrules = ["drop", "render"]\n',
            'prep.toml line 3: caption: rules start with "source" and end with "render"',
        ),
        (
            SETS + '[caption]\nrules = ["source", "drop", "drop", "render"]\n',
            "prep.toml line 3: caption: rules name one rule twice",
        ),
        (
            SETS + '[caption.quality]\nby = "percentile"\nmasterpiece = 100\n',
            'prep.toml line 3: caption.quality: "masterpiece" is given from percentile 100:'
            " percentiles are from 0, which all posts have, to 99",
        ),
        (
            SETS + "[caption.year]\nnewest = 21\n",
            'prep.toml line 3: caption.year: "newest" is given from year 21:'
            " a year has four digits",
        ),
        (
            SETS + "[caption.year]\nnewest = 2021\nrecent = 2021\n",
            'prep.toml line 3: caption.year: "newest" and "recent" are both given from 2021',
        ),
        (
            SETS + '[caption.collapse]\ntags = "found"\n',
            "prep.toml: caption: collapse needs a trigger to collapse into",
        ),
        (
            SETS + '[caption.collapse]\ntags = "all"\n',
            'prep.toml line 4: "caption.collapse.tags" is "all"; it can be "found"',
        ),
    ],
)
def test_faults_of_prep_toml(tmp_path: Path, text: str, sentence: str) -> None:
    assert told(prep, tmp_path, text) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", 'train.toml: "model" must be given'),
        ("[model]\n", 'train.toml line 1: "model.path" must be given'),
        (
            MODEL + "zero_terminal_snr = true\n",
            'train.toml line 1: model: zero_terminal_snr needs prediction = "v": where all is'
            " noise, to predict the noise says nothing of the picture",
        ),
        (
            MODEL + 'kind = "sd2"\n',
            'train.toml line 3: "model.kind" is "sd2"; it can be "", "sd15" or "sdxl"',
        ),
        (
            MODEL + "[latents]\nmin = 600\n",
            "train.toml line 3: latents: min 600, resolution 512 and max 2048"
            " must stand in this order",
        ),
        (
            MODEL + "[latents]\nstep = 12\n",
            'train.toml line 4: "latents.step" is 12; it must be a multiple of 8',
        ),
        (
            MODEL + "[steps]\nepochs = 3\ntotal = 3\n",
            "train.toml line 3: steps: give one of total and epochs, the other stays 0",
        ),
        (
            MODEL + "[validate]\nshare = 1\n",
            'train.toml line 4: "validate.share" is 1; it must be less than 1',
        ),
        (
            MODEL + "[caption]\ntokens = 100\n",
            'train.toml line 4: "caption.tokens" is 100; it can be 75, 150 or 225',
        ),
        (
            MODEL + '[sample]\nprompts = "1girl"\n',
            'train.toml line 4: "sample.prompts" is "1girl"; it must be a list in [ ]',
        ),
    ],
)
def test_faults_of_train_toml(tmp_path: Path, text: str, sentence: str) -> None:
    assert told(train, tmp_path, text) == sentence


def test_a_long_value_is_cut_in_the_sentence(tmp_path: Path) -> None:
    text = SETS + f'[tag]\ndevice = "{"x" * 100}"\n'
    assert told(prep, tmp_path, text) == (
        f'prep.toml line 4: "tag.device" is "{"x" * 56}...; it can be "auto", "cpu" or "cuda"'
    )


# --- unknown keys


def tables(kind: type[Section], where: tuple[str, ...] = ()) -> dict[str, type[Section]]:
    """Each table of a recipe by its dotted name; a free table has one by the name of `query`."""
    found = {".".join(where): kind}
    for name, field in kind.model_fields.items():
        key = field.alias or name
        inner, *arguments = field.annotation, *get_args(field.annotation)
        if isinstance(inner, type) and issubclass(inner, Section):
            found |= tables(inner, (*where, key))
        elif arguments and isinstance(arguments[-1], type) and issubclass(arguments[-1], Section):
            # a set may well bear the name of a key
            found |= tables(arguments[-1], (*where, key, "query"))
            found |= tables(arguments[-1], (*where, key, "role"))
    return found


OPEN = ("caption.quality",)  # its unknown keys are quality tags
UNKNOWN = [
    (load, base, where, field.alias or name)
    for load, kind, base in ((prep, PrepRecipe, SETS), (train, TrainRecipe, MODEL))
    for where, section in tables(kind).items()
    if where not in OPEN
    for name, field in section.model_fields.items()
]


@pytest.mark.parametrize(
    ("load", "base", "where", "key"), UNKNOWN, ids=[f"{w}.{k}" for _, _, w, k in UNKNOWN]
)
def test_a_misspelt_key_is_refused_with_the_right_one(
    tmp_path: Path, load: Any, base: str, where: str, key: str
) -> None:
    wrong = key + "x"
    needed = 'query = "a"\n' if where.startswith("sets.") else ""
    needed = 'path = "m"\n' if where == "model" else needed
    rest = "" if where == "model" else base
    text = f"[{where}]\n{needed}{wrong} = 1\n{rest}" if where else f"{wrong} = 1\n{base}"
    line = text.splitlines().index(f"{wrong} = 1") + 1
    file = "prep.toml" if load is prep else "train.toml"
    dotted = f"{where}.{wrong}" if where else wrong
    assert told(load, tmp_path, text) == (
        f'{file} line {line}: unknown key "{dotted}"; did you mean "{key}"?'
    )


def test_an_unknown_key_like_no_other_is_refused_with_the_list(tmp_path: Path) -> None:
    assert told(prep, tmp_path, SETS + "[dedup]\nzzz = 1\n") == (
        'prep.toml line 4: unknown key "dedup.zzz"; known here: bits, keep, merge_tags'
    )


def test_an_unknown_key_of_an_inline_table_is_found_in_its_line(tmp_path: Path) -> None:
    text = '[sets]\nmain = { query = "hat" }\nmore = { query = "hat", repeat = 2 }\n'
    assert told(prep, tmp_path, text) == (
        'prep.toml line 3: unknown key "sets.more.repeat"; did you mean "repeats"?'
    )


@pytest.mark.parametrize("key", ["caption.drop.tag", "caption . drop . tag", '"caption".drop.tag'])
def test_an_unknown_dotted_key_is_found_in_its_line(tmp_path: Path, key: str) -> None:
    assert told(prep, tmp_path, f"\n# a comment\n{key} = []\n" + SETS) == (
        'prep.toml line 3: unknown key "caption.drop.tag"; did you mean "tags"?'
    )


def test_a_recipe_cannot_be_changed_once_read(tmp_path: Path) -> None:
    recipe = prep(tmp_path, SETS)
    with pytest.raises(ValueError, match="frozen"):
        recipe.dedup = recipe.dedup
