"""The demo's model: Stable Diffusion 1.5 in small, in diffusers' folder layout.

Its blocks lie as SD1.5's do (IN00-11, M00, OUT00-11, a CLIP text encoder), so that whatever names
blocks or modules meets here what it meets there; only the channels are few. `build_model` writes
one that knows no picture; `prep.demo.train_model` teaches one, and `ASSETS` is what it has learnt.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prep.demo.tokenizer import write_tokenizer
from prep.demo.vocabulary import VOCABULARY
from schemas.files import write_json
from schemas.tags import rendered

ASSETS = Path(__file__).parent / "assets" / "model"
SIDE = 160  # pixels of the drawings it learns from
CHANNELS = (48, 64, 80, 64)  # of the U-Net's four levels; SD1.5 has 320, 640, 1280, 1280
HEADS = (2, 4, 4, 4)  # of attention at each level; SD1.5 has 8
VAE_CHANNELS = (16, 32, 80, 96)  # SD1.5 has 128, 256, 512, 512
WIDTH = 128  # of the text encoder and of cross-attention; SD1.5 has 768
TEXT_LAYERS = 2  # SD1.5 has 12
TIMESTEPS = 1000  # of the noise schedule, as in SD1.5
SCALE = 0.18215  # of latents, as in SD1.5
QUALITY = ("masterpiece", "best quality", "high quality", "worst quality", "lowres")


@dataclass(frozen=True)
class Networks:
    """What is learnt: diffusers' U-Net and VAE, transformers' text encoder."""

    unet: Any
    vae: Any
    text_encoder: Any


def build_model(folder: Path, seed: int = 0, words: Iterable[str] | None = None) -> Path:
    """Write a pipeline that `StableDiffusionPipeline.from_pretrained(folder)` loads; return it.

    The same `seed` and `words` (tags as they stand in captions; the demo's vocabulary when left
    out) give the same weights. The weights are random: the model knows no picture.
    """
    save_networks(folder, new_networks(folder, seed, words))
    return folder


def new_networks(folder: Path, seed: int, words: Iterable[str] | None = None) -> Networks:
    """Write the tokenizer into `folder`; return networks of random weights that go with it."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    vocabulary = write_tokenizer(folder / "tokenizer", demo_words() if words is None else words)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Networks(text_encoder=_text_encoder(vocabulary), vae=_vae(), unet=_unet())


def save_networks(folder: Path, networks: Networks) -> None:
    """Write the networks, the noise schedule and the index beside the tokenizer."""
    networks.text_encoder.save_pretrained(folder / "text_encoder")
    networks.vae.save_pretrained(folder / "vae")
    networks.unet.save_pretrained(folder / "unet")
    noise_schedule().save_pretrained(folder / "scheduler")
    _write_index(folder)


def noise_schedule() -> Any:
    """SD1.5's: a thousand steps, betas linear in their roots."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        num_train_timesteps=TIMESTEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )


def demo_words() -> list[str]:
    """What captions of the demo's world are made of, as they spell it."""
    return [*(rendered(word.name, escape=False) for word in VOCABULARY), *QUALITY]


def _unet() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=SIDE // 8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=CHANNELS,
        layers_per_block=2,
        cross_attention_dim=WIDTH,
        attention_head_dim=HEADS,  # diffusers' name for the number of heads, as in SD1.5's config
        norm_num_groups=16,
    )


def _vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=VAE_CHANNELS,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIDE,
        scaling_factor=SCALE,
    )


def _text_encoder(vocabulary: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def _write_index(folder: Path) -> None:
    write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            "_diffusers_version": "0.35.0",
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "DDPMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )
