"""The base model's training: its parts by what they promise, and all of it, tiny and killed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.demo.drawings import drawn
from prep.demo.held_out import portrait
from prep.demo.model import new_networks
from prep.demo.muon import Muon, Pair, orthogonal
from prep.demo.schedule import LAST, Curve, rate
from prep.demo.train_model import Plan, center_latents, spelt, train_model
from prep.demo.train_text import NO_TAG, Spelling, train_text
from prep.demo.train_unet import caption
from prep.demo.train_vae import to_input
from schemas.errors import UsageError

TINY = Plan(seed=0, drawings=16, vae_steps=3, text_steps=3, unet_steps=3, unseen=2)


@given(rows=st.integers(2, 12), columns=st.integers(2, 12), seed=st.integers(0, 99))
@settings(deadline=None)
def test_a_turned_matrix_has_singular_values_near_one(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(1, rows, columns, generator=generator)
    left, values, right = torch.linalg.svd(matrix[0], full_matrices=False)
    turned = orthogonal(matrix)[0]
    seen = left.T @ turned @ right.T
    firm = values / values.norm() > 0.05  # what is next to nothing is not lifted in five rounds
    assert seen.diag()[firm].min() > 0.5
    assert seen.diag().max() < 1.3
    assert (seen - seen.diag().diag()).abs().max() < 1e-3


def test_muon_and_adamw_share_the_weights_between_them() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.Linear(16, 16))
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    pair = Pair(network, 0.1, 0.01)
    for value in network.parameters():
        value.grad = torch.ones_like(value)
    pair.step(0.5)
    moved = {
        name: float((value - before[name]).detach().abs().max())
        for name, value in network.named_parameters()
    }
    assert moved["0.weight"] == moved["0.bias"] == pytest.approx(moved["1.bias"])
    assert moved["1.bias"] == pytest.approx(0.005, abs=1e-4)
    assert moved["1.weight"] > 0
    assert [group["lr"] for group in pair.state_dict()["muon"]["param_groups"]] == [0.05]
    assert all(value.grad is None for value in network.parameters())


def test_muon_finds_the_least_of_a_bowl() -> None:
    torch.manual_seed(0)
    wanted, weight = torch.randn(8, 8), torch.nn.Parameter(torch.zeros(8, 8))
    optimizer = Muon([weight], lr=0.1)
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - step / 200)
        optimizer.zero_grad()
        (weight - wanted).square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert (weight - wanted).abs().max() < 0.02


def test_the_rate_rises_then_falls_to_a_fiftieth() -> None:
    course = [rate(step, 1000) for step in range(1001)]
    top = course.index(max(course))
    assert course[: top + 1] == sorted(course[: top + 1])
    assert course[top:] == sorted(course[top:], reverse=True)
    assert max(course) == pytest.approx(1.0)
    assert course[-1] == pytest.approx(LAST)


def test_captions_hold_parts_of_the_tags_in_any_order() -> None:
    tags = spelt(portrait(0, 1))
    said = [caption(tags, random.Random(seed)) for seed in range(400)]
    parts = [text.split(", ") if text else [] for text in said]
    assert all(set(part) <= set(tags) and len(set(part)) == len(part) for part in parts)
    assert 20 < sum(not part for part in parts) < 70
    assert 80 < sum(1 <= len(part) <= 3 for part in parts) < 180
    assert len({part[0] for part in parts if part}) > len(tags) / 2


def test_a_portrait_is_spelt_as_captions_spell_it() -> None:
    spelt_all = {tag for index in range(300) for tag in spelt(portrait(0, index))}
    assert {"shizuku (hoshizora academy)", "hoshizora academy", "long hair"} <= spelt_all
    assert {":d", "mochi daruma"} <= spelt_all
    assert not {"^_^", "inkwell fox", "akari (hoshizora academy)"} & spelt_all


def test_every_tag_ends_where_its_own_words_do(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    new_networks(tmp_path, 0)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    numbers = {"red hair": 5, "^_^": 6, "blue eyes": 7}
    ids, ends = Spelling(tokenizer).rows([["red hair", "^_^", "blue eyes"], ["red hair"]], numbers)
    whole = tokenizer(["red hair, ^_^, blue eyes", "red hair"], padding="max_length").input_ids
    assert ids.tolist() == whole
    asked = [(tokenizer.decode([int(i)]), int(e)) for i, e in zip(ids[0], ends[0], strict=True)]
    assert [pair for pair in asked if pair[1] != NO_TAG] == [
        *(("hair", 5), (",", 5), ("^_^,", 6), ("eyes", 7))
    ]
    assert ends[1].tolist() == [NO_TAG, NO_TAG, 5] + [NO_TAG] * 74


def test_the_text_encoder_learns_to_name_the_tags(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    text_encoder = new_networks(tmp_path, 0, ["red hair", "blue hair"]).text_encoder
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    captions = [("red hair", "blue eyes"), ("blue hair", "red eyes")]
    curve = train_text(text_encoder, tokenizer, captions, 60, 0, tmp_path)
    assert curve.points[0][1] > 1.0
    assert curve.recent < 0.6 * curve.points[0][1]


def test_centering_moves_the_latents_and_not_the_pictures(tmp_path: Path) -> None:
    vae = new_networks(tmp_path, 0).vae.eval()
    x = to_input(drawn(portrait, 0, range(2), 64, 64))
    with torch.no_grad():
        posterior = vae.encode(x).latent_dist
        picture = vae.decode(posterior.mean).sample
        mean = posterior.mean.mean((0, 2, 3))
        unit = posterior.mean.std((0, 2, 3))
        center_latents(vae, mean, unit)
        moved = vae.encode(x).latent_dist
    assert moved.mean.mean((0, 2, 3)).abs().max() < 1e-4
    assert (moved.mean.std((0, 2, 3)) - 1).abs().max() < 1e-4
    expected = posterior.std / unit.view(1, -1, 1, 1)
    assert torch.allclose(moved.std, expected, rtol=1e-3)
    with torch.no_grad():
        assert torch.allclose(vae.decode(moved.mean).sample, picture, atol=1e-4)


@pytest.mark.slow
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import StableDiffusionPipeline

    monkeypatch.setattr("prep.demo.train_model.VAE_BATCH", 2)
    monkeypatch.setattr("prep.demo.train_model.UNET_BATCH", 4)
    train_model(TINY, tmp_path / "whole", tmp_path / "work")
    monkeypatch.setattr("prep.demo.schedule.SECONDS", 0.0)  # a checkpoint after every step
    for steps in (2, 3, 4):  # in the VAE, the text encoder, the U-Net: what is done is not redone
        with stopped_in_step(steps):
            train_model(TINY, tmp_path / "again", tmp_path / "stopped")
    train_model(TINY, tmp_path / "again", tmp_path / "stopped")
    for part in ("unet", "vae", "text_encoder"):
        (one,) = (tmp_path / "whole" / part).glob("*.safetensors")
        assert one.read_bytes() == (tmp_path / "again" / part / one.name).read_bytes(), part
    pipeline = StableDiffusionPipeline.from_pretrained(
        tmp_path / "whole", torch_dtype=torch.float32, low_cpu_mem_usage=False
    )
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2, "width": 64, "height": 96}
    assert pipeline("1girl, smile", **options).images[0].size == (64, 96)


def test_checkpoints_of_other_numbers_are_not_gone_on_from(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"seed": 1}', encoding="utf-8")
    with pytest.raises(UsageError) as told:
        train_model(TINY, tmp_path / "out", tmp_path)
    assert str(told.value) == (
        f'{tmp_path} holds checkpoints of another seed or other numbers ({{"seed": 1}}): '
        "name another folder with --work."
    )


@contextmanager
def stopped_in_step(number: int) -> Iterator[None]:
    """Ctrl-C in that step of whichever training goes on."""
    add, left = Curve.add, iter(range(number - 1))

    def adding(curve: Curve, step: int, loss: float) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        add(curve, step, loss)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Curve, "add", adding)
        try:
            yield
        except KeyboardInterrupt:
            return
    raise AssertionError("the training ended before it was stopped")
