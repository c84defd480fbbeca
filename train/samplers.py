"""Samplers by the names that user interfaces give them, from diffusers' schedulers."""

from collections.abc import Mapping
from typing import Any

from schemas.recipes.train import Sampler

NOISY = ("euler a",)  # add noise on the way
# diffusers' class, and what sets it up as the user interfaces do
KNOWN: Mapping[Sampler, tuple[str, Mapping[str, Any]]] = {
    # DDIM (Song et al. 2020, arXiv:2010.02502), without added noise
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    # Karras et al. 2022, arXiv:2206.00364, and k-diffusion's ancestral form of it
    "euler": ("EulerDiscreteScheduler", {}),
    "euler a": ("EulerAncestralDiscreteScheduler", {}),
    # Lu et al. 2022, arXiv:2211.01095
    "dpm++ 2m": ("DPMSolverMultistepScheduler", {}),
    "dpm++ 2m karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    # Zhao et al. 2023, arXiv:2302.04867
    "unipc": ("UniPCMultistepScheduler", {}),
}
TOLD: Mapping[Sampler, Mapping[str, str]] = {
    "ddim": {"Sampler": "DDIM"},
    "euler": {"Sampler": "Euler"},
    "euler a": {"Sampler": "Euler a"},
    "dpm++ 2m": {"Sampler": "DPM++ 2M"},
    "dpm++ 2m karras": {"Sampler": "DPM++ 2M", "Schedule type": "Karras"},
    "unipc": {"Sampler": "UniPC"},
}


def scheduler(sampler: Sampler, trained: Any, steps: int) -> Any:
    """Return diffusers' scheduler with its timesteps set.

    trained: the noise schedule as trained, with its prediction type.
    """
    import diffusers

    name, options = KNOWN[sampler]
    spacing: dict[str, Any] = {"steps_offset": 1}
    if trained.config.rescale_betas_zero_snr:
        spacing = {"timestep_spacing": "trailing"}  # starts where all is noise
    found = getattr(diffusers, name).from_config(trained.config, **{**options, **spacing})
    found.set_timesteps(min(steps, found.config.num_train_timesteps))
    return found


def as_told(sampler: Sampler) -> Mapping[str, str]:
    """Return what a picture's settings say of the sampler."""
    return TOLD[sampler]
