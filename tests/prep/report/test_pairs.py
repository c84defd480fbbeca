"""Pairs of tags, and buckets, counted beside what plain loops over the built dataset count."""

from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from prep.dataset import Dataset
from prep.report.buckets import buckets
from prep.report.findings import findings
from prep.report.pairs import LEAST, pairs
from schemas.geometry import place
from schemas.recipes.load import load_train
from schemas.tables import CAPTIONS, MANIFEST

Built = Any


def test_pairs_are_those_above_chance(built: Built) -> None:
    dataset = Dataset.open(built.folder)
    captions = [
        {tag["text"] for tag in row["tags"]}
        for row in dataset.table(CAPTIONS).to_pylist()
        if row["set"] in dataset.sets("train")
    ]
    each = Counter(tag for tags in captions for tag in tags)
    both = Counter(pair for tags in captions for pair in combinations(sorted(tags), 2))
    found = pairs(dataset)
    assert found
    for one in found:
        first, second = one.tags
        assert one.together == both[min(one.tags), max(one.tags)] >= LEAST
        assert one.alone == (each[first], each[second])
        chance = each[first] * each[second] / len(captions)
        assert one.lift == pytest.approx(one.together / chance)
        assert one.lift > 1
    above = [one.together * (1 - 1 / one.lift) for one in found]
    assert above == sorted(above, reverse=True) or above == pytest.approx(
        sorted(above, reverse=True)
    )


def test_buckets_are_those_of_training(built: Built) -> None:
    dataset = Dataset.open(built.folder)
    shown = buckets(dataset)
    table = MANIFEST.read(dataset.manifest)
    latents = load_train(dataset.train_file).latents
    placed = place(table["width"].to_numpy(), table["height"].to_numpy(), latents)
    kept = placed.bucket_width > 0
    sizes = Counter(
        zip(placed.bucket_width[kept].tolist(), placed.bucket_height[kept].tolist(), strict=True)
    )
    (width, height), images = sizes.most_common(1)[0]
    assert f"<td>{width} x {height}</td>" in shown
    assert f"<small>{images:,}</small>" in shown
    assert f"the crop takes {placed.cropped()[kept].mean():.1%} of them on average" in shown


def test_the_page_says_what_lint_finds(built: Built) -> None:
    assert "No captions yet" in findings(None)
    assert "prep lint" in findings([])
    assert 'class="findings"' in built.pages["caption"]
