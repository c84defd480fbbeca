"""The demo's model: SD1.5's shape, small, the same from the same seed."""

import hashlib
import time
from pathlib import Path

import pytest
import torch

from prep.demo.model import build_model
from schemas.recipes.train import AdapterSection
from train.adapters.adapter import attach_adapter
from train.blocks import SD15
from train.targets import expected_modules

WORDS = ["long hair", "blue eyes", "^^^", ":3", "hoshizora academy", "1girl"]


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_is_the_same_bytes_another_is_not(tmp_path: Path) -> None:
    torch.manual_seed(5)
    first = hashes(build_model(tmp_path / "a", 0, WORDS))
    torch.rand(7)
    again = hashes(build_model(tmp_path / "b", 0, reversed(WORDS)))
    other = hashes(build_model(tmp_path / "c", 1, WORDS))
    assert first == again
    changed = {name for name in first if first[name] != other[name]}
    assert changed == {name for name in first if name.endswith(".safetensors")}


def test_it_is_quick_and_small(tmp_path: Path) -> None:
    build_model(tmp_path / "warm", 0, WORDS)
    start = time.process_time()
    build_model(tmp_path / "model")
    assert time.process_time() - start < 3
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 28_000_000


def test_the_random_state_is_left_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_model(tmp_path, 0, WORDS)
    assert torch.equal(torch.rand(3), expected)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"))


def test_diffusers_loads_it_and_draws(built: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(built, low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2, "width": 64, "height": 64}
    assert pipeline("1girl, smile", **options).images[0].size == (64, 64)


def test_its_blocks_are_those_of_sd15(built: Path) -> None:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel.from_pretrained(built / "unet", low_cpu_mem_usage=False)
    text = CLIPTextModel.from_pretrained(built / "text_encoder")
    adapter = attach_adapter(SD15, unet, [text], AdapterSection(dim=2, alpha=2), seed=0)
    assert sum(name.startswith("lora_unet_") for name in adapter.layers) == 192
    counts = expected_modules(unet.config, [text.config.to_dict()])
    attention = {f"IN{n:02}" for n in (1, 2, 4, 5, 7, 8)} | {f"OUT{n:02}" for n in range(3, 12)}
    assert set(counts) == attention | {"M00", "TE"}


def test_the_tokenizer_knows_the_vocabulary_and_reads_anything(built: Path) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(built / "tokenizer")
    assert tokenizer.tokenize("long hair, blue eyes") == [
        *("long</w>", "hair</w>", ",</w>", "blue</w>", "eyes</w>")
    ]
    strange = "Ünseen 日本 <3 42"
    ids = tokenizer(strange).input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "ünseen 日本 < 3 4 2"
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id
