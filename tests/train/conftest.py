"""What the tests of training share: a small model, small data, recipes."""

import hashlib
import io
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from schemas.recipes.train import TrainRecipe
from schemas.tables import MANIFEST

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))  # tests import what stands beside them by name

TAGS = ["1girl", "smile", "hat", "long hair", "blue eyes", "red hair", "outdoors", "blush"]
WORDS = [*TAGS, "azusa", "masterpiece", "best quality", "simple background", "lowres"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from prep.demo.model import build_model

    torch.set_num_threads(1)
    return build_model(tmp_path_factory.mktemp("model"), seed=0, words=WORDS)


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder of SDXL in small, with random weights.

    Three levels, the first without attention, two text encoders of different widths; its heads are
    64 wide, as a single file of it cannot tell.
    """
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionXLPipeline
    from diffusers import UNet2DConditionModel as UNet
    from transformers import (
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
    )

    from prep.demo.tokenizer import write_tokenizer

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("sdxl")
    vocabulary = write_tokenizer(folder / "words", WORDS)

    def text_config(width: int, layers: int, act: str) -> Any:
        return CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            hidden_act=act,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )

    torch.manual_seed(0)
    StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32,) * 4,
            layers_per_block=1,
            sample_size=64,
            scaling_factor=0.13025,
        ),
        text_encoder=CLIPTextModel(text_config(64, 3, "quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(text_config(128, 4, "gelu")),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "words"),
        tokenizer_2=CLIPTokenizer.from_pretrained(folder / "words", pad_token="!"),
        unet=UNet(
            sample_size=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(32, 64, 128),
            layers_per_block=2,
            cross_attention_dim=64 + 128,
            attention_head_dim=(1, 1, 2),
            transformer_layers_per_block=(1, 1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=128 + 6 * 8,
        ),
        scheduler=DDPMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            steps_offset=1,
        ),
    ).save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="session")
def sd15(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SD1.5 in small with 8 heads and norms of 32 groups, as every single file is taken to have."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tmp_path_factory.mktemp("sd15")
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=64,
        cross_attention_dim=64,
        attention_head_dim=8,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=2,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=2,
        sample_size=512,
    ).save_pretrained(folder / "vae")
    vocabulary = 300
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            projection_dim=64,
            num_hidden_layers=3,
            num_attention_heads=1,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    ).save_pretrained(folder / "text_encoder")
    DDPMScheduler.from_pretrained(model / "scheduler").save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="session")
def single_files(
    sd15: Path, sdxl: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A .safetensors file of each kind."""
    from safetensors.torch import save_file
    from single_file_layout import as_single_file

    folder = tmp_path_factory.mktemp("files")
    for kind, source in (("sd15", sd15), ("sdxl", sdxl)):
        save_file(as_single_file(source, kind), folder / f"{kind}.safetensors")
    return {kind: folder / f"{kind}.safetensors" for kind in ("sd15", "sdxl")}


@pytest.fixture(scope="session")
def real_sd15() -> tuple[Any, list[Any]]:
    """SD1.5 as it is published, without weights."""
    import torch
    from real_models import sd15

    with torch.device("meta"):
        return sd15()


@pytest.fixture(scope="session")
def real_sdxl() -> tuple[Any, list[Any]]:
    """SDXL base 1.0 as it is published, without weights."""
    import torch
    from real_models import sdxl

    with torch.device("meta"):
        return sdxl()


def manifest_row(md5: str, **changes: Any) -> dict[str, Any]:
    tags = [{"tag": "azusa", "category": "trigger", "part": "head"}]
    tags += [{"tag": tag, "category": "general", "part": "flex"} for tag in TAGS]
    row = {
        "md5": md5,
        "path": f"images/{md5}.png",
        "width": 64,
        "height": 64,
        "set": "main",
        "split": "train",
        "group": md5,
        "is_reg": False,
        "repeats": 1,
        "weight": 1.0,
        "rating": "g",
        "score": 10,
        "caption": ", ".join(tag["tag"] for tag in tags),
        "tags": tags,
    }
    return row | changes


@pytest.fixture(scope="session")
def write_manifest() -> Callable[[Path, list[dict[str, Any]]], None]:
    """Write rows as a folder's manifest."""

    def write(folder: Path, rows: list[dict[str, Any]]) -> None:
        MANIFEST.write(folder / "manifest.parquet", pa.Table.from_pylist(rows, MANIFEST.schema))

    return write


@pytest.fixture(scope="session")
def make_dataset(
    write_manifest: Callable[[Path, list[dict[str, Any]]], None],
) -> Callable[[Path], Path]:
    """Make a folder of six pictures of two shapes with their manifest; one is a reg image."""

    def make(folder: Path) -> Path:
        rows = []
        images = folder / "images"
        images.mkdir(parents=True)
        for number in range(6):
            size = (64, 64) if number % 2 else (96, 64)
            pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
            written = io.BytesIO()
            Image.fromarray(pixels).save(written, format="PNG")
            md5 = hashlib.md5(written.getvalue()).hexdigest()
            (images / f"{md5}.png").write_bytes(written.getvalue())
            changes: dict[str, Any] = {"width": size[0], "height": size[1]}
            changes |= {"repeats": 1 + number % 3, "group": f"group {number}"}
            if number == 5:
                changes |= {"set": "plain", "is_reg": True}
            rows.append(manifest_row(md5, **changes))
        write_manifest(folder, rows)
        return folder

    return make


@pytest.fixture
def dataset(tmp_path: Path, make_dataset: Callable[[Path], Path]) -> Path:
    """The six pictures, to train on and to change."""
    return make_dataset(tmp_path / "data")


@pytest.fixture(scope="session")
def add_drawing() -> Callable[..., dict[str, Any]]:
    """`add_drawing(folder, portrait, side, trigger)`: draw it there; return its manifest row.

    With a trigger, the caption names that in place of the features of the character.
    """
    from prep.demo.characters import CHARACTERS
    from prep.demo.drawing import draw
    from prep.demo.portrait import Portrait
    from schemas.tags import rendered

    def add(folder: Path, portrait: Portrait, side: int, trigger: str) -> dict[str, Any]:
        written = io.BytesIO()
        draw(portrait, side, side).save(written, format="PNG")
        md5 = hashlib.md5(written.getvalue()).hexdigest()
        (folder / f"images/{md5}.png").write_bytes(written.getvalue())
        hidden = CHARACTERS[portrait.character].signature if trigger and portrait.character else ()
        tags = [{"tag": trigger, "category": "trigger", "part": "head"}] * bool(trigger)
        tags += [
            {"tag": rendered(tag, escape=False), "category": "general", "part": "flex"}
            for tag in portrait.tags()
            if tag not in hidden
        ]
        caption = ", ".join(tag["tag"] for tag in tags)
        return manifest_row(md5, tags=tags, caption=caption, width=side, height=side)

    return add


@pytest.fixture(scope="session")
def drawings(
    tmp_path_factory: pytest.TempPathFactory, add_drawing: Callable[..., dict[str, Any]]
) -> Path:
    """A dataset of 48 drawings of the demo's world; 28 are of a character, whom a trigger calls."""
    from prep.demo.portrait import sample
    from prep.demo.recipes import CHARACTER, TAGGER

    folder = tmp_path_factory.mktemp("drawings")
    (folder / "images").mkdir()
    rows = []
    for number in range(48):
        is_reg = number >= 28
        portrait = sample(random.Random(number), character="" if is_reg else CHARACTER)
        row = add_drawing(folder, portrait, 96, "" if is_reg else "akari")
        rows.append(row | {"set": "plain" if is_reg else "main", "is_reg": is_reg})
    MANIFEST.write(folder / "manifest.parquet", pa.Table.from_pylist(rows, MANIFEST.schema))
    recipe = f"""
[sets]
main = {{ query = "akari" }}
[tag]
taggers = [{json.dumps(TAGGER.as_posix())}]
[caption]
trigger = "akari"
"""
    (folder / "prep.toml").write_text(recipe, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def recipe(model: Path) -> Callable[..., TrainRecipe]:
    """Make a recipe for the small model; `changes` are sections, merged over the defaults."""

    def make(**changes: Any) -> TrainRecipe:
        values: dict[str, Any] = {
            "model": {"path": str(model), "clip_skip": 1},
            "latents": {"resolution": 80, "min": 32, "max": 128, "step": 32},
            "adapter": {"dim": 4, "alpha": 2},
            "optimizer": {"lr": 1e-3, "schedule": "constant"},
            "steps": {"total": 4, "batch": 2},
            "save": {"every": 0, "precision": "fp32"},
            "sample": {"every": 0, "steps": 2, "size": [64, 64], "seeds": [1, 2]},
        }
        for key, value in changes.items():
            values[key] = values.get(key, {}) | value if isinstance(value, dict) else value
        return TrainRecipe.model_validate(values)

    return make
