"""Recipes as TOML: what is written reads back equal, whatever the words; every key is explained."""

import tomllib
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.recipes.load import load_prep, load_train
from schemas.recipes.prep import (
    CaptionsSection,
    FetchSection,
    PrepRecipe,
    QualitySection,
    RenderSection,
    RuleName,
    SetSection,
    TagSection,
    YearSection,
)
from schemas.recipes.section import Section
from schemas.recipes.train import (
    AdapterSection,
    CaptionSection,
    LatentsSection,
    LossSection,
    ModelSection,
    OptimizerSection,
    StepsSection,
    TrainRecipe,
    ValidateSection,
)
from schemas.recipes.write import to_toml

# quotes, backslashes, line ends, control characters, other alphabets: all that TOML must escape
odd = st.one_of(
    st.text(max_size=12),
    st.text("\"'\\\n\r\t\x00\x1f\x7f\x85\u2028#=[]{}., a", max_size=12),
    st.sampled_from(["azusa \\(blue archive\\)", '"""', "'''", "梓\U0001f338", "a.b", "]", "inf"]),
)
whole = st.integers(0, 10**6)
anything = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | odd,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd, inner, max_size=3),
    max_leaves=6,
)
middle = [name for name in get_args(RuleName) if name not in ("source", "render")]

weights = st.dictionaries(st.sampled_from(["a", "b.c"]), st.floats(0.001, 1000))

# what validators ask of fields together, and tables that are free
TOGETHER: dict[type[Section], st.SearchStrategy[dict[str, Any]]] = {
    SetSection: st.one_of(
        st.fixed_dictionaries({"query": odd.filter(str.strip)}),
        st.fixed_dictionaries({"from": odd.filter(str.strip)}),
    ).map(lambda given: {"query": "", "from": "", "query_of": "", "choose": 0, **given}),
    FetchSection: st.fixed_dictionaries(
        {
            "site": st.just("http://booru:3000"),
            "size": st.sampled_from(["original", "sample"]) | st.integers(64, 4096),
        }
    ),
    CaptionsSection: st.fixed_dictionaries(
        {
            "trigger": odd.filter(str.strip),
            "rules": st.lists(st.sampled_from(middle), unique=True).map(
                lambda names: ("source", *sorted(names, key="aliases".__ne__), "render")
            ),
        }
    ),
    TagSection: st.one_of(
        st.fixed_dictionaries(
            {"taggers": st.just(("a", "b.c")), "combine": st.just("mean"), "weight": weights}
        ),
        st.fixed_dictionaries({"combine": st.sampled_from(["mean", "max"]), "weight": st.just({})}),
    ),
    QualitySection: st.sampled_from([("score", whole), ("percentile", st.integers(0, 99))]).flatmap(
        lambda pair: st.dictionaries(
            odd.filter(lambda name: name not in QualitySection.model_fields), pair[1], max_size=4
        ).map(lambda tags: {"by": pair[0], **tags})
    ),
    YearSection: st.dictionaries(odd, st.integers(1000, 9999), max_size=4).filter(
        lambda years: len(set(years.values())) == len(years)
    ),
    LatentsSection: st.tuples(*[st.integers(8, 4096)] * 3).map(
        lambda sides: {
            **dict(zip(("min", "resolution", "max"), sorted(sides), strict=True)),
            "step": sides[0] // 8 * 8,
        }
    ),
    StepsSection: st.sampled_from([{"total": 7, "epochs": 0}, {"total": 0, "epochs": 3}]),
    OptimizerSection: st.fixed_dictionaries({"args": st.dictionaries(odd, anything, max_size=3)}),
    RenderSection: st.sampled_from(
        [(("trigger",), ()), (("solo",), ("quality", "a, b")), ((), ())]
    ).map(
        lambda ends: {"keep": ends[0], "tail": ends[1], "prefix": ('"a" (b)',), "suffix": ends[0]}
    ),
    AdapterSection: st.sampled_from([("lora", 0), ("locon", 4), ("dora", 0), ("lokr", 2)]).map(
        lambda pair: {"kind": pair[0], "conv_dim": pair[1]}
    ),
    CaptionSection: st.dictionaries(
        st.sampled_from(["general", "meta"]), st.floats(0, 1), max_size=2
    ).map(lambda shares: {"drop_tag": shares}),
    LossSection: st.tuples(st.integers(0, 999), st.integers(1, 1000))
    .filter(lambda pair: pair[0] < pair[1])
    .map(lambda pair: {"timesteps": pair}),
    ValidateSection: st.lists(st.integers(0, 999), min_size=1, max_size=5, unique=True).map(
        lambda timesteps: {"timesteps": tuple(timesteps)}
    ),
    ModelSection: st.sampled_from([("epsilon", False), ("v", False), ("v", True)]).map(
        lambda pair: {"prediction": pair[0], "zero_terminal_snr": pair[1]}
    ),
    PrepRecipe: st.dictionaries(
        st.from_regex(r"[a-z0-9][a-z0-9_-]*", fullmatch=True),
        st.deferred(lambda: sections(SetSection)),
        min_size=1,
        max_size=3,
    )
    .filter(lambda sets: any(part.role == "train" for part in sets.values()))
    .map(lambda sets: {"sets": sets}),
}


def sections(kind: type[Section]) -> st.SearchStrategy[Any]:
    """Any value that a section can have, from its fields' types and bounds."""
    together = TOGETHER.get(kind, st.just({}))
    return together.flatmap(
        lambda given: st.fixed_dictionaries(
            {
                key: values(field.annotation, field.metadata)
                for name, field in kind.model_fields.items()
                if (key := field.alias or name) not in given
            }
        ).map(lambda rest: kind(**{**rest, **given}))
    )


def values(kind: Any, bounds: list[Any]) -> st.SearchStrategy[Any]:
    if isinstance(kind, type) and issubclass(kind, Section):
        return sections(kind)
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        return values(inner, [bound for note in notes for bound in note.metadata])
    if kind is str:
        return odd
    if get_origin(kind) in (Union, UnionType) and type(None) not in get_args(kind):
        return st.one_of([values(arm, bounds) for arm in get_args(kind)])
    if get_origin(kind) is dict:
        return st.dictionaries(odd, values(get_args(kind)[1], []), max_size=3)
    if get_origin(kind) is tuple and get_args(kind)[1:] == (...,):
        least = max((getattr(b, "min_length", None) or 0 for b in bounds), default=0)
        inner = values(get_args(kind)[0], [])
        return st.lists(inner, min_size=least, max_size=3).map(tuple)
    if type(None) in get_args(kind):
        return st.none() | values(get_args(kind)[0], bounds)
    if kind is float:
        return numbers(bounds)
    return st.from_type(Annotated[kind, *bounds] if bounds else kind)


def numbers(bounds: list[Any]) -> st.SearchStrategy[float]:
    limit = {
        at: next((b for b in (getattr(bound, at, None) for bound in bounds) if b is not None), None)
        for at in ("gt", "ge", "lt", "le")
    }
    least, most = limit["gt"] or limit["ge"] or 0, limit["lt"] or limit["le"]
    within = st.floats(
        least, most, exclude_min=limit["gt"] is not None, exclude_max=limit["lt"] is not None
    )
    return within | st.just(most) if limit["le"] else within


relaxed = settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@relaxed
@given(sections(PrepRecipe), st.booleans())
def test_any_prep_recipe_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, recipe: PrepRecipe, comments: bool
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "prep.toml"
    path.write_bytes(to_toml(recipe, comments=comments).encode())
    assert load_prep(path) == recipe


@relaxed
@given(sections(TrainRecipe), st.booleans())
def test_any_train_recipe_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, recipe: TrainRecipe, comments: bool
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "train.toml"
    path.write_bytes(to_toml(recipe, comments=comments).encode())
    assert load_train(path) == recipe


PLAIN = PrepRecipe.model_validate({"sets": {"main": {"query": "hat"}}})
TRAINED = TrainRecipe.model_validate({"model": {"path": "m"}})


def kinds(kind: type[Section]) -> list[type[Section]]:
    """A recipe's sections, itself included."""
    found = [kind]
    for field in kind.model_fields.values():
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, Section):
                found += kinds(inner)
    return found


@pytest.mark.parametrize("kind", [*kinds(PrepRecipe), *kinds(TrainRecipe)])
def test_every_section_and_key_is_explained(kind: type[Section]) -> None:
    assert (kind.__doc__ or "").strip()
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if not (isinstance(inner, type) and issubclass(inner, Section)):
            assert (field.description or "").strip(), f"{kind.__name__}.{name} has no comment"


@pytest.mark.parametrize("recipe", [PLAIN, TRAINED])
def test_every_written_key_has_its_comment_beside_or_above(recipe: Section) -> None:
    lines = to_toml(recipe).splitlines()
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#") and line != 'main = { query = "hat" }':
            assert " # " in line or lines[number - 1].startswith("# "), line


@pytest.mark.parametrize("recipe", [PLAIN, TRAINED])
def test_without_comments_none_are_written(recipe: Section) -> None:
    assert "#" not in to_toml(recipe, comments=False)


def test_a_line_that_has_room_takes_its_comment_behind_it() -> None:
    lines = to_toml(TRAINED).splitlines()
    behind = "seed = 42                                # every random choice follows from it"
    assert behind in lines
    at = lines.index(
        "size = [512, 512]                        # width and height in pixels, multiples of 8"
    )
    assert at > lines.index("[sample]")


def test_a_hidden_key_is_left_out_unless_it_says_something() -> None:
    hidden = ["dedup.bits", "caption.render.escape", "tag.combine"]
    changed = PrepRecipe.model_validate({"sets": {"main": {"query": "hat"}}, "dedup": {"bits": 4}})
    values = tomllib.loads(to_toml(changed, hidden=hidden))
    assert values["dedup"]["bits"] == 4
    assert "combine" not in values["tag"]
    assert "escape" not in values["caption"]["render"]


def test_a_set_is_one_line_with_what_differs_from_the_defaults(tmp_path: Path) -> None:
    sets = {
        "main": {"query": 'a "b" \\c'},
        "finish": {"from": "picks", "repeats": 10},
        "plain": {"query": "x", "role": "reg", "weight": 0.5},
    }
    text = to_toml(PrepRecipe.model_validate({"sets": sets}), comments=False)
    assert text.startswith(
        '[sets]\nmain = { query = "a \\"b\\" \\\\c" }\n'
        'finish = { from = "picks", repeats = 10 }\n'
        'plain = { query = "x", role = "reg", weight = 0.5 }\n'
    )


def test_what_is_not_given_is_not_written() -> None:
    assert "text_encoder_lr" not in to_toml(TRAINED)
    given = TRAINED.model_copy(update={"optimizer": OptimizerSection(text_encoder_lr=0.5)})
    assert "text_encoder_lr = 0.5" in to_toml(given)
