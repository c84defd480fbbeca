"""SDXL: text from two encoders, sizes and crop that tell the truth, and what diffusers makes of it.

Everything is compared with diffusers' own pipeline on a small model of random weights.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from schemas.errors import ModelError, RecipeError
from schemas.geometry import place
from schemas.recipes.train import AdapterSection, LatentsSection, ModelSection, TrainRecipe
from train import train
from train.adapter_file import read_adapter, write_adapter
from train.adapters.adapter import Adapter, attach_adapter
from train.blocks import SDXL
from train.conditioning import true_sizes
from train.finished import open_run
from train.model import Model, find_model
from train.sample import Painter
from train.setup import Setup, setup
from train.step import losses_at
from train.text import Tokens, encode

Make = Callable[..., TrainRecipe]


@pytest.fixture(scope="module")
def found(sdxl: Path) -> Model:
    return find_model(ModelSection(path=str(sdxl)), Path())


@pytest.fixture
def pipeline(sdxl: Path) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline

    theirs = StableDiffusionXLPipeline.from_pretrained(
        sdxl, low_cpu_mem_usage=False, add_watermarker=False
    )
    theirs.scheduler = DDIMScheduler.from_config(theirs.scheduler.config, set_alpha_to_one=False)
    theirs.set_progress_bar_config(disable=True)
    return theirs


def told(pipeline: Any, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What diffusers tells the U-Net of a prompt."""
    context, _, pooled, _ = pipeline.encode_prompt(
        prompt, device="cpu", do_classifier_free_guidance=False
    )
    return context, pooled


def ready(recipe: TrainRecipe, dataset: Path) -> Setup:
    return setup(recipe, dataset, resume=False, overwrite=False, device="cpu")


def test_captions_are_encoded_as_diffusers_does(found: Model, pipeline: Any) -> None:
    tokens = Tokens(found.tokenizer())
    prompt = "azusa, long hair, smile"
    with torch.no_grad():
        ours = encode(found.text_encoders(), tokens.stacked([tokens.prompt(prompt)]), 2)
        context, pooled = told(pipeline, prompt)
    assert ours.pooled is not None
    torch.testing.assert_close(ours.context, context, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.pooled, pooled, atol=1e-5, rtol=1e-5)


def test_long_captions_are_chunks_in_a_row_summed_up_by_the_first(found: Model) -> None:
    tokens = Tokens(found.tokenizer())
    encoders = found.text_encoders()
    ids = tokens.stacked([tokens.caption([f"qzx{n}" for n in range(40)])])
    with torch.no_grad():
        whole = encode(encoders, ids, 2)
        parts = [encode(encoders, ids[:, n : n + 1], 2) for n in range(ids.shape[1])]
    torch.testing.assert_close(whole.context, torch.cat([part.context for part in parts], dim=1))
    torch.testing.assert_close(whole.pooled, parts[0].pooled)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_pictures_are_those_of_diffusers_own_pipeline(
    found: Model, pipeline: Any, guidance: float
) -> None:
    painter = Painter(
        *(found.unet(), found.text_encoders(), Tokens(found.tokenizer()), found.vae()),
        *(found.scheduler(), 2, torch.device("cpu")),
    )
    expected = pipeline(
        "azusa, smile",
        negative_prompt="lowres, hat",
        guidance_scale=guidance,
        num_inference_steps=4,
        width=96,
        height=64,
        generator=torch.Generator().manual_seed(7),
    ).images[0]
    ours = painter.draw("azusa, smile", "lowres, hat", 7, (96, 64), 4, guidance)
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_with_zero_terminal_snr_a_picture_starts_where_all_is_noise(
    sdxl: Path, pipeline: Any
) -> None:
    from diffusers import DDIMScheduler

    section = ModelSection(path=str(sdxl), prediction="v", zero_terminal_snr=True)
    model = find_model(section, Path())
    painter = Painter(
        *(model.unet(), model.text_encoders(), Tokens(model.tokenizer()), model.vae()),
        *(model.scheduler(), 2, torch.device("cpu")),
    )
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    expected = pipeline(
        "azusa, smile",
        guidance_scale=1.0,
        num_inference_steps=4,
        width=64,
        height=64,
        generator=torch.Generator().manual_seed(7),
    ).images[0]
    assert pipeline.scheduler.timesteps[0] == 999
    ours = painter.draw("azusa, smile", "", 7, (64, 64), 4, 1.0)
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(expected).astype(int)).max() <= 1


def woken(found: Model, where: str = "all", **of_kind: Any) -> tuple[Any, tuple[Any, ...], Adapter]:
    """U-Net and text encoders with an adapter of values as after training."""
    unet, text_encoders = found.unet(), found.text_encoders()
    section = AdapterSection(dim=4, alpha=2, blocks=where, **of_kind)
    adapter = attach_adapter(SDXL, unet, text_encoders, section, seed=0)
    torch.manual_seed(0)
    for weight in adapter.parameters():
        nn.init.normal_(weight, std=0.1)
    return unet, text_encoders, adapter


@pytest.mark.parametrize("of_kind", [{}, {"kind": "locon", "conv_dim": 3}])
def test_the_file_loads_in_diffusers_with_equal_outputs(
    found: Model, pipeline: Any, tmp_path: Path, of_kind: dict[str, Any]
) -> None:
    unet, text_encoders, adapter = woken(found, **of_kind)
    tokens = Tokens(found.tokenizer())
    write_adapter(tmp_path / "a.safetensors", adapter.tensors(), {}, "fp32")
    pipeline.load_lora_weights(str(tmp_path), weight_name="a.safetensors")
    prompt = "azusa, long hair, blue eyes"
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        ids = tokens.stacked([tokens.prompt(prompt)] * 2)
        encoded = encode(text_encoders, ids, 2)
        context, pooled = told(pipeline, prompt)
        torch.testing.assert_close(encoded.context[:1], context, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(encoded.pooled[:1], pooled, atol=1e-5, rtol=1e-5)
        added = {"text_embeds": encoded.pooled, "time_ids": torch.arange(12.0).view(2, 6)}
        ours, theirs = (
            net(x, 400, encoded.context, added_cond_kwargs=added).sample
            for net in (unet, pipeline.unet)
        )
        torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
        with adapter.off():
            plain = unet(x, 400, encoded.context, added_cond_kwargs=added).sample
            assert not torch.allclose(plain, ours, atol=1e-3)


def test_files_with_diffusers_names_are_read(found: Model, tmp_path: Path) -> None:
    _, _, adapter = woken(found, "IN04,M00,TE")
    renamed = {
        name.replace("input_blocks_4_1", "down_blocks_1_attentions_0").replace(
            "middle_block_1", "mid_block_attentions_0"
        ): tensor
        for name, tensor in adapter.tensors().items()
    }
    assert renamed.keys() != adapter.tensors().keys()
    write_adapter(tmp_path / "a.safetensors", renamed, {}, "fp32")
    other = attach_adapter(
        *(SDXL, found.unet(), found.text_encoders()),
        AdapterSection(dim=4, alpha=1, blocks="IN04,M00,TE"),
        seed=1,
    )
    other.load(load_file(tmp_path / "a.safetensors"), "a.safetensors")
    assert all(torch.equal(adapter.tensors()[n], t) for n, t in other.tensors().items())


def test_sizes_and_crop_are_those_that_really_happened(
    sdxl: Path, dataset: Path, recipe: Make
) -> None:
    """96x64 pictures in the recipe's buckets of 64x96 and 64x64, and one made to be cropped."""
    run = ready(recipe(model={"path": str(sdxl), "clip_skip": 2}), dataset)
    rows = run.data.table.select(["width", "height"]).to_pylist()
    placed = run.store.placement
    assert run.sizes.shape == (2, 6, 6)
    for row, size in enumerate(rows):
        assert run.sizes[0, row].tolist() == [
            *(size["height"], size["width"]),
            *(placed.crop_top[row], placed.crop_left[row]),
            *(placed.bucket_height[row], placed.bucket_width[row]),
        ]
    cropped = recipe(latents={"resolution": 64, "min": 64, "max": 64})
    run = ready(cropped.model_copy(update={"model": run.recipe.model}), dataset)
    wide = [row for row, size in enumerate(rows) if size["width"] == 96]
    assert run.sizes[0, wide].tolist() == [[64, 96, 0, 16, 64, 64]] * 3


def test_of_a_mirrored_picture_what_was_cut_at_the_right_is_told() -> None:
    manifest = pa.table({"width": [101, 64], "height": [64, 64]})
    section = LatentsSection(resolution=96, min=32, max=96, step=32)
    placed = place(np.array([101, 64]), np.array([64, 64]), section)
    assert (placed.crop_left.tolist(), placed.bucket_width.tolist()) == ([2, 0], [96, 64])
    assert true_sizes(manifest, placed).tolist() == [
        [[64, 101, 0, 2, 64, 96], [64, 64, 0, 0, 64, 64]],
        [[64, 101, 0, 3, 64, 96], [64, 64, 0, 0, 64, 64]],
    ]


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_the_loss_equals_a_plain_computation_with_diffusers(
    sdxl: Path, dataset: Path, recipe: Make, pipeline: Any, prediction: str
) -> None:
    from diffusers import DDPMScheduler

    zero = prediction == "v"
    model = {"path": str(sdxl), "clip_skip": 2, "prediction": prediction, "zero_terminal_snr": zero}
    run = ready(recipe(model=model), dataset)
    torch.manual_seed(0)
    x0, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    t, weights = torch.tensor([20, 999]), torch.tensor([1.0, 0.5])
    texts = ["azusa, smile, hat", "1girl, blue eyes"]
    sizes = torch.tensor([[64.0, 96, 0, 16, 64, 64], [512, 512, 0, 0, 64, 64]])
    ids = run.tokens.stacked([run.tokens.prompt(text) for text in texts])
    with torch.no_grad():
        ours = losses_at(run, x0, noise=noise, timesteps=t, ids=ids, weights=weights, sizes=sizes)
        scheduler = DDPMScheduler.from_pretrained(sdxl / "scheduler", rescale_betas_zero_snr=zero)
        context, pooled = (
            torch.cat(part) for part in zip(*(told(pipeline, p) for p in texts), strict=True)
        )
        predicted = pipeline.unet(
            scheduler.add_noise(x0, noise, t),
            t,
            context,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes},
        ).sample
        wanted = scheduler.get_velocity(x0, noise, t) if zero else noise
        each = (predicted - wanted).square().mean([1, 2, 3]) * weights
    torch.testing.assert_close(ours, each, atol=1e-5, rtol=1e-5)
    assert zero == (float(run.abar[-1]) == 0)


def test_it_trains_samples_and_says_in_its_file_what_it_is(
    sdxl: Path, dataset: Path, recipe: Make
) -> None:
    asked = recipe(
        model={"path": str(sdxl), "kind": "sdxl", "clip_skip": 2, "prediction": "v"},
        steps={"total": 2},
        sample={"prompts": ["azusa"], "seeds": [1], "steps": 2, "size": [64, 64]},
    )
    result = train(asked, dataset, device="cpu")
    assert result.grid is not None
    assert result.grid.is_file()
    tensors, metadata = read_adapter(result.adapter)
    assert tensors["lora_unet_middle_block_1_proj_in.lora_up.weight"].any()
    assert tensors["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"].any()
    assert tensors["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"].any()
    expected = {
        "ss_base_model_version": "sdxl_base_v1-0",
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.prediction_type": "v",
        "ss_zero_terminal_snr": "False",
    }
    assert {key: metadata[key] for key in expected} == expected
    opened = open_run(result.folder, "cpu")
    with opened.at(result.adapter):
        again = opened.painter.draw("azusa", "", 1, (64, 64), 2, 7.0)
    sampled = Image.open(result.folder / "samples/00000002/01-seed1.png")
    assert np.array_equal(np.asarray(again), np.asarray(sampled))
    seen = pq.read_table(result.folder / "exposures.parquet")
    assert sum(seen.column("seen").to_pylist()) == result.images


def test_another_layer_of_the_encoders_is_refused(sdxl: Path, dataset: Path, recipe: Make) -> None:
    message = (
        "model.clip_skip is 1, but SDXL models are trained on their encoders' last layer but one:"
        " leave clip_skip at 2"
    )
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        train(recipe(model={"path": str(sdxl), "clip_skip": 1}), dataset, device="cpu")


def test_the_kind_is_found_and_checked_when_given(sdxl: Path, model: Path) -> None:
    assert find_model(ModelSection(path=str(sdxl)), Path()).kind == "sdxl"
    assert find_model(ModelSection(path=str(model), kind="sd15"), Path()).kind == "sd15"
    message = (
        f'model.kind is "sd15", but model.path {sdxl} is an SDXL model: correct model.kind, or'
        " leave it empty"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        find_model(ModelSection(path=str(sdxl), kind="sd15"), Path())
