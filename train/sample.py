"""Pictures drawn at fixed seeds: denoising, decoding, and the labelled grid of them all."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from schemas.errors import RecipeError
from schemas.files import writing
from schemas.recipes.train import ModelSection, Sampler, SampleSection
from train import samplers
from train.conditioning import predict, whole_sizes
from train.text import Encoded, Tokens, encode, weighed

LABEL = 14  # pixels, height of the grid's letters
PAPER, INK = (255, 255, 255), (20, 20, 20)
MOST_AT_ONCE = 8  # pictures in a batch
PIXELS_AT_ONCE = 512 * 512  # of a batch: no more memory than one picture of SD1.5's own size


@dataclass(frozen=True)
class Painter:
    """The parts that draw. The U-Net lies on `device`, text encoders and VAE come there at need."""

    unet: Any
    text_encoders: Sequence[Any]
    tokens: Tokens
    vae: Any
    scheduler: Any  # the noise schedule as trained, with its prediction type
    clip_skip: int
    device: torch.device
    sampler: Sampler = "ddim"

    def draw(
        self,
        prompt: str,
        negative: str,
        seed: int,
        size: tuple[int, int],
        steps: int,
        guidance: float,
    ) -> Image.Image:
        """Return one picture: a batch of one."""
        return self.draw_batch([prompt], negative, [seed], size, steps, guidance)[0]

    @torch.no_grad()
    def draw_batch(
        self,
        prompts: Sequence[str],
        negative: str,
        seeds: Sequence[int],
        size: tuple[int, int],
        steps: int,
        guidance: float,
    ) -> list[Image.Image]:
        """Return a picture per prompt and its seed, the U-Net computing all of them at once.

        All noise comes from the CPU, by each picture's own seed, so that a seed means the same on
        every device and, but for rounding, in every batch. Guidance is classifier-free (Ho and
        Salimans 2022, arXiv:2207.12598); at 1 there is none.
        """
        plain = self.tokens.prompt(negative) if guidance != 1 else None
        captions = {text: self.tokens.prompt(text) for text in dict.fromkeys(prompts)}
        # Empty chunks beside a longer prompt would change a picture: each length by itself.
        lengths = [
            max(len(captions[text].ids), 0 if plain is None else len(plain.ids)) for text in prompts
        ]
        pictures: dict[int, Image.Image] = {}
        for length in sorted(set(lengths)):
            places = [place for place, found in enumerate(lengths) if found == length]
            texts = list(dict.fromkeys(prompts[place] for place in places))
            wanted = [captions[text] for text in texts] + ([] if plain is None else [plain])
            ids = self.tokens.stacked(wanted).to(self.device)
            encoded = self._encode(ids)
            if (weights := self.tokens.weights(wanted)) is not None:
                encoded = weighed(encoded, weights)
            rows = [texts.index(prompts[place]) for place in places]
            rows += [] if plain is None else [len(texts)] * len(places)
            random = [torch.Generator().manual_seed(seeds[place]) for place in places]
            noise = self._noise(random, size)
            sizes = whole_sizes(len(rows), size).to(self.device)
            latents = self._denoised(noise, encoded.take(rows), sizes, steps, guidance, random)
            decoded = self._decode(latents)
            pictures.update(zip(places, decoded, strict=True))
        return [pictures[place] for place in range(len(prompts))]

    def _encode(self, ids: torch.Tensor) -> Encoded:
        """Return what the U-Net is told; the encoders go back to where they lay."""
        homes = [next(encoder.parameters()).device for encoder in self.text_encoders]
        for encoder in self.text_encoders:
            encoder.to(self.device)
        encoded = encode(self.text_encoders, ids, self.clip_skip)
        for encoder, home in zip(self.text_encoders, homes, strict=True):
            encoder.to(home)
        return encoded

    def _noise(self, random: Sequence[torch.Generator], size: tuple[int, int]) -> torch.Tensor:
        """Return [n, channels, height / factor, width / factor], each row by its own generator."""
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        shape = (self.vae.config.latent_channels, size[1] // factor, size[0] // factor)
        rows = [torch.randn(shape, generator=one) for one in random]
        return torch.stack(rows).to(self.device)

    def _denoised(
        self,
        noise: torch.Tensor,
        encoded: Encoded,
        sizes: torch.Tensor,
        steps: int,
        guidance: float,
        random: list[torch.Generator],
    ) -> torch.Tensor:
        """Return the latents.

        encoded, sizes: a row per picture, then with guidance as many of the negative. random: of
        each picture, for samplers that add noise on the way.
        """
        scheduler = samplers.scheduler(self.sampler, self.scheduler, steps)
        more: dict[str, Any] = {"generator": random} if self.sampler in samplers.NOISY else {}
        copies = len(sizes) // len(noise)
        x: torch.Tensor = noise * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            inputs = scheduler.scale_model_input(x, t).repeat(copies, 1, 1, 1)
            predicted = predict(self.unet, inputs, t, encoded, sizes).float()
            if copies == 2:
                asked, plain = predicted.chunk(2)
                predicted = plain + guidance * (asked - plain)
            x = scheduler.step(predicted, t, x, **more).prev_sample
        return x

    def _decode(self, x: torch.Tensor) -> list[Image.Image]:
        """Return the pictures, decoded one by one: a VAE's memory grows with the batch."""
        home = next(self.vae.parameters()).device
        vae = self.vae.to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            scaled = x.float() / vae.config.scaling_factor
            pixels = torch.cat([vae.decode(row[None]).sample for row in scaled])
        self.vae.to(home)
        levels = ((pixels.float().nan_to_num() / 2 + 0.5).clamp(0, 1) * 255).round().byte()
        return [Image.fromarray(one) for one in levels.permute(0, 2, 3, 1).cpu().numpy()]


def at_once(size: tuple[int, int]) -> int:
    """Return how many pictures of this size to draw in a batch."""
    return max(1, min(MOST_AT_ONCE, PIXELS_AT_ONCE // (size[0] * size[1])))


def draw_all(
    painter: Painter, section: SampleSection, first: int = 0
) -> Iterator[tuple[str, int, Image.Image]]:
    """Yield every prompt at every seed with its picture, as many computed at once as fit.

    first: how many to leave out, whole batches, so that the others are drawn as ever.
    """
    cells = list(product(section.prompts, section.seeds))
    for start in range(first, len(cells), step := at_once(section.size)):
        prompts, seeds = zip(*cells[start : start + step], strict=True)
        batch = painter.draw_batch(
            *(prompts, section.negative, seeds),
            *(section.size, section.steps, section.guidance),
        )
        yield from zip(prompts, seeds, batch, strict=True)


def picture_files(folder: Path, section: SampleSection, end: str = "") -> list[Path]:
    """Return where the pictures lie that `draw_all` draws, in its order; the first prompt has 01.

    end: of the names, before the ending.
    """
    return [
        folder / f"{number:02}-seed{seed}{end}.png"
        for number in range(1, len(section.prompts) + 1)
        for seed in section.seeds
    ]


def check_size(size: tuple[int, int], key: str) -> None:
    """Raise RecipeError where no picture has this width and height, which `key` gives."""
    width, height = size
    if width < 8 or height < 8 or width % 8 or height % 8:
        raise RecipeError(f"{key} is [{width}, {height}]: both must be multiples of 8")


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
    pictures: list[Image.Image] = []
    files = picture_files(folder, section)
    for file, (prompt, seed, picture) in zip(files, draw_all(painter, section), strict=True):
        write_png(file, picture, parameters(prompt, seed, section, model))
        drawn()
        pictures.append(picture)
    wide = len(section.seeds)
    rows = [pictures[start : start + wide] for start in range(0, len(pictures), wide)]
    grid = folder.with_name(f"{folder.name}.png")
    columns = [f"seed {seed}" for seed in section.seeds]
    write_png(grid, lay_grid(rows, section.prompts, columns, title), title)
    return grid


def parameters(
    prompt: str, seed: int, section: SampleSection, model: ModelSection, adapters: str = ""
) -> str:
    """Return a picture's settings in the text form that the common user interfaces read.

    adapters: those in use, as they write them: "<lora:azusa:0.8>".
    """
    settings = {
        "Steps": section.steps,
        **samplers.as_told(section.sampler),
        "CFG scale": section.guidance,
        "Seed": seed,
        "Size": f"{section.size[0]}x{section.size[1]}",
        "Model": Path(model.path).stem,
        "Clip skip": model.clip_skip,
    }
    lines = [f"{prompt} {adapters}".rstrip()]
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


def write_png(path: Path, picture: Image.Image, text: str) -> None:
    """Write a picture, whole or not at all, with `text` as the parameters it was drawn by."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", text) if not text.isascii() else info.add_text("parameters", text)
    with writing(path) as aside:
        picture.save(aside, format="PNG", pnginfo=info)
