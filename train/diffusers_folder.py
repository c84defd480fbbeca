"""A model as a diffusers folder: a subfolder per part, each with its config.json and weights."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import ModelError
from schemas.files import sha256_of
from schemas.recipes.train import ModelKind
from train.checkpoint_file import open_checkpoint
from train.kinds import check_unet

PARTS = ("unet", "vae", "text_encoder", "scheduler")


@dataclass(frozen=True)
class DiffusersVae:
    """A VAE in a folder of its own."""

    folder: Path

    def load(self) -> Any:
        """Return the AutoencoderKL: fp32, frozen, on the CPU."""
        from diffusers import AutoencoderKL

        return load_weights(AutoencoderKL, self.folder, dtype="torch_dtype")

    def settings(self) -> dict[str, Any]:
        """Return what of its configuration shapes it: not where it was saved, nor by what version.

        Raises ModelError when the folder holds no VAE.
        """
        config = self.folder / "config.json"
        if not config.is_file() or not weight_files(self.folder):
            raise ModelError(
                f"{self.folder} holds no VAE (config.json and diffusion_pytorch_model.safetensors):"
                " name a diffusers VAE folder"
            )
        settings = read_config(config)
        return {name: value for name, value in settings.items() if not name.startswith("_")}

    def sha256(self) -> str:
        """Return the hash over the bytes of its weights."""
        return sha256_of(*weight_files(self.folder))


@dataclass(frozen=True)
class DiffusersFolder:
    """A whole model in a folder, checked; nothing is loaded."""

    folder: Path
    kind: ModelKind

    @property
    def vae(self) -> DiffusersVae:
        return DiffusersVae(self.folder / "vae")

    @property
    def tokenizer(self) -> Path | None:
        """The folder of its tokenizer, None when there is none."""
        place = self.folder / "tokenizer"
        return place if place.is_dir() else None

    def unet(self, *, weights: bool = True) -> Any:
        from diffusers import UNet2DConditionModel

        if not weights:
            return without_weights(UNet2DConditionModel, self.folder / "unet")
        return load_weights(UNet2DConditionModel, self.folder / "unet", dtype="torch_dtype")

    def text_encoders(self, *, weights: bool = True) -> tuple[Any, ...]:
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
        names = list(kinds)[: 1 if self.kind == "sd15" else 2]
        if not weights:
            return tuple(without_weights(kinds[name], self.folder / name) for name in names)
        return tuple(load_weights(kinds[name], self.folder / name, "dtype") for name in names)

    def scheduler(self) -> Any:
        from diffusers import DDPMScheduler

        return loading(DDPMScheduler, self.folder / "scheduler")

    def predicts_v(self) -> bool:
        """Whether it says that it predicts v."""
        return bool(self._schedule().get("prediction_type") == "v_prediction")

    def ends_in_noise(self) -> bool:
        """Whether it says that it was trained with zero terminal SNR."""
        return bool(self._schedule().get("rescale_betas_zero_snr"))

    def sha256(self) -> str:
        """Return the hash over the bytes of what is trained on: U-Net, then text encoders."""
        parts = ("unet", "text_encoder", "text_encoder_2")
        return sha256_of(*(file for part in parts for file in weight_files(self.folder / part)))

    def _schedule(self) -> dict[str, Any]:
        return read_config(self.folder / "scheduler" / "scheduler_config.json")


def open_folder(folder: Path, path: str, key: str = "model.path") -> DiffusersFolder:
    """Return the model in a folder that `key` of the recipe names as `path`. Raises ModelError."""
    what = f"{key} {path}"
    index = folder / "model_index.json"
    pipeline = read_config(index).get("_class_name", "") if index.is_file() else ""
    if (folder / "transformer").is_dir() and not (folder / "unet").is_dir():
        raise ModelError(
            f"{what} is another kind of model ({pipeline or 'with a transformer'}):"
            " kiroku trains SD1.5 and SDXL"
        )
    if (folder / "text_encoder_2").is_dir() and not (folder / "text_encoder").is_dir():
        raise ModelError(
            f"{what} is SDXL's refiner: give the base model, which adapters are trained on"
        )
    lacks = [part for part in PARTS if not any((folder / part).glob("*config.json"))]
    if lacks:
        raise ModelError(f"{what} is no diffusers model: it lacks {', '.join(sorted(lacks))}")
    unet = read_config(folder / "unet" / "config.json")
    kind: ModelKind = "sdxl" if (folder / "text_encoder_2").is_dir() else "sd15"
    check_unet(
        *(what, kind),
        channels=unet.get("in_channels", 4),
        context=unet.get("cross_attention_dim", 0),
        levels=len(unet.get("block_out_channels", ())),
        layers=unet.get("layers_per_block", 0),
    )
    return DiffusersFolder(folder, kind)


def open_vae_folder(folder: Path, path: str) -> DiffusersVae:
    """Return the VAE in a folder: a VAE's own, or a whole model's. Raises ModelError."""
    if not (folder / "config.json").is_file() and (folder / "vae" / "config.json").is_file():
        folder = folder / "vae"
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"model.vae {path} is no diffusers VAE: it has no config.json")
    name = read_config(config).get("_class_name", "AutoencoderKL")
    if name != "AutoencoderKL":
        raise ModelError(f"model.vae {path} is no diffusers VAE, but a {name}")
    return DiffusersVae(folder)


def read_config(path: Path) -> dict[str, Any]:
    """Return a configuration. Raises ModelError."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: get the model again") from None
    except ValueError:
        raise ModelError(f"{path} is no JSON: get the model again") from None


def load_weights(kind: Any, folder: Path, dtype: str) -> Any:
    """Return a part of a model: fp32, frozen, on the CPU.

    dtype: the library's name for that option. Raises ModelError, also where a weight is missing,
    which the libraries would draw at random.
    """
    import torch

    quiet()
    options: dict[str, Any] = {dtype: torch.float32, "output_loading_info": True}
    if kind.__module__.startswith("diffusers"):
        options["low_cpu_mem_usage"] = False
    if not any(folder.glob("*model.safetensors*")) and any(folder.glob("*.fp16.safetensors")):
        options["variant"] = "fp16"
    loaded, report = loading(kind, folder, **options)
    _check_whole(folder, report["missing_keys"])
    loaded.requires_grad_(False)
    return loaded.eval()


def without_weights(kind: Any, folder: Path) -> Any:
    """Return a part of a model on the meta device: shapes alone, and nothing is read but headers.

    Raises ModelError as load_weights does, also where a weight has another shape than in its file.
    """
    import torch

    quiet()
    if kind.__module__.startswith("diffusers"):
        config, make = read_config(folder / "config.json"), kind.from_config
    else:
        config, make = loading(kind.config_class, folder), kind
    with torch.device("meta"):
        network = make(config)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        given |= open_checkpoint(file, str(file)).shapes
    bare = {name.removeprefix("text_model."): shape for name, shape in given.items()}
    found = {name: given.get(name, bare.get(name)) for name in expected}
    _check_whole(folder, [name for name, shape in found.items() if shape is None])
    if wrong := [name for name in expected if found[name] not in (None, expected[name])]:
        raise ModelError(f"{folder} cannot be loaded: {wrong[0]} has another shape than it says")
    return network.requires_grad_(False).eval()


def _check_whole(folder: Path, missing: Sequence[str]) -> None:
    missing = [key for key in missing if not key.endswith("position_ids")]
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of the weights that its config.json asks for,"
            f" {min(missing)} first: get the model again"
        )


def loading(kind: Any, folder: Path, **options: Any) -> Any:
    """Call from_pretrained; whatever it raises about the files becomes one sentence."""
    try:
        return kind.from_pretrained(str(folder), local_files_only=True, **options)
    except MemoryError:
        raise
    except Exception as error:  # the libraries raise anything here, SafetensorError to KeyError
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{folder} cannot be loaded: {first}") from error


def weight_files(folder: Path) -> list[Path]:
    """Return the files that are loaded: whole, in parts, or a half-precision variant."""
    kinds = ("*model.safetensors", "*model-*-of-*.safetensors", "*.fp16*.safetensors", "*.bin")
    return next(filter(None, (sorted(folder.glob(kind)) for kind in kinds)), [])


def quiet() -> None:
    """Silence the libraries' own progress bars: ours tell the progress."""
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
