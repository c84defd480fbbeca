"""What is exported and imported again has lost no tag and no category, whatever the tags are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prep import chain
from prep.caption import caption
from prep.dataset import Dataset
from prep.demo.recipes import CHARACTER
from prep.demo.site import Site
from prep.exports.kinds import KINDS, Kind
from prep.exports.write import export
from prep.fetch import fetch
from prep.init import init
from schemas.recipes.load import load_prep
from schemas.tables import CAPTIONS, IMPORTED, MANIFEST
from schemas.tags import CATEGORIES, MADE, canonical, plain

STRUCTURED = ("imagefolder", "jsonl")  # others say a tag's category once for a set
HARD = [
    "1girl", "azusa (blue archive)", r"azusa \(blue archive\)", ":3", "\\m/", "\\(^o^)/", "o_o",
    "a song of ice and fire", "the girl and the cat are looking at her.", "my_Char X", "k-on!",
    "she is, so to say, a tag", "(hat:1.2)", "a|||b", "re:zero", "2girls", "アズサ。", "Café",
]  # fmt: skip
anything = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf")), min_size=1, max_size=12)
texts = (st.sampled_from(HARD) | anything).filter(lambda text: plain(text) == text and text != "")
plain_texts = texts.filter(lambda text: "," not in text and "|||" not in text)
category = st.sampled_from((*CATEGORIES, *MADE))
part = st.sampled_from(("head", "flex", "tail"))


def captions(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[tuple[str, str, str]]]]:
    tags = st.lists(
        st.tuples(text, category, part), max_size=5, unique_by=lambda t: canonical(t[0])
    )
    return st.lists(tags, min_size=1, max_size=4)


def imported(folder: Path, root: Path) -> dict[str, dict[str, Any]]:
    """What a new dataset makes of a folder, by md5."""
    init(root, source=folder, like="style")
    fetch(Dataset.open(root))
    rows = Dataset.open(root).table(IMPORTED).to_pylist()
    assert [row["sentence"] for row in rows] == [""] * len(rows)
    return {row["md5"]: row for row in rows}


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(data=st.data())
def test_tags_and_categories_come_back(
    kind: Kind,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    dataset_of: Callable[..., Dataset],
) -> None:
    drawn = data.draw(captions(texts if kind in STRUCTURED else plain_texts))
    if kind not in STRUCTURED:
        first = {canonical(text): kind_ for tags in drawn for text, kind_, _ in tags}
        drawn = [[(text, first[canonical(text)], where) for text, _, where in t] for t in drawn]
    scratch = tmp_path_factory.mktemp("trip")
    dataset = dataset_of(scratch / "set", *({"tags": tags} for tags in drawn))
    export(dataset, scratch / "out", kind)
    rows = imported(scratch / "out", scratch / "again")
    manifest = MANIFEST.read(dataset.manifest).to_pylist()
    assert rows.keys() == {row["md5"] for row in manifest}
    for row in manifest:
        found = rows[row["md5"]]
        assert found["tags"] == [canonical(tag["tag"]) for tag in row["tags"]]
        assert found["categories"] == [tag["category"] for tag in row["tags"]]


@pytest.mark.parametrize("kind", KINDS)
def test_captions_made_by_the_chain_are_the_captions_of_what_is_imported(
    site: Site, make_dataset: Callable[..., Path], tmp_path: Path, kind: Kind
) -> None:
    sets = {
        "main": {"query": CHARACTER, "repeats": 2, "limit": 12},
        "plain": {"query": "1girl", "role": "reg", "limit": 12},
    }
    folder = make_dataset(site, **sets)
    chain.run(Dataset.open(folder), chain.STEPS)
    before = Dataset.open(folder).table(CAPTIONS).to_pylist()
    wanted = {row["md5"]: row for row in MANIFEST.read(folder / "manifest.parquet").to_pylist()}
    export(Dataset.open(folder), tmp_path / "out", kind)

    root = tmp_path / "again"
    init(root, source=tmp_path / "out", like="style")
    rules = ('caption.rules=["source", "render"]', 'caption.source="booru"', "dedup.bits=0")
    again = Dataset.open(root, rules)
    for step in chain.STEPS[:2]:
        chain.run_one(again, step)
    caption(again)
    after = {row["md5"]: row for row in again.table(CAPTIONS).to_pylist()}
    assert len(before) > 16
    assert len(after) > 0.9 * len(wanted)  # what is one picture in two sets is one here
    for md5, row in after.items():
        assert row["caption"] == wanted[md5]["caption"]
        said = [(tag["text"], tag["category"]) for tag in row["tags"]]
        assert said == [(tag["tag"], tag["category"]) for tag in wanted[md5]["tags"]]
    if kind in ("kohya", "txt"):
        roles = {
            name: (part.role, part.repeats)
            for name, part in load_prep(root / "prep.toml").sets.items()
        }
        expected = {"main": ("train", 2), "reg-plain": ("reg", 1)}
        assert roles == (expected if kind == "kohya" else {"main": ("train", 1), "reg": ("reg", 1)})
