"""The model that is trained on: found on disk or on the Hub, checked, loaded part by part.

Parts are loaded when they are wanted: latents need the VAE only. Everything comes in fp32.
Finding a model loads nothing, not even torch, so that asking whether latents are fresh is quick.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import ModelError
from schemas.files import sha256_of
from schemas.progress import say
from schemas.recipes.train import ModelSection

HUB_FILES = [
    "model_index.json",
    *(f"{part}/*.json" for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")),
    *(f"{part}/*.safetensors" for part in ("unet", "vae", "text_encoder")),
    *("tokenizer/*.txt", "text_encoder_2/config.json"),
]
HUB_VARIANTS = ["*.fp16*", "*.non_ema*"]  # of weights that are also there whole


@dataclass(frozen=True)
class Model:
    """Where a model lies: folders of a checked SD1.5-shaped diffusers model. Nothing is loaded."""

    folder: Path
    vae_folder: Path

    def tokenizer(self) -> Any:
        """Return the CLIPTokenizer."""
        from transformers import CLIPTokenizer

        return _loading(CLIPTokenizer, self.folder / "tokenizer")

    def text_encoder(self) -> Any:
        """Return the CLIPTextModel: fp32, frozen, on the CPU."""
        from transformers import CLIPTextModel

        return _weights(CLIPTextModel, self.folder / "text_encoder", dtype="dtype")

    def unet(self) -> Any:
        """Return the UNet2DConditionModel: fp32, frozen, on the CPU."""
        from diffusers import UNet2DConditionModel

        return _weights(UNet2DConditionModel, self.folder / "unet", dtype="torch_dtype")

    def vae(self) -> Any:
        """Return the AutoencoderKL: fp32, frozen, on the CPU."""
        from diffusers import AutoencoderKL

        return _weights(AutoencoderKL, self.vae_folder, dtype="torch_dtype")

    def scheduler(self) -> Any:
        """Return the noise schedule as diffusers' DDPMScheduler."""
        from diffusers import DDPMScheduler

        return _loading(DDPMScheduler, self.folder / "scheduler")

    def sha256(self) -> str:
        """Return the hash over the bytes of what is trained on: U-Net, then text encoder."""
        return sha256_of(*_weight_files(self.folder / "unet", self.folder / "text_encoder"))

    def vae_sha256(self) -> str:
        """Return the hash over the bytes of the VAE's weights."""
        return sha256_of(*_weight_files(self.vae_folder))


def find_model(section: ModelSection, root: Path, *, download: bool = True) -> Model:
    """Return where the model of a recipe lies; relative paths start at `root`, its folder.

    A Hub id is downloaded where it is not in the cache, if `download` allows it. Raises ModelError
    when it is missing, or another kind of model than is trained here.
    """
    folder = _folder(section.path, "model.path", root, download)
    _check_kind(folder, section.path)
    if not section.vae:
        return Model(folder, folder / "vae")
    vae = _folder(section.vae, "model.vae", root, download)
    if not (vae / "config.json").is_file() and (vae / "vae" / "config.json").is_file():
        vae = vae / "vae"
    if not (vae / "config.json").is_file():
        raise ModelError(f"model.vae {section.vae} is no diffusers VAE: it has no config.json")
    return Model(folder, vae)


def _folder(path: str, key: str, root: Path, download: bool) -> Path:
    place = root / Path(path).expanduser()
    if place.is_dir():
        return place
    if place.is_file():
        raise ModelError(
            f"{key} {path} is a single file: so far kiroku trains on diffusers folders"
            " (diffusers' `from_single_file` and `save_pretrained` make one of it)"
        )
    if _is_hub_id(path):
        return _download(path, key) if download else _from_cache(path, key)
    raise ModelError(f"{key} {path} is missing: give a diffusers folder, or a Hub id (owner/name)")


def _is_hub_id(path: str) -> bool:
    parts = path.split("/")
    return len(parts) == 2 and all(parts) and parts[0].strip(".~") != "" and "\\" not in path


def _from_cache(name: str, key: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=True))
    except Exception:  # the Hub's own errors, which differ by version
        raise ModelError(f"{key} {name} is not downloaded yet") from None


def _download(name: str, key: str) -> Path:
    from huggingface_hub import snapshot_download

    say(f"{key} {name} is no folder here: it is taken from the Hugging Face Hub")
    try:
        folder = snapshot_download(name, allow_patterns=HUB_FILES, ignore_patterns=HUB_VARIANTS)
        if not _weight_files(Path(folder) / "unet"):
            folder = snapshot_download(name, allow_patterns=HUB_FILES)
        return Path(folder)
    except Exception as error:  # the Hub's own, its HTTP library's by version, the disk's
        raise ModelError(
            f"{key} {name} is no folder here, and the Hugging Face Hub did not give it"
            f" ({type(error).__name__}): check the name, the connection, and whether the model"
            " wants a login"
        ) from error


def _check_kind(folder: Path, path: str) -> None:
    if (folder / "text_encoder_2").is_dir():
        raise ModelError(
            f"model.path {path} is an SDXL model: so far kiroku trains SD1.5-shaped ones"
        )
    parts = ("unet", "vae", "text_encoder", "scheduler")
    lacks = [part for part in parts if not any((folder / part).glob("*config.json"))]
    if not (folder / "tokenizer").is_dir():
        lacks.append("tokenizer")
    if lacks:
        raise ModelError(
            f"model.path {path} is no diffusers model: it lacks {', '.join(sorted(lacks))}"
        )


def _weights(kind: Any, folder: Path, dtype: str) -> Any:
    import torch

    _quiet()
    options: dict[str, Any] = {dtype: torch.float32, "output_loading_info": True}
    if kind.__module__.startswith("diffusers"):
        options["low_cpu_mem_usage"] = False
    if not any(folder.glob("*model.safetensors*")) and any(folder.glob("*.fp16.safetensors")):
        options["variant"] = "fp16"
    loaded, report = _loading(kind, folder, **options)
    missing = [key for key in report["missing_keys"] if not key.endswith("position_ids")]
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of the weights that its config.json asks for,"
            f" {min(missing)} first: get the model again"
        )
    loaded.requires_grad_(False)
    return loaded.eval()


def _loading(kind: Any, folder: Path, **options: Any) -> Any:
    """Call from_pretrained; whatever it raises about the files becomes one sentence."""
    try:
        return kind.from_pretrained(str(folder), local_files_only=True, **options)
    except MemoryError:
        raise
    except Exception as error:  # the libraries raise anything here, SafetensorError to KeyError
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{folder} cannot be loaded: {first}") from error


def _weight_files(*folders: Path) -> list[Path]:
    """Return the files that are loaded: whole, in parts, or a half-precision variant."""
    found: list[Path] = []
    for folder in folders:
        kinds = ("*model.safetensors", "*model-*-of-*.safetensors", "*.fp16*.safetensors", "*.bin")
        files = (sorted(folder.glob(kind)) for kind in kinds)
        found.extend(next(filter(None, files), []))
    return found


def _quiet() -> None:
    """Silence the libraries' own progress bars: ours tell the progress."""
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
