"""Pictures drawn at fixed seeds: denoising, decoding, and the labelled grid of them all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from schemas.files import writing
from schemas.recipes.train import ModelSection, SampleSection
from train.text import Tokens, encode

LABEL = 14  # pixels, height of the grid's letters
PAPER, INK = (255, 255, 255), (20, 20, 20)


@dataclass(frozen=True)
class Painter:
    """The parts that draw. The U-Net and the text encoder lie on `device`, the VAE comes there."""

    unet: Any
    text_encoder: Any
    tokens: Tokens
    vae: Any
    scheduler: Any  # the noise schedule as trained, with its prediction type
    clip_skip: int
    device: torch.device

    @torch.no_grad()
    def draw(
        self,
        prompt: str,
        negative: str,
        seed: int,
        size: tuple[int, int],
        steps: int,
        guidance: float,
    ) -> Image.Image:
        """Return one picture: DDIM (Song et al. 2020, arXiv:2010.02502), without added noise.

        The starting noise comes from the CPU, so that a seed means the same on every device.
        Guidance is classifier-free (Ho and Salimans 2022, arXiv:2207.12598); at 1 there is none.
        """
        scheduler = self._scheduler(steps)
        captions = [self.tokens.prompt(text) for text in (prompt, negative)]
        ids = self.tokens.stacked(captions if guidance != 1 else captions[:1]).to(self.device)
        context = encode(self.text_encoder, ids, self.clip_skip)
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        shape = (1, self.vae.config.latent_channels, size[1] // factor, size[0] // factor)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(shape, generator=generator).to(self.device) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            inputs = scheduler.scale_model_input(x, t).expand(len(ids), -1, -1, -1)
            predicted = self.unet(inputs, t, context).sample.float()
            if guidance != 1:
                asked, plain = predicted.chunk(2)
                predicted = plain + guidance * (asked - plain)
            x = scheduler.step(predicted, t, x).prev_sample
        return self._decode(x)

    def _scheduler(self, steps: int) -> Any:
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_config(
            self.scheduler.config, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        )
        scheduler.set_timesteps(min(steps, scheduler.config.num_train_timesteps))
        return scheduler

    def _decode(self, x: torch.Tensor) -> Image.Image:
        home = next(self.vae.parameters()).device
        vae = self.vae.to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            pixels = vae.decode(x.float() / vae.config.scaling_factor).sample[0]
        self.vae.to(home)
        scaled = ((pixels.float().nan_to_num() / 2 + 0.5).clamp(0, 1) * 255).round()
        return Image.fromarray(scaled.byte().permute(1, 2, 0).cpu().numpy())


def draw_grid(
    painter: Painter,
    section: SampleSection,
    model: ModelSection,
    folder: Path,
    *,
    title: str,
    drawn: Callable[[], object] = lambda: None,
) -> Path:
    """Draw every prompt at every seed into `folder`, and the grid beside it; return its path.

    A row is a prompt, a column a seed. Each picture carries its settings as the common user
    interfaces write them. `drawn` is called after each picture.
    """
    rows: list[list[Image.Image]] = []
    for number, prompt in enumerate(section.prompts, start=1):
        row = []
        for seed in section.seeds:
            picture = painter.draw(
                prompt, section.negative, seed, section.size, section.steps, section.guidance
            )
            text = parameters(prompt, seed, section, model)
            _write_png(folder / f"{number:02}-seed{seed}.png", picture, text)
            row.append(picture)
            drawn()
        rows.append(row)
    grid = folder.with_name(f"{folder.name}.png")
    columns = [f"seed {seed}" for seed in section.seeds]
    _write_png(grid, lay_grid(rows, section.prompts, columns, title), title)
    return grid


def parameters(prompt: str, seed: int, section: SampleSection, model: ModelSection) -> str:
    """Return a picture's settings in the text form that the common user interfaces read."""
    settings = {
        "Steps": section.steps,
        "Sampler": "DDIM",
        "CFG scale": section.guidance,
        "Seed": seed,
        "Size": f"{section.size[0]}x{section.size[1]}",
        "Model": Path(model.path).stem,
        "Clip skip": model.clip_skip,
    }
    lines = [prompt]
    if section.negative:
        lines.append(f"Negative prompt: {section.negative}")
    return "\n".join([*lines, ", ".join(f"{key}: {value}" for key, value in settings.items())])


def lay_grid(
    rows: Sequence[Sequence[Image.Image]], labels: Sequence[str], columns: Sequence[str], title: str
) -> Image.Image:
    """Return one picture of all, each row under its label, all under the title and columns."""
    font = ImageFont.load_default(LABEL)
    cell_width, cell_height = rows[0][0].size
    gap, line = LABEL // 2, LABEL * 3 // 2
    width = max(gap + len(columns) * (cell_width + gap), 20 * LABEL)
    wrapped = [_wrap(label, width - 2 * gap, font) for label in labels]
    height = gap + 2 * line + sum(len(lines) * line + cell_height + gap for lines in wrapped)
    grid = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(grid)
    pen.text((gap, gap), title, INK, font)
    for place, column in enumerate(columns):
        pen.text((gap + place * (cell_width + gap), gap + line), column, INK, font)
    top = gap + 2 * line
    for row, lines in zip(rows, wrapped, strict=True):
        for text in lines:
            pen.text((gap, top), text, INK, font)
            top += line
        for place, picture in enumerate(row):
            grid.paste(picture, (gap + place * (cell_width + gap), top))
        top += cell_height + gap
    return grid


def _wrap(text: str, width: int, font: Any) -> list[str]:
    """Break a prompt at its spaces into lines that fit `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _write_png(path: Path, picture: Image.Image, text: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", text) if not text.isascii() else info.add_text("parameters", text)
    with writing(path) as aside:
        picture.save(aside, format="PNG", pnginfo=info)
