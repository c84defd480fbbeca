"""How much memory a merge takes: SD1.5 in fp16 at its real size, with a LoCon of rank 32.

    python tests/bench/bench_merge.py [--kind dora] [--rank 128] [--sdxl]

Writes a checkpoint of random numbers (2.0 GB; SDXL 6.8 GB) and the result beside it in a temporary
folder, and removes both. The peak of a process of its own is reported: resident memory, less what
it had after the imports.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

from real_models import sd15, sdxl
from single_file_layout import layout

from schemas.recipes.train import AdapterSection, ModelKind
from train.adapter_file import write_adapter
from train.adapters.adapter import attach_adapter
from train.blocks import ARCHITECTURES
from train.tensor_file import Entry, writing_tensors

ROOT = Path(__file__).parents[2]
MB = 1_000_000

MERGE = """
import sys, threading, time
from pathlib import Path
from train.merging.merge import merge
from train.merging.sources import Source
import diffusers.loaders.single_file_utils, schemas.progress

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = peak = resident()
def watch():
    global peak
    while True:
        peak = max(peak, resident())
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
start = time.perf_counter()
merge(Path(sys.argv[1]), [Source(Path(sys.argv[2]), 0.8)], Path(sys.argv[3]))
print(peak - before, time.perf_counter() - start)
"""


def main() -> None:
    """Print the peak, the time, and the limit that a merge has set itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", default="locon", choices=["lora", "locon", "dora"])
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--sdxl", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base, adapter, out = (Path(folder, f"{name}.safetensors") for name in ("b", "a", "o"))
        largest = write(base, adapter, "sdxl" if given.sdxl else "sd15", given.kind, given.rank)
        size = base.stat().st_size
        ran = subprocess.run(
            [sys.executable, "-c", MERGE, base, adapter, out],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        peak, seconds = map(float, ran.stdout.split())
        print(
            f"{given.kind} of rank {given.rank} ({adapter.stat().st_size / MB:.0f} MB) into"
            f" {size / MB:,.0f} MB: peak {peak / MB:.0f} MB above the imports, {seconds:.0f} s;"
            f" largest tensor {largest / MB:.0f} MB, 3 of them and 200 MB are"
            f" {3 * largest / MB + 200:.0f} MB"
        )


def write(base: Path, adapter: Path, kind: ModelKind, of_kind: str, rank: int) -> int:
    """Write a checkpoint and an adapter of random numbers; return the largest tensor's bytes."""
    with torch.device("meta"):
        unet, texts = sd15() if kind == "sd15" else sdxl()
    section: dict[str, Any] = {"kind": of_kind, "dim": rank, "alpha": rank / 2}
    if of_kind != "lora":
        section["conv_dim"] = rank
    chosen = AdapterSection.model_validate(section)
    made = attach_adapter(ARCHITECTURES[kind], unet, texts, chosen, seed=0).tensors()
    random = {n: torch.randn(t.shape) * 0.01 if t.dim() else t for n, t in made.items()}
    write_adapter(adapter, random, {}, "fp16")
    tensors = layout(kind, unet.state_dict(), *(text.state_dict() for text in texts))
    entries = [Entry(name, torch.float16, tuple(t.shape)) for name, t in tensors.items()]
    with writing_tensors(base, entries, {}) as put:
        for entry in entries:
            put(torch.randn(entry.shape, dtype=torch.float16) * 0.02)
    return max(entry.size for entry in entries)


if __name__ == "__main__":
    main()
