"""What frozen text encoders make of captions that do not vary, kept in `texts/<key>/`.

The key of the folder is the model (its bytes, and what is merged into it) with clip_skip and the
precision of computing; in it an entry is found by the 77 tokens of a chunk. Both name all that
shapes an encoding, so that none is stale: another caption, tokenizer or model asks for others.
Files hold a few entries each and are mapped, so that a large set costs room on the disk, not
memory.
"""

import contextlib
import re
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from schemas.errors import DataError
from schemas.files import fingerprint, write_bytes
from schemas.progress import say, task
from schemas.recipes.train import CaptionSection, TrainRecipe
from train.data import Data
from train.precision import autocast
from train.text import Encoded, Tokens, encode

TEXTS = "texts"  # folder of the dataset
FORMAT = 1
FILE_ROWS = 64  # of a full file; also what a kill can lose
BATCH = 8  # chunks that are encoded at once


@dataclass(frozen=True)
class TextCache:
    """Encodings by their tokens, mapped from the files of a folder."""

    folder: Path
    encoded: int  # chunks that went through the encoders to make this cache
    _places: Mapping[bytes, tuple["_File", int]] = field(repr=False)

    def read(self, ids: torch.Tensor) -> Encoded:
        """Return what `encode` does of captions of ids [n, chunks, 77], on the CPU.

        Raises DataError when the bytes of an entry are damaged.
        """
        n, chunks, length = ids.shape
        held = [self._places[row.tobytes()] for row in ids.numpy().reshape(-1, length)]
        found = [file.read(row) for file, row in held]
        context = torch.stack([entry.context for entry in found]).reshape(n, chunks * length, -1)
        summaries = [entry.pooled for entry in found[::chunks] if entry.pooled is not None]
        return Encoded(context, torch.stack(summaries) if summaries else None)


def key_of(recipe: TrainRecipe, model_sha256: str) -> str:
    """Name what encodes: the folder that holds its encodings."""
    shaped_by = (recipe.model.clip_skip, recipe.model.storage, recipe.steps.precision)
    return fingerprint("texts", FORMAT, model_sha256, *shaped_by)


def varies(caption: CaptionSection, data: Data) -> bool:
    """Whether an image's caption is not the same at every exposure. No caption at all is one more.

    Shuffling varies nothing where each caption has at most one tag to shuffle.
    """
    if any(caption.drop_tag.values()):
        return True
    tags = data.table.column("tags").combine_chunks()
    rows = pc.list_parent_indices(tags).to_numpy()
    is_flex = pc.equal(pc.struct_field(pc.list_flatten(tags), "part"), "flex").to_numpy(False)
    return caption.shuffle and int(np.bincount(rows[is_flex], minlength=1).max()) > 1


def cached(
    root: Path,
    recipe: TrainRecipe,
    data: Data,
    tokens: Tokens,
    text_encoders: Sequence[Any],
    device: torch.device,
    key: str,
) -> TextCache:
    """Encode what the cache lacks of the captions of `data`; return the encodings of all of them.

    The encoders lie on `device`, ready to compute. Raises DiskError when the disk is full.
    """
    folder = root / TEXTS / key
    captions = [tokens.caption(())]  # also what shorter captions are filled up with
    limit = recipe.caption.tokens
    captions += [data.caption(tokens, row, limit) for row in range(data.table.num_rows)]
    wanted = {row.tobytes(): row for caption in captions for row in caption.ids}
    places = _opened(folder)
    missing = [row for name, row in wanted.items() if name not in places]
    if missing:
        with task("texts", len(missing), "chunks") as advance:
            for start in range(0, len(missing), FILE_ROWS):
                rows = np.stack(missing[start : start + FILE_ROWS])
                made = _encoded(torch.from_numpy(rows), recipe, text_encoders, device)
                _write(folder, rows, made)
                advance(len(rows))
        places = _opened(folder)
    return TextCache(folder, len(missing), places)


def gc(root: Path, wanted: str) -> int:
    """Free the encodings of all folders but the `wanted` key's; return the bytes."""
    freed = 0
    for folder in sorted((root / TEXTS).glob("*/")):
        if re.fullmatch("[0-9a-f]{16}", folder.name) and folder.name != wanted:
            freed += sum(path.stat().st_size for path in folder.iterdir())
            shutil.rmtree(folder, ignore_errors=True)
    return freed


@torch.no_grad()
def _encoded(
    ids: torch.Tensor, recipe: TrainRecipe, text_encoders: Sequence[Any], device: torch.device
) -> Encoded:
    """Encode chunks of ids [n, 77], each a caption of its own; on the CPU."""
    parts = []
    with autocast(device, recipe.steps.precision):
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH, None].to(device)
            parts.append(encode(text_encoders, some, recipe.model.clip_skip))
    summaries = [part.pooled.cpu() for part in parts if part.pooled is not None]
    pooled = torch.cat(summaries) if summaries else None
    return Encoded(torch.cat([part.context.cpu() for part in parts]), pooled)


def _write(folder: Path, ids: np.ndarray, made: Encoded) -> None:
    tensors = {"ids": torch.from_numpy(ids), "context": made.context.contiguous()}
    if made.pooled is not None:
        tensors["pooled"] = made.pooled.contiguous()
    sums = [_crc32(made.take([row])) for row in range(len(ids))]
    tensors["crc32"] = torch.tensor(sums)
    write_bytes(folder / f"{fingerprint(ids.tolist())}.safetensors", save(tensors))


class _File:
    """One file of encodings, mapped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        file: Any = safe_open(path, framework="pt")
        self.ids = file.get_tensor("ids").numpy()
        self._sums = file.get_tensor("crc32").tolist()
        self._context = file.get_slice("context")
        self._pooled = file.get_slice("pooled") if "pooled" in file.keys() else None  # noqa: SIM118

    def read(self, row: int) -> Encoded:
        """Return one chunk's, [77, width] and [width], copied."""
        part = slice(row, row + 1)
        pooled = None if self._pooled is None else self._pooled[part]
        found = Encoded(self._context[part], pooled)
        if _crc32(found) != self._sums[row]:
            raise DataError(f"{self.path} is damaged: remove it and run `train` again")
        return Encoded(found.context[0], None if pooled is None else pooled[0])


def _opened(folder: Path) -> dict[bytes, tuple[_File, int]]:
    """Map the files of `folder`; those that are damaged are said to be, and encoded again."""
    places: dict[bytes, tuple[_File, int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            file = _File(path)
        except (SafetensorError, OSError, ValueError):
            say(f"texts: {path} is damaged; its captions are encoded again")
            with contextlib.suppress(OSError):
                path.unlink()
            continue
        places |= {row.tobytes(): (file, number) for number, row in enumerate(file.ids)}
    return places


def _crc32(entry: Encoded) -> int:
    """The checksum of encodings as they lie in the file."""
    sums = 0
    for tensor in (entry.context, entry.pooled):
        if tensor is not None:
            sums = zlib.crc32(tensor.contiguous().view(torch.uint8).numpy().tobytes(), sums)
    return sums
