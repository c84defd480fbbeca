"""`train sample`: its words. Imports what it runs only when it runs."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat, NonNegativeInt, PositiveInt

from train.cli.words import Device, Words


def sample(
    model: str,
    /,
    *,
    adapter: Words = (),
    prompt: Words = (),
    prompts: Annotated[Path | None, Parameter(show_default=False)] = None,
    negative: str = "",
    seed: Annotated[tuple[NonNegativeInt, ...], Parameter(negative=())] = (1, 2, 3),
    strength: Annotated[tuple[float, ...], Parameter(negative=())] = (1.0,),
    size: Annotated[tuple[PositiveInt, PositiveInt], Parameter(negative=())] = (512, 512),
    steps: PositiveInt = 25,
    guidance: NonNegativeFloat = 7.0,
    sampler: Literal["ddim", "euler", "euler a", "dpm++ 2m", "dpm++ 2m karras", "unipc"] = "ddim",
    clip_skip: PositiveInt = 2,
    vae: Annotated[str, Parameter(show_default=False)] = "",
    tokenizer: Annotated[str, Parameter(show_default=False)] = "",
    prediction: Literal["epsilon", "v"] = "epsilon",
    precision: Literal["fp32", "fp16", "bf16"] = "fp32",
    out: Path = Path("sample"),
    device: Device = "auto",
) -> None:
    """Draw with a model and adapters: every prompt at every seed and strength, and a grid of them.

    train sample base.safetensors --adapter azusa.safetensors:0.8 --prompt "1girl, (smile:1.2)"

    Parameters
    ----------
    model
        A .safetensors or .ckpt file, a diffusers folder, or a Hub id; not only the one that an
        adapter was trained on.
    adapter
        FILE, FILE:strength or FILE:strength:blocks, as for `train merge`. May be given several
        times.
    prompt
        What to draw; (tag:1.2) counts more. May be given several times.
    prompts
        A file with a prompt a line; lines that begin with # are none.
    negative
        What to stay away from.
    seed
        One picture of each prompt per seed: --seed 1 --seed 2.
    strength
        A column of the grid each: --strength 0 --strength 0.5 --strength 1. Multiplies the
        strengths of the adapters.
    size
        Width and height in pixels, multiples of 8.
    steps
        Denoising steps.
    guidance
        Classifier-free guidance; 1 is none.
    sampler
        How the noise is taken away.
    clip_skip
        The text encoder's layer counted from its end; SDXL always takes 2.
    vae
        Another VAE (a file or a diffusers folder).
    tokenizer
        A folder with CLIP's vocab.json and merges.txt, for a checkpoint that has none with it.
    prediction
        What the model predicts.
    precision
        Of computing.
    out
        The folder of the pictures; their grid lies beside it.
    device
        Where to draw; auto takes a CUDA device where there is one.
    """
    from schemas.recipes.train import ModelSection, SampleSection
    from train.merging.sources import parse_source
    from train.sampling import Asked, read_prompts, sample

    told = [*prompt, *(read_prompts(prompts) if prompts else [])]
    section = SampleSection(
        prompts=tuple(told), negative=negative, seeds=seed, size=size, steps=steps,
        guidance=guidance, sampler=sampler,
    )  # fmt: skip
    base = ModelSection(
        path=model, vae=vae, clip_skip=clip_skip, tokenizer=tokenizer, prediction=prediction
    )
    adapters = [parse_source(text) for text in adapter]
    print(sample(Asked(base, adapters, section, strength, precision, out), device))
