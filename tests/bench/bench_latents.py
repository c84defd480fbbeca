"""How much the cache costs over the VAE alone: `encode` of JPEG files against preloaded tensors.

    python tests/bench/bench_latents.py --device cuda --images 256 --resolution 512

The VAE has Stable Diffusion's layout and random weights (--small: a few channels, for CPUs). Both
sides see the same buckets, batches and precision; the ratio is what decoding, scaling, checksums
and shards add.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from diffusers import AutoencoderKL
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from schemas.recipes.train import LatentsSection, ModelSection, TrainRecipe
from schemas.tables import MANIFEST
from train.latent_encoding import BATCH_PIXELS, posterior_means
from train.latents import LatentStore, encode, stored


def main() -> None:
    """Print seconds of both sides, their ratio, and the rate of reading back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--side", type=int, default=1600, help="long side of the JPEG files")
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    device = torch.device(args.device)
    vae = make_vae(args.small).to(device).eval()
    latents = LatentsSection(resolution=args.resolution, min=args.resolution // 2)
    recipe = TrainRecipe(model=ModelSection(path="model"), latents=latents)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        manifest = make_images(root, args.images, args.side)
        shapes = stored(manifest, root, recipe, "bench").placement
        buckets = np.stack([shapes.bucket_width, shapes.bucket_height], axis=1)
        bare(vae, buckets[:8], device)  # warms the device up
        alone = bare(vae, buckets, device)
        start = time.perf_counter()
        store = encode(manifest, root, recipe, vae, device, "bench")
        whole = time.perf_counter() - start
        assert store.encoded == args.images
        reading = read_back(store)
    print(f"bare VAE {alone:.2f} s, encode {whole:.2f} s, ratio {whole / alone:.3f}")
    print(f"{args.images / whole:.1f} images/s; read back one by one: {reading:,.0f} latents/s")


def make_vae(small: bool) -> AutoencoderKL:
    """Stable Diffusion's layout with random weights."""
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 64) if small else (128, 256, 512, 512),
        layers_per_block=1 if small else 2,
        norm_num_groups=8 if small else 32,
        latent_channels=4,
    )


def make_images(root: Path, count: int, side: int) -> pa.Table:
    """Write JPEG files of five aspects; return their manifest."""
    rows = []
    for number in range(count):
        aspect = (1.0, 0.75, 0.7, 1.4, 0.56)[number % 5]
        width, height = round(side * min(1, aspect)), round(side / max(1, aspect))
        noise = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        path = root / f"{number}.jpg"
        Image.fromarray(noise).resize((width, height)).save(path, quality=92)
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        row = {"md5": md5, "path": path.name, "width": width, "height": height, "set": "main"}
        row |= {"split": "train", "group": md5, "is_reg": False, "repeats": 1, "weight": 1.0}
        rows.append(row | {"caption": "", "tags": []})
    return MANIFEST.sorted(pa.Table.from_pylist(rows, schema=MANIFEST.schema))


def bare(vae: AutoencoderKL, buckets: np.ndarray, device: torch.device) -> float:
    """Seconds of the VAE alone over the same buckets in the same batches, from memory."""
    batches = []
    for width, height in np.unique(buckets, axis=0):
        count = int((buckets == [width, height]).all(axis=1).sum())
        most = max(1, BATCH_PIXELS // int(width * height))
        sizes = [most] * (count // most) + [count % most] * (count % most > 0)
        shapes = [(size, int(height), int(width), 3) for size in sizes]
        random = np.random.default_rng(0)
        batches += [random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    start = time.perf_counter()
    for batch in batches:
        posterior_means(vae, batch, device)
    return time.perf_counter() - start


def read_back(store: LatentStore) -> float:
    """Latents per second, each read alone."""
    rows = np.flatnonzero(store.buckets[:, 0])
    start = time.perf_counter()
    for row in rows:
        store.read(np.array([row]))
    return len(rows) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
