"""Pictures drawn at fixed seeds, and their grid."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from schemas.recipes.train import ModelSection
from train.model import find_model
from train.sample import Painter, at_once, lay_grid
from train.text import Tokens


@pytest.fixture(scope="module")
def painter(model: Path) -> Painter:
    found = find_model(ModelSection(path=str(model)), Path())
    return Painter(
        found.unet(),
        found.text_encoders(),
        Tokens(found.tokenizer()),
        found.vae(),
        found.scheduler(),
        1,
        torch.device("cpu"),
    )


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_pictures_are_those_of_diffusers_own_pipeline(
    painter: Painter, model: Path, guidance: float
) -> None:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    theirs = StableDiffusionPipeline.from_pretrained(model, low_cpu_mem_usage=False)
    theirs.scheduler = DDIMScheduler.from_config(
        theirs.scheduler.config, set_alpha_to_one=False, steps_offset=1
    )
    theirs.set_progress_bar_config(disable=True)
    prompt, negative = "azusa, smile", "lowres, hat"
    expected = theirs(
        prompt,
        negative_prompt=negative,
        guidance_scale=guidance,
        num_inference_steps=5,
        width=96,
        height=64,
        generator=torch.Generator().manual_seed(7),
    ).images[0]
    ours = painter.draw(prompt, negative, 7, (96, 64), 5, guidance)
    assert ours.size == (96, 64)
    assert np.abs(pixels(ours) - pixels(expected)).max() <= 1


def test_a_seed_is_a_picture_and_v_prediction_another(painter: Painter) -> None:
    def draw(seed: int) -> bytes:
        return painter.draw("hat", "", seed, (64, 64), 2, 3.0).tobytes()

    assert draw(1) == draw(1) != draw(2)
    before = draw(1)
    painter.scheduler.register_to_config(prediction_type="v_prediction")
    assert draw(1) != before
    painter.scheduler.register_to_config(prediction_type="epsilon")


def test_long_prompts_stand_beside_short_negatives(painter: Painter) -> None:
    prompt = ", ".join(f"qzx{number}" for number in range(40))
    assert painter.draw(prompt, "lowres", 1, (64, 64), 1, 3.0).size == (64, 64)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_picture_is_the_same_in_every_batch(painter: Painter, guidance: float) -> None:
    long = ", ".join(f"qzx{number}" for number in range(40))
    prompts = ["hat", "azusa, smile", "hat", long]
    batch = painter.draw_batch(prompts, "lowres", [1, 2, 3, 4], (96, 64), 3, guidance)
    assert [picture.size for picture in batch] == [(96, 64)] * 4
    for prompt, seed, together in zip(prompts, [1, 2, 3, 4], batch, strict=True):
        alone = painter.draw(prompt, "lowres", seed, (96, 64), 3, guidance)
        assert np.abs(pixels(alone) - pixels(together)).max() <= 1
    assert np.abs(pixels(batch[0]) - pixels(batch[2])).max() > 1


def test_each_prompt_is_encoded_once(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    forward = painter.text_encoders[0].forward

    def counted(ids: torch.Tensor, **options: object) -> object:
        rows.append(len(ids))
        return forward(ids, **options)

    monkeypatch.setattr(painter.text_encoders[0], "forward", counted)
    painter.draw_batch(["hat", "smile", "hat"], "lowres", [1, 2, 3], (64, 64), 2, 3.0)
    assert rows == [3]


def test_a_batch_takes_no_more_memory_than_a_picture_of_sd15() -> None:
    assert [at_once(size) for size in [(128, 128), (256, 256), (512, 512), (768, 512)]] == [
        *(8, 4, 1, 1)
    ]


def test_a_grid_holds_every_picture_under_its_labels() -> None:
    colours = [["red", "green"], ["blue", "yellow"]]
    rows = [[Image.new("RGB", (80, 60), colour) for colour in row] for row in colours]
    long = "a prompt that is a good deal longer than two small pictures are wide, and goes on"
    grid = lay_grid(rows, ["short", long], ["seed 1", "seed 2"], "title")
    found = {colour: count for count, colour in grid.getcolors(1 << 20) or []}
    for colour in ((255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 0)):
        assert found[colour] == 80 * 60
    assert found[(20, 20, 20)] > 200  # ink of the labels
