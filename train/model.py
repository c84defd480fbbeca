"""The model that is trained on: found on disk or on the Hub, checked, loaded part by part.

Parts are loaded when they are wanted: latents need the VAE only. Everything comes in fp32.
Finding a model loads nothing, not even torch, so that asking whether latents are fresh is quick.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import ModelError
from schemas.recipes.train import ModelKind, ModelSection
from train import hub
from train.blocks import ARCHITECTURES, Architecture
from train.diffusers_folder import (
    DiffusersFolder,
    DiffusersVae,
    loading,
    open_folder,
    open_vae_folder,
)
from train.kinds import SCALING, SPOKEN
from train.single_file import SingleFile, SingleFileVae, open_file, open_vae_file

Parts = DiffusersFolder | SingleFile
Vae = DiffusersVae | SingleFileVae


@dataclass(frozen=True)
class Model:
    """A checked model, and the VAE that goes with it. Nothing is loaded."""

    section: ModelSection
    parts: Parts
    vae_source: Vae
    tokenizer_folder: Path | None  # None: CLIP's own, from the Hub

    @property
    def kind(self) -> ModelKind:
        return self.parts.kind

    @property
    def architecture(self) -> Architecture:
        """What its blocks and modules are called."""
        return ARCHITECTURES[self.kind]

    def tokenizer(self) -> Any:
        """Return the CLIPTokenizer: SDXL's two encoders share one."""
        from transformers import CLIPTokenizer

        folder = self.tokenizer_folder or hub.clip_tokenizer(self.section.path)
        return loading(CLIPTokenizer, folder)

    def text_encoders(self, *, weights: bool = True) -> tuple[Any, ...]:
        """Return SD1.5's CLIPTextModel, or SDXL's with its CLIPTextModelWithProjection.

        fp32, frozen, on the CPU; without weights on the meta device, of shapes that are checked.
        """
        return self.parts.text_encoders(weights=weights)

    def unet(self, *, weights: bool = True) -> Any:
        """Return the UNet2DConditionModel: fp32, frozen, on the CPU; weights: as above."""
        return self.parts.unet(weights=weights)

    def vae(self) -> Any:
        """Return the AutoencoderKL: fp32, frozen, on the CPU.

        Raises ModelError where its weights are not finite: nor would any latent be.
        """
        vae = self.vae_source.load()
        if not all(bool(weight.isfinite().all()) for weight in vae.parameters()):
            key = "vae" if self.section.vae else "path"
            raise ModelError(
                f"model.{key} {self.section.vae or self.section.path} holds a VAE whose weights are"
                " not finite: get it again, or name another in model.vae"
            )
        return vae

    def scheduler(self) -> Any:
        """Return the noise schedule that the recipe asks for, as diffusers' DDPMScheduler.

        With zero terminal SNR its betas are rescaled first (Lin et al. 2023, arXiv:2305.08891), so
        that whatever is computed from it follows.
        """
        from diffusers import DDPMScheduler

        kind = {"epsilon": "epsilon", "v": "v_prediction"}[self.section.prediction]
        return DDPMScheduler.from_config(
            self.parts.scheduler().config,
            prediction_type=kind,
            rescale_betas_zero_snr=self.section.zero_terminal_snr,
        )

    def sha256(self) -> str:
        """Return the hash over the bytes of what is trained on."""
        return self.parts.sha256()

    def vae_sha256(self) -> str:
        """Return the hash over the bytes of the VAE's weights."""
        return self.vae_source.sha256()


def find_model(section: ModelSection, root: Path, *, download: bool = True) -> Model:
    """Return where the model of a recipe lies; relative paths start at `root`, its folder.

    A Hub id is downloaded where it is not in the cache, if `download` allows it. Raises ModelError
    when it is missing, or another kind of model than is trained here or than the recipe says.
    """
    place = _place(section.path, "model.path", root, download)
    parts: Parts = (open_file if place.is_file() else open_folder)(place, section.path)
    _check_section(section, parts)
    vae = _vae(section, parts, root, download)
    return Model(section, parts, vae, _tokenizer_folder(section, root) or parts.tokenizer)


def _place(path: str, key: str, root: Path, download: bool) -> Path:
    place = root / Path(path).expanduser()
    if place.exists():
        return place
    if hub.is_hub_id(path):
        return hub.download(path, key) if download else hub.cached(path, key)
    raise ModelError(
        f"{key} {path} is missing: give a .safetensors or .ckpt file, a diffusers folder, or a Hub"
        " id (owner/name)"
    )


def _check_section(section: ModelSection, parts: Parts) -> None:
    """Raise ModelError where the model says otherwise of itself than the recipe does."""
    if section.kind and section.kind != parts.kind:
        raise ModelError(
            f'model.kind is "{section.kind}", but model.path {section.path} is an'
            f" {SPOKEN[parts.kind]} model: correct model.kind, or leave it empty"
        )
    if parts.predicts_v() and section.prediction != "v":
        raise ModelError(
            f"model.path {section.path} says that it predicts v: set model.prediction ="
            ' "v", or it learns nothing but noise'
        )
    if parts.ends_in_noise() and not section.zero_terminal_snr:
        raise ModelError(
            f"model.path {section.path} says that it was trained with zero terminal SNR: set"
            " model.zero_terminal_snr = true"
        )


def _vae(section: ModelSection, parts: Parts, root: Path, download: bool) -> Vae:
    """Return the VAE that the recipe names, or else the model's own."""
    if not section.vae:
        if isinstance(parts, SingleFile) and not parts.vae.there:
            raise ModelError(
                f"model.path {section.path} holds no VAE: name one in model.vae, a file or a folder"
            )
        return parts.vae
    place = _place(section.vae, "model.vae", root, download)
    if place.is_file():
        return open_vae_file(place, section.vae, parts.kind)
    vae = open_vae_folder(place, section.vae)
    _check_scaling(section, parts.kind, vae)
    return vae


def _check_scaling(section: ModelSection, kind: ModelKind, vae: DiffusersVae) -> None:
    factor = vae.settings().get("scaling_factor", SCALING["sd15"])
    if abs(factor - SCALING[kind]) > 1e-6:
        raise ModelError(
            f"model.vae {section.vae} is of another kind than model.path {section.path}: it scales"
            f" latents by {factor}, an {SPOKEN[kind]} model needs {SCALING[kind]}"
        )


def _tokenizer_folder(section: ModelSection, root: Path) -> Path | None:
    if not section.tokenizer:
        return None
    folder = root / Path(section.tokenizer).expanduser()
    if (folder / "tokenizer").is_dir():
        folder = folder / "tokenizer"
    lacks = [name for name in hub.TOKENIZER_FILES if not (folder / name).is_file()]
    if lacks and not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"model.tokenizer {section.tokenizer} is no CLIP tokenizer: it lacks"
            f" {' and '.join(lacks)}"
        )
    return folder
