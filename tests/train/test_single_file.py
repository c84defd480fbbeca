"""Checkpoints in one file: the same model as its diffusers folder, and what is said of others."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from single_file_layout import UNET, Tensors, layout

from schemas.errors import ModelError
from schemas.recipes.train import ModelSection
from train.checkpoint_file import Shapes
from train.latents import vae_key
from train.model import Model, find_model
from train.single_file import SingleFile
from train.single_file_configs import unet_config


@pytest.fixture
def files(single_files: dict[str, Path]) -> dict[str, Path]:
    return single_files


def found(path: Path | str, root: Path = Path(), **changes: Any) -> Model:
    return find_model(ModelSection(path=str(path), **changes), root)


def refused(path: str, root: Path, **changes: Any) -> str:
    with pytest.raises(ModelError) as caught:
        found(path, root, **changes)
    return str(caught.value)


def parts_of(model: Model) -> list[Tensors]:
    return [part.state_dict() for part in (model.unet(), model.vae(), *model.text_encoders())]


def assert_same_function(one: Model, other: Model) -> None:
    """Equal outputs of every part: heads, norms and activations too, which tensors do not show."""
    torch.manual_seed(0)
    ids = torch.randint(1, 290, (1, 77))
    ids[0, -1] = one.text_encoders()[0].config.vocab_size - 1
    with torch.no_grad():
        for ours, theirs in zip(one.text_encoders(), other.text_encoders(), strict=True):
            torch.testing.assert_close(ours(ids)[0], theirs(ids)[0])
        image = torch.randn(1, 3, 32, 32)
        latents = [model.vae().encode(image).latent_dist.mean for model in (one, other)]
        torch.testing.assert_close(*latents)
        torch.testing.assert_close(*(m.vae().decode(latents[0]).sample for m in (one, other)))
        unets = one.unet(), other.unet()
        context = torch.randn(1, 77, unets[0].config.cross_attention_dim)
        added = {"text_embeds": torch.randn(1, 128), "time_ids": torch.arange(6.0)[None]}
        x = torch.randn(1, 4, 16, 16)
        outputs = (unet(x, 7, context, added_cond_kwargs=added).sample for unet in unets)
        torch.testing.assert_close(*outputs)
    factors = [model.vae().config.scaling_factor for model in (one, other)]
    assert factors[0] == factors[1]
    torch.testing.assert_close(one.scheduler().alphas_cumprod, other.scheduler().alphas_cumprod)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_a_file_is_the_same_model_as_its_folder(
    kind: str, files: dict[str, Path], sd15: Path, sdxl: Path
) -> None:
    single, folder = found(files[kind]), found({"sd15": sd15, "sdxl": sdxl}[kind])
    assert single.kind == folder.kind == kind
    for ours, theirs in zip(parts_of(single), parts_of(folder), strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert_same_function(single, folder)
    assert single.sha256() == hashlib.sha256(files[kind].read_bytes()).hexdigest()


def test_asking_for_the_vaes_key_loads_no_torch(files: dict[str, Path]) -> None:
    script = (
        "import sys; from pathlib import Path; from schemas.recipes.train import ModelSection;"
        "from train.latents import vae_key; from train.model import find_model;"
        "print(vae_key(find_model(ModelSection(path=sys.argv[1]), Path()).vae_source));"
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    asked = subprocess.run(
        [sys.executable, "-c", script, str(files["sd15"])],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.strip() == vae_key(found(files["sd15"]).vae_source)


@dataclass(frozen=True)
class WithoutWeights:
    """A checkpoint of real size on the meta device."""

    tensors: Tensors
    name: str = "model.path real"
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def shapes(self) -> Shapes:
        return Shapes(self.name, {name: tuple(t.shape) for name, t in self.tensors.items()})

    def read(self, names: Iterable[str]) -> Tensors:
        return {name: self.tensors[name] for name in names}


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_real_sizes_are_read_as_their_makers_publish_them(
    kind: Any, request: pytest.FixtureRequest
) -> None:
    """Every tensor of the real models finds its place, and the configurations are the published."""
    unet, text_encoders = request.getfixturevalue(f"real_{kind}")
    tensors = layout(kind, unet.state_dict(), *(part.state_dict() for part in text_encoders))
    single: Any = SingleFile(WithoutWeights(tensors), kind)  # type: ignore[arg-type]
    ours, theirs = single.unet(), unet
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    config = unet_config(single.file.shapes, kind)
    assert config.keys() >= {"block_out_channels", "attention_head_dim", "cross_attention_dim"}
    assert {key: as_list(ours.config[key]) for key in config} == {
        key: as_list(theirs.config[key]) for key in config
    }
    names = ("pad_token_id", "bos_token_id", "eos_token_id", "dtype", "architectures")
    for one, other in zip(single.text_encoders(), text_encoders, strict=True):
        assert one.state_dict().keys() == other.state_dict().keys()
        read, published = one.config.to_dict(), other.config.to_dict()
        assert {k: v for k, v in read.items() if k not in names} == {
            k: v for k, v in published.items() if k not in names
        }


def as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_half_precision_becomes_fp32(files: dict[str, Path], tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in load_file(files["sd15"]).items()}
    save_file(half, tmp_path / "half.safetensors")
    for part in parts_of(found("half.safetensors", tmp_path)):
        assert {tensor.dtype for tensor in part.values()} == {torch.float32}


class Callback:
    """What a .ckpt may hold beside its tensors."""

    def __init__(self) -> None:
        self.best = 1.0


def test_a_ckpt_gives_its_tensors_and_nothing_else(files: dict[str, Path], tmp_path: Path) -> None:
    tensors = load_file(files["sd15"])
    text = "cond_stage_model.transformer."
    flat = {name.replace(f"{text}text_model.", text): t for name, t in tensors.items()}
    whole = {"state_dict": flat, "callbacks": {"best": Callback()}, "epoch": 3}
    torch.save(whole, tmp_path / "model.ckpt")
    pickled, plain = found("model.ckpt", tmp_path), found(files["sd15"])
    for ours, theirs in zip(parts_of(pickled), parts_of(plain), strict=True):
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(tmp_path / "model.ckpt", weights_only=True)


def test_another_vae_may_be_a_file_alone_or_a_whole_checkpoint(
    files: dict[str, Path], sd15: Path, tmp_path: Path
) -> None:
    tensors = load_file(files["sd15"])
    prefix = "first_stage_model."
    alone = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    save_file(alone, tmp_path / "vae.safetensors")
    without = {name: t for name, t in tensors.items() if not name.startswith(prefix)}
    save_file(without, tmp_path / "model.safetensors")
    for path in (tmp_path / "vae.safetensors", files["sd15"]):
        model = found("model.safetensors", tmp_path, vae=str(path))
        assert vae_key(model.vae_source) == vae_key(found(files["sd15"]).vae_source)
        ours, theirs = model.vae().state_dict(), found(sd15).vae().state_dict()
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert refused("model.safetensors", tmp_path) == (
        "model.path model.safetensors holds no VAE: name one in model.vae, a file or a folder"
    )


def test_an_sdxl_vae_scales_latents_as_sdxl_wants(files: dict[str, Path], sdxl: Path) -> None:
    assert found(files["sdxl"]).vae().config.scaling_factor == 0.13025
    assert found(files["sdxl"], vae=str(files["sd15"])).vae().config.scaling_factor == 0.13025
    assert refused(str(files["sd15"]), Path(), vae=str(sdxl)) == (
        f"model.vae {sdxl} is of another kind than model.path {files['sd15']}: it scales latents by"
        " 0.13025, an SD1.5 model needs 0.18215"
    )


def test_what_a_file_says_of_its_noise_is_heeded(files: dict[str, Path], tmp_path: Path) -> None:
    marked = load_file(files["sdxl"]) | {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    save_file(marked, tmp_path / "v.safetensors")
    assert refused("v.safetensors", tmp_path) == (
        'model.path v.safetensors says that it predicts v: set model.prediction = "v", or it learns'
        " nothing but noise"
    )
    assert refused("v.safetensors", tmp_path, prediction="v") == (
        "model.path v.safetensors says that it was trained with zero terminal SNR: set"
        " model.zero_terminal_snr = true"
    )
    scheduler = found("v.safetensors", tmp_path, prediction="v", zero_terminal_snr=True).scheduler()
    assert scheduler.config.prediction_type == "v_prediction"
    abar = zero_terminal(0.00085, 0.012)
    torch.testing.assert_close(scheduler.alphas_cumprod, abar, atol=1e-6, rtol=1e-5)


def zero_terminal(first: float, last: float) -> torch.Tensor:
    """Algorithm 1 of Lin et al. 2023, on the roots of abar: shift the last to 0, keep the first."""
    betas = torch.linspace(first**0.5, last**0.5, 1000, dtype=torch.float64) ** 2
    roots = (1 - betas).cumprod(0).sqrt()
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return (roots**2).float()


def reshaped(name: str, *shape: int) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: torch.zeros(shape)}


def only(prefix: str) -> Callable[[Tensors], Tensors]:
    def keep(tensors: Tensors) -> Tensors:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if prefix in name}

    return keep


def renamed(before: str, after: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name.replace(before, after): t for name, t in tensors.items()}


def holding(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda _: {name: torch.zeros(2, 2) for name in names}


NONE = "is no SD1.5 or SDXL checkpoint"


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "sd15",
            holding("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"),
            f"{NONE}: it is an adapter; give the checkpoint that it was trained on",
        ),
        (
            "sd15",
            holding(f"{UNET}double_blocks.0.img_attn.qkv.weight"),
            f"{NONE}: it is a Flux model",
        ),
        (
            "sd15",
            holding(f"{UNET}joint_blocks.0.x_block.attn.qkv.weight"),
            f"{NONE}: it is a Stable Diffusion 3 model",
        ),
        ("sd15", holding("control_model.input_hint_block.0.bias"), f"{NONE}: it is a ControlNet"),
        (
            "sd15",
            only("first_stage_model."),
            f"{NONE}: it is a VAE, which is named in model.vae",
        ),
        (
            "sd15",
            holding("down_blocks.0.resnets.0.conv1.weight"),
            f"{NONE}: it is a U-Net alone, in diffusers' names; give the folder that it was in",
        ),
        ("sd15", holding("a", "b"), f"{NONE}: none of its 2 tensors is one of theirs"),
        (
            "sd15",
            renamed("cond_stage_model.transformer.", "cond_stage_model.model.transformer."),
            "is a Stable Diffusion 2 model: kiroku trains SD1.5 and SDXL",
        ),
        (
            "sd15",
            reshaped(f"{UNET}input_blocks.0.0.weight", 32, 9, 3, 3),
            "is an inpainting model (its U-Net takes 9 channels): give the plain checkpoint, whose"
            " adapters work on both",
        ),
        (
            "sd15",
            reshaped(f"{UNET}input_blocks.0.0.weight", 32, 8, 3, 3),
            "is no text-to-image model: its U-Net takes 8 channels, SD1.5's and SDXL's take 4",
        ),
        (
            "sd15",
            renamed("cond_stage_model.", "other."),
            "holds a U-Net without its text encoder: give the whole checkpoint",
        ),
        (
            "sdxl",
            renamed("embedders.1.model.", "embedders.0.model."),
            "is SDXL's refiner: give the base model, which adapters are trained on",
        ),
        (
            "sd15",
            renamed("input_blocks.9.0.op", "gone"),
            "is built otherwise than SD1.5: its U-Net has 3 levels of 2 layers, not 4 of 2, so that"
            " its blocks have no names",
        ),
    ],
)
def test_other_files_are_told_what_they_are(
    files: dict[str, Path],
    tmp_path: Path,
    kind: str,
    change: Callable[[Tensors], Tensors],
    message: str,
) -> None:
    changed = {name: t.contiguous() for name, t in change(load_file(files[kind])).items()}
    save_file(changed, tmp_path / "other.safetensors")
    assert refused("other.safetensors", tmp_path) == f"model.path other.safetensors {message}"


def test_other_files_are_no_vae(files: dict[str, Path], tmp_path: Path, sd15: Path) -> None:
    adapter = {"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}
    save_file(adapter, tmp_path / "adapter.safetensors")
    wide = load_file(files["sd15"])
    wide["first_stage_model.decoder.conv_in.weight"] = torch.zeros(64, 16, 3, 3)
    save_file(wide, tmp_path / "wide.safetensors")
    alone = sd15 / "vae/diffusion_pytorch_model.safetensors"
    for path, message in {
        "adapter.safetensors": "holds no VAE: it is an adapter; give the checkpoint that it was"
        " trained on",
        "wide.safetensors": "is the VAE of another kind of model: its latents have 16 channels,"
        " SD1.5's and SDXL's have 4",
        str(alone): "has diffusers' names, and no config.json with it: give the folder that holds"
        " both",
    }.items():
        text = refused(str(files["sd15"]), tmp_path, vae=path)
        assert text == f"model.vae {path} {message}"


def test_broken_files_are_named(files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["sd15"].read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-7])
    assert refused("cut.safetensors", tmp_path) == (
        f"model.path cut.safetensors is cut off: it has {len(whole) - 7:,} of {len(whole):,} bytes;"
        " get it again"
    )
    (tmp_path / "short.safetensors").write_bytes(whole[:100])
    assert refused("short.safetensors", tmp_path) == (
        "model.path short.safetensors is no safetensors file (its header is cut): get it again"
    )
    (tmp_path / "page.ckpt").write_text("<html>not found</html>")
    assert refused("page.ckpt", tmp_path) == (
        "model.path page.ckpt gives no weights: it is broken, or of an old format; convert it to"
        " .safetensors"
    )
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert refused("model.gguf", tmp_path) == (
        "model.path model.gguf is a file of no kind that is read here: give a .safetensors or .ckpt"
        " file, a diffusers folder, or a Hub id (owner/name)"
    )


def test_a_file_that_lacks_weights_is_refused_when_they_are_loaded(
    files: dict[str, Path], tmp_path: Path
) -> None:
    tensors = load_file(files["sd15"])
    del tensors[f"{UNET}input_blocks.1.0.in_layers.2.weight"]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(ModelError) as caught:
        found("less.safetensors", tmp_path).unet()
    assert str(caught.value) == (
        "model.path less.safetensors has another U-Net than its kind: 1 tensors are missing, left"
        " over or of another shape, down_blocks.0.resnets.0.conv1.weight first"
    )


def test_a_tokenizer_is_needed_only_when_captions_are_read(
    files: dict[str, Path], model: Path, tmp_path: Path
) -> None:
    assert len(found(files["sd15"], tokenizer=str(model / "tokenizer")).tokenizer()) > 100
    assert len(found(files["sd15"], tokenizer=str(model)).tokenizer()) > 100
    with pytest.raises(ModelError) as caught:
        found(files["sd15"]).tokenizer()
    assert re.fullmatch(
        rf"model\.path {re.escape(str(files['sd15']))} has no tokenizer with it, and the Hugging"
        r" Face Hub did not give openai/clip-vit-large-patch14 \(\w+\): name a folder with"
        r" vocab\.json and merges\.txt of that repository in model\.tokenizer",
        str(caught.value),
    )
    assert refused(str(files["sd15"]), tmp_path, tokenizer=str(model / "unet")) == (
        f"model.tokenizer {model / 'unet'} is no CLIP tokenizer: it lacks vocab.json and merges.txt"
    )


def test_the_tokenizer_of_an_earlier_download_is_taken(
    files: dict[str, Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--openai--clip-vit-large-patch14"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(model / "tokenizer", snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    tokenizer = found(files["sd15"]).tokenizer()
    assert tokenizer("hat").input_ids == found(model).tokenizer()("hat").input_ids
