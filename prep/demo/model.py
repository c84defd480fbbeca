"""The demo's model: Stable Diffusion 1.5 in small, built from a seed, in diffusers' folder layout.

Its blocks lie as SD1.5's do (IN00-11, M00, OUT00-11, a CLIP text encoder), so that whatever names
blocks or modules meets here what it meets there; only the channels are few.
"""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

CHANNELS = (32, 48, 48, 64)  # of the U-Net's four levels; SD1.5 has 320, 640, 1280, 1280
WIDTH = 64  # of the text encoder and of cross-attention; SD1.5 has 768
HEADS = 4
TEXT_LAYERS = 4  # SD1.5 has 12
MAX_MERGES = 1024  # of the tokenizer; CLIP has 48,894
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def build_model(folder: Path, seed: int = 0, words: Iterable[str] | None = None) -> Path:
    """Write a pipeline that `StableDiffusionPipeline.from_pretrained(folder)` loads; return it.

    The same `seed` and `words` (tags as they stand in captions; the demo's vocabulary when left
    out) give the same weights. The weights are random: the model knows no picture.
    """
    from diffusers import DDPMScheduler
    from transformers.utils import logging

    logging.disable_progress_bar()
    if words is None:
        words = _demo_words()
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _write_tokenizer(folder / "tokenizer", sorted(set(words)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _text_encoder(vocabulary).save_pretrained(folder / "text_encoder")
        _vae().save_pretrained(folder / "vae")
        _unet().save_pretrained(folder / "unet")
    DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    _write_index(folder)
    return folder


def _demo_words() -> list[str]:
    from prep.demo.vocabulary import VOCABULARY

    quality = ["masterpiece", "best quality", "high quality", "worst quality", "lowres"]
    return [word.name.replace("_", " ") for word in VOCABULARY] + quality


def _unet() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=CHANNELS,
        layers_per_block=2,
        cross_attention_dim=WIDTH,
        attention_head_dim=HEADS,
        norm_num_groups=16,
    )


def _vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 32, 32),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=128,
        scaling_factor=0.18215,
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
            num_attention_heads=HEADS,
            max_position_embeddings=77,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def _write_tokenizer(folder: Path, words: list[str]) -> int:
    """Write CLIP's two files, with merges learnt from `words`; return the vocabulary's size."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    merges = _learn_merges(words)
    joined = dict.fromkeys(left + right for left, right in merges)
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *joined, BEGIN, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    _write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_bytes(("\n".join(lines) + "\n").encode())
    special = {"bos_token": BEGIN, "eos_token": END, "pad_token": END, "unk_token": END}
    _write_json(folder / "special_tokens_map.json", special)
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    _write_json(folder / "tokenizer_config.json", settings | special)
    return len(vocabulary)


def _learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Learn byte-pair merges by the rules with which CLIP's tokenizer will apply them.

    Lower case; letters, single digits and runs of signs apart; a word's last piece ends in
    `</w>` (Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2021, arXiv:2103.00020). Of
    equally frequent pairs the first in order merges first, so that every machine learns the same.
    """
    spelt = Counter(piece for word in words for piece in _pieces(word))
    pieces = {piece: [*piece[:-1], f"{piece[-1]}</w>"] for piece in sorted(spelt)}
    merges: list[tuple[str, str]] = []
    while len(merges) < MAX_MERGES:
        pairs: Counter[tuple[str, str]] = Counter()
        for piece, parts in pieces.items():
            for pair in pairwise(parts):
                pairs[pair] += spelt[piece]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = {piece: _merged(parts, best) for piece, parts in pieces.items()}
    return merges


def _pieces(word: str) -> list[str]:
    """Cut as CLIP does, each piece as the letters that stand for its UTF-8 bytes."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    cut = Sequence(
        [
            Split(Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True),
            ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return [piece for piece, _ in cut.pre_tokenize_str(word.lower())]


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def _write_index(folder: Path) -> None:
    _write_json(
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


def _write_json(path: Path, value: Any) -> None:
    path.write_bytes((json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
