"""Trains the demo's base model on drawings made for it, and writes it as diffusers lays models out.

    python -m prep.demo.train_model --out DIR [--work DIR] [--seed N] [--drawings N]
                                    [--vae-steps N] [--text-steps N] [--unet-steps N]
                                    [--batches N] [--device auto|cpu|cuda]

First the autoencoder, then the text encoder by itself, then the U-Net on the latents of the one and
the states of the other. Weights are stored in half precision. Killed, it goes on from the
checkpoint in `work`; the same seed, numbers and threads give the same weights. What has never been
drawn for it: `prep.demo.held_out`.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from prep.demo.drawings import drawn
from prep.demo.held_out import DRAWINGS, portrait
from prep.demo.model import SCALE, SIDE, Networks, new_networks, save_networks
from prep.demo.portrait import Portrait
from prep.demo.schedule import Curve
from prep.demo.train_text import train_text
from prep.demo.train_unet import Drawings, train_unet
from prep.demo.train_vae import encoded, psnr, train_vae
from schemas import progress
from schemas.errors import UsageError
from schemas.files import write_json, write_text
from schemas.tags import rendered

VAE_STEPS, TEXT_STEPS, UNET_STEPS = 7_000, 400, 3_400
VAE_BATCH, UNET_BATCH = 16, 32
VAE_DRAWINGS = 12_000  # that the autoencoder learns from
# Shapes of the drawings (width, height), and the share of each: portraits stand more than they lie.
SHAPES = (((SIDE, SIDE), 0.72), ((96, 160), 0.18), ((160, 96), 0.10))


@dataclass(frozen=True)
class Plan:
    """How much is drawn and trained."""

    seed: int = 0
    drawings: int = DRAWINGS
    vae_steps: int = VAE_STEPS
    text_steps: int = TEXT_STEPS
    unet_steps: int = UNET_STEPS
    batches: int = 1  # how many times the usual batch; more for a graphics card
    unseen: int = 500  # drawings that reconstructions are measured on


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m prep.demo.train_model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--work", type=Path, help="folder for checkpoints; OUT/work if left out")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--drawings", type=int, default=Plan.drawings)
    parser.add_argument("--vae-steps", type=int, default=Plan.vae_steps)
    parser.add_argument("--text-steps", type=int, default=Plan.text_steps)
    parser.add_argument("--unet-steps", type=int, default=Plan.unet_steps)
    parser.add_argument("--batches", type=int, default=Plan.batches)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    given = parser.parse_args()
    progress.show()
    plan = Plan(**{name: value for name, value in vars(given).items() if name in vars(Plan())})
    cuda = given.device != "cpu" and (given.device == "cuda" or torch.cuda.is_available())
    work = given.work or given.out / "work"
    train_model(plan, given.out, work, "cuda" if cuda else "cpu")


def train_model(plan: Plan, out: Path, work: Path, device: str = "cpu") -> None:
    """Train by `plan`, with checkpoints in `work`; write the model and its curves to `out`."""
    from transformers import CLIPTokenizer

    _check_same(plan, work)
    networks = new_networks(out, plan.seed)
    for network in vars(networks).values():
        torch.nn.Module.to(network, device)
    vae_curve = _autoencoder(networks, plan, work)
    clear = psnr(networks.vae, drawn(portrait, plan.seed + 1, range(plan.unseen), SIDE, SIDE))
    progress.say(f"reconstructions of {plan.unseen} unseen drawings: {clear:.2f} dB PSNR")
    drawings = _latents(networks, plan, work)
    tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")
    captions = [tags for group in drawings for tags in group.tags]
    text_curve = train_text(
        networks.text_encoder, tokenizer, captions, plan.text_steps, plan.seed, work
    )
    unet_curve = train_unet(
        *(networks, tokenizer, drawings, plan.unet_steps, UNET_BATCH * plan.batches),
        *(plan.seed, work),
    )
    for network in vars(networks).values():
        torch.nn.Module.to(network, "cpu", torch.float16)
    save_networks(out, networks)
    curves = {"vae": vae_curve, "text": text_curve, "unet": unet_curve}
    write_json(
        out / "training.json",
        {
            "plan": vars(plan),
            "psnr": round(clear, 2),
            "seconds": {name: round(curve.seconds) for name, curve in curves.items()},
            "loss": {name: curve.points for name, curve in curves.items()},
        },
    )


def _check_same(plan: Plan, work: Path) -> None:
    """Checkpoints of another plan are not gone on from."""
    path, now = work / "plan.json", json.dumps(vars(plan))
    if path.is_file() and path.read_text(encoding="utf-8") != now:
        raise UsageError(
            f"{work} holds checkpoints of another seed or other numbers "
            f"({path.read_text(encoding='utf-8')}): name another folder with --work."
        )
    write_text(path, now)


def _autoencoder(networks: Networks, plan: Plan, work: Path) -> Curve:
    """Train the VAE, then move and scale its latents: mean 0, deviation 1 / SCALE each."""
    rows = range(min(VAE_DRAWINGS, plan.drawings))
    pixels = drawn(portrait, plan.seed, rows, SIDE, SIDE)
    curve = train_vae(
        networks.vae, pixels, plan.vae_steps, VAE_BATCH * plan.batches, plan.seed, work
    )
    latents = encoded(networks.vae, pixels[:1000]).to(networks.vae.device)
    center_latents(networks.vae, latents.mean((0, 2, 3)), latents.std((0, 2, 3)) * SCALE)
    return curve


@torch.no_grad()
def center_latents(vae: torch.nn.Module, mean: Tensor, unit: Tensor) -> None:
    """Make z into (z - mean) / unit, [4] each, in the layers next to the latents.

    What the autoencoder does is unchanged. SD1.5's latents have one scale for all channels; so
    have these, and no channel counts for more than another.
    """
    reading, giving = vae.quant_conv, vae.post_quant_conv
    assert isinstance(reading, torch.nn.Conv2d)
    assert isinstance(giving, torch.nn.Conv2d)
    assert reading.bias is not None
    assert giving.bias is not None
    giving.bias += giving.weight[:, :, 0, 0] @ mean
    giving.weight *= unit.view(1, -1, 1, 1)
    reading.bias[: len(mean)] -= mean
    reading.bias[: len(mean)] /= unit
    reading.weight[: len(mean)] /= unit.view(-1, 1, 1, 1)
    reading.bias[len(mean) :] -= 2 * unit.log()  # of the variances' logarithms


def _latents(networks: Networks, plan: Plan, work: Path) -> list[Drawings]:
    """The latents and tags of all drawings, by shape; encoded once, then read from `work`."""
    found, start = [], 0
    for (width, height), share in SHAPES:
        rows = range(start, start + round(plan.drawings * share))
        start = rows.stop
        path = work / f"latents-{width}x{height}.pt"
        if not path.is_file():
            latents = encoded(networks.vae, drawn(portrait, plan.seed, rows, width, height)) * SCALE
            torch.save(latents, path)
        tags = [spelt(portrait(plan.seed, row)) for row in rows]
        found.append(Drawings(torch.load(path, weights_only=True), tags))
    return found


def spelt(drawn_portrait: Portrait) -> tuple[str, ...]:
    """All that a caption may say of a portrait: its tags, who it is, and whose manner."""
    names = (*drawn_portrait.tags(), *drawn_portrait.character_tags, drawn_portrait.artist_tag)
    copyright_tag = drawn_portrait.copyright_tag
    return tuple(rendered(name, escape=False) for name in (*names, *filter(None, [copyright_tag])))


if __name__ == "__main__":
    main()
