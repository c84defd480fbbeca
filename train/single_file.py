"""A model in a single file, in the layout of the code that it was first trained with.

The names are turned into diffusers' by diffusers' own functions, and nothing is downloaded: the
configurations are in train.single_file_configs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import ModelError
from schemas.files import sha256_of
from schemas.recipes.train import ModelKind
from train import single_file_configs as configs
from train.checkpoint_file import CheckpointFile, open_checkpoint
from train.diffusers_folder import quiet
from train.kinds import check_unet
from train.single_file_configs import FIRST, SECOND, UNET, VAE

if TYPE_CHECKING:
    import torch

CONV_IN = UNET + "input_blocks.0.0.weight"
ADAPTER_ENDS = (".lora_down.weight", ".lora_A.weight", ".hada_w1_a", ".lokr_w1", ".lokr_w1_a")
OTHERS = (  # what a file holds that has no Stable Diffusion in it: a part of a name, its kind
    ("double_blocks.", "a Flux model"),
    ("joint_blocks.", "a Stable Diffusion 3 model"),
    ("control_model.", "a ControlNet"),
    ("controlnet_", "a ControlNet"),
)
IGNORED = ("position_ids", "logit_scale")


@dataclass(frozen=True)
class SingleFileVae:
    """The VAE in a file: alone, or a model's own. prefix: what its tensors' names begin with."""

    file: CheckpointFile
    prefix: str
    kind: ModelKind  # whose latents it makes: single files do not tell

    @property
    def there(self) -> bool:
        """Whether the file holds one."""
        return f"{self.prefix}encoder.conv_in.weight" in self.file.shapes

    def load(self) -> Any:
        """Return the AutoencoderKL: fp32, frozen, on the CPU."""
        from diffusers import AutoencoderKL
        from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

        config = configs.vae_config(self.file.shapes, self.prefix, self.kind)
        tensors = self.file.read(self._names())
        bare = {name.removeprefix(self.prefix): tensor for name, tensor in tensors.items()}
        converted = convert_ldm_vae_checkpoint(bare, config)
        return _filled(lambda: AutoencoderKL.from_config(config), converted, self.file.name, "VAE")

    def settings(self) -> dict[str, Any]:
        """Return what shapes it beside its tensors: nothing."""
        return {}

    def sha256(self) -> str:
        """Return the hash over its tensors: the same for a VAE alone and inside a model."""
        return self.file.sha256(self._names())

    def _names(self) -> dict[str, str]:
        parts = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
        starts = tuple(self.prefix + part for part in parts)
        names = (name for name in self.file.shapes if name.startswith(starts))
        return {name: name.removeprefix(self.prefix) for name in names}


@dataclass(frozen=True)
class SingleFile:
    """A whole model in one file, checked; nothing but its header is read."""

    file: CheckpointFile
    kind: ModelKind

    @property
    def vae(self) -> SingleFileVae:
        return SingleFileVae(self.file, VAE, self.kind)

    @property
    def tokenizer(self) -> Path | None:
        """None: single files hold no tokenizer."""
        return None

    def unet(self, *, weights: bool = True) -> Any:
        from diffusers import UNet2DConditionModel
        from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

        config = configs.unet_config(self.file.shapes, self.kind)
        tensors = self._read(UNET, weights)
        converted = convert_ldm_unet_checkpoint(tensors, config)

        def make() -> Any:
            return UNet2DConditionModel.from_config(config)

        return _filled(make, converted, self.file.name, "U-Net")

    def text_encoders(self, *, weights: bool = True) -> tuple[Any, ...]:
        from transformers import CLIPTextConfig, CLIPTextModel

        config = CLIPTextConfig(**configs.first_text_config(self.file.shapes, self.kind))
        prefix = configs.text_prefix(self.file.shapes, self.kind)
        tensors = {
            f"text_model.{name.removeprefix(prefix)}": tensor
            for name, tensor in self._read(prefix, weights).items()
        }

        def make() -> Any:
            return CLIPTextModel(config)

        first = _filled(make, tensors, self.file.name, "text encoder")
        return (first,) if self.kind == "sd15" else (first, self._second_text_encoder(weights))

    def _second_text_encoder(self, weights: bool) -> Any:
        from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        config = CLIPTextConfig(**configs.second_text_config(self.file.shapes))

        def make() -> Any:
            return CLIPTextModelWithProjection(config)

        tensors = convert_open_clip_checkpoint(None, self._read(SECOND, weights), SECOND)
        return _filled(make, tensors, self.file.name, "second text encoder")

    def scheduler(self) -> Any:
        from diffusers import DDPMScheduler

        return DDPMScheduler(**configs.NOISE)

    def predicts_v(self) -> bool:
        """Whether it says that it predicts v, by the key that user interfaces look for."""
        said = self.file.metadata.get("modelspec.prediction_type", "")
        return "v_pred" in self.file.shapes or said in ("v", "v_prediction")

    def ends_in_noise(self) -> bool:
        """Whether it says that it was trained with zero terminal SNR."""
        return "ztsnr" in self.file.shapes

    def sha256(self) -> str:
        """Return the hash over the file's bytes, which is what others call the model's hash."""
        return sha256_of(self.file.path)

    def _read(self, prefix: str, weights: bool) -> "dict[str, torch.Tensor]":
        """The tensors whose names begin so; without weights their shapes, on the meta device."""
        import torch

        names = [name for name in self.file.shapes if name.startswith(prefix)]
        if weights:
            return self.file.read(names)
        return {name: torch.empty(self.file.shapes[name], device="meta") for name in names}


def open_file(path: Path, name: str, key: str = "model.path") -> SingleFile:
    """Return the model in a file that `key` of the recipe names as `name`. Raises ModelError."""
    what = f"{key} {name}"
    file = open_checkpoint(path, what)
    kind = _kind(file.shapes, what)
    levels, layers = configs.unet_levels(file.shapes)
    check_unet(
        *(what, kind),
        channels=file.shapes[CONV_IN][1],
        context=configs.unet_context(file.shapes),
        levels=levels,
        layers=layers,
    )
    return SingleFile(file, kind)


def open_vae_file(path: Path, name: str, kind: ModelKind) -> SingleFileVae:
    """Return the VAE in a file: alone, or a whole model's. Raises ModelError."""
    what = f"model.vae {name}"
    file = open_checkpoint(path, what)
    prefix = VAE if SingleFileVae(file, VAE, kind).there else ""
    vae = SingleFileVae(file, prefix, kind)
    if not vae.there:
        raise ModelError(f"{what} holds no VAE: {_seen(file.shapes)}")
    if f"{prefix}encoder.down.0.block.0.conv2.weight" not in file.shapes:
        raise ModelError(
            f"{what} has diffusers' names, and no config.json with it: give the folder that holds"
            " both"
        )
    if (channels := file.shapes[f"{prefix}decoder.conv_in.weight"][1]) != 4:
        raise ModelError(
            f"{what} is the VAE of another kind of model: its latents have {channels} channels,"
            " SD1.5's and SDXL's have 4"
        )
    return vae


def _kind(shapes: Mapping[str, tuple[int, ...]], what: str) -> ModelKind:
    """Return which of our kinds the tensors are. Raises ModelError: what they are instead."""

    def has(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in shapes)

    if CONV_IN not in shapes:
        raise ModelError(f"{what} is no SD1.5 or SDXL checkpoint: {_seen(shapes)}")
    if has(SECOND):
        return "sdxl"
    if has("conditioner.embedders.0.model."):
        raise ModelError(
            f"{what} is SDXL's refiner: give the base model, which adapters are trained on"
        )
    if has("cond_stage_model.model."):
        raise ModelError(f"{what} is a Stable Diffusion 2 model: kiroku trains SD1.5 and SDXL")
    if not has(FIRST["sd15"]):
        raise ModelError(
            f"{what} holds a U-Net without its text encoder: give the whole checkpoint"
        )
    return "sd15"


def _seen(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What a file that is no Stable Diffusion seems to be, and what to do."""
    if any(name.endswith(ADAPTER_ENDS) for name in shapes):
        return "it is an adapter; give the checkpoint that it was trained on"
    for part, kind in OTHERS:
        if any(part in name for name in shapes):
            return f"it is {kind}"
    if "encoder.conv_in.weight" in shapes or f"{VAE}encoder.conv_in.weight" in shapes:
        return "it is a VAE, which is named in model.vae"
    if "down_blocks.0.resnets.0.conv1.weight" in shapes:
        return "it is a U-Net alone, in diffusers' names; give the folder that it was in"
    return f"none of its {len(shapes)} tensors is one of theirs"


def _filled(
    make: Callable[[], Any], weights: "Mapping[str, torch.Tensor]", name: str, part: str
) -> Any:
    """Return the network that `make` builds, with these weights: fp32, frozen, on the CPU.

    Raises ModelError when weights are missing, left over, or of other shapes.
    """
    import torch

    quiet()
    with torch.device("meta"):
        network = make()
    expected = network.state_dict()
    given = {
        (key if key in expected else key.removeprefix("text_model.")): tensor.float()
        for key, tensor in weights.items()
        if not key.endswith(IGNORED)
    }
    wrong = sorted(given.keys() - expected.keys())
    wrong += [key for key in sorted(expected) if _shape(expected, key) != _shape(given, key)]
    if wrong:
        raise ModelError(
            f"{name} has another {part} than its kind: {len(wrong)} tensors are missing, left over"
            f" or of another shape, {wrong[0]} first"
        )
    network.load_state_dict(given, assign=True)
    for module in network.modules():
        if getattr(module, "position_ids", None) is not None:  # a buffer that no file holds
            module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
    return network.requires_grad_(False).eval()


def _shape(tensors: "Mapping[str, torch.Tensor]", name: str) -> "torch.Size | None":
    return tensors[name].shape if name in tensors else None
