"""Where the weight of each module lies in a checkpoint: a single file, or a diffusers folder.

The names of a single file are turned into diffusers' by diffusers' own functions, which are given
marks in place of tensors: what comes back tells which tensor, and which rows of it, each is. So a
tensor of the second text encoder that holds three projections is known to hold three modules.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from schemas.errors import ModelError
from schemas.files import sha256_of
from train import single_file_configs as configs
from train.blocks import ARCHITECTURES, TEXT, Architecture, unet_block
from train.checkpoint_file import CheckpointFile, SafetensorsFile
from train.diffusers_folder import open_folder, weight_files
from train.single_file import SingleFile, open_file
from train.tensor_file import Entry

PARTS = ("unet", "text_encoder", "text_encoder_2")  # of a folder, which are merged into
WEIGHT = ".weight"

TensorKey = tuple[str, str]  # part of a folder ("" of a single file), name of a tensor
Convert = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Piece:
    """Rows of a tensor that belong to one module.

    module: its name in adapter files; "" for what no adapter changes. block: the text encoders' for
    what belongs to no block.
    """

    module: str
    block: str
    rows: slice


@dataclass(frozen=True)
class TensorFile:
    """A file of a checkpoint. pieces: of each tensor of the U-Net and the text encoders."""

    file: CheckpointFile
    place: Path  # within the folder
    pieces: Mapping[str, tuple[Piece, ...]]

    def key(self, entry: Entry) -> TensorKey:
        """Return what the tensor is called in any checkpoint of this layout."""
        return self.place.parent.name, entry.name


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, unread but for its headers."""

    path: Path
    architecture: Architecture
    files: tuple[TensorFile, ...]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every module's weight, by its name in adapter files."""
        return {
            piece.module: (piece.rows.stop - piece.rows.start, *entry.shape[1:])
            for part in self.files
            for entry in part.file.entries
            for piece in part.pieces.get(entry.name, ())
            if piece.module
        }

    @cached_property
    def tensors(self) -> dict[TensorKey, tuple[CheckpointFile, Entry]]:
        """Where each tensor of the U-Net and the text encoders lies."""
        return {
            part.key(entry): (part.file, entry)
            for part in self.files
            for entry in part.file.entries
            if entry.name in part.pieces
        }

    def read(self, key: TensorKey) -> torch.Tensor:
        """Return a tensor, a scalar as a row."""
        file, entry = self.tensors[key]
        found = file.tensor(entry)
        return found if found.dim() else found[None]

    def sha256(self) -> str:
        """Return the hash over the bytes of what is merged into."""
        return sha256_of(*(part.file.path for part in self.files))


def open_base(path: Path) -> Checkpoint:
    """Return the checkpoint in a file or folder. Raises ModelError: what it is instead."""
    return _folder(path) if path.is_dir() else _single(path)


def _folder(folder: Path) -> Checkpoint:
    kind = open_folder(folder, folder.name, "checkpoint").kind
    architecture = ARCHITECTURES[kind]
    files = []
    for part in (name for name in PARTS if (folder / name).is_dir()):
        found = sorted((folder / part).glob("*.safetensors"))
        if not found:
            kept = ", ".join(file.name for file in weight_files(folder / part)) or "no weights"
            raise ModelError(
                f"checkpoint {folder.name} has {kept} in {part}: save it as .safetensors, which can"
                " be read piece by piece"
            )
        for path in found:
            file = SafetensorsFile(path, f"checkpoint {folder.name}: {part}/{path.name}")
            pieces = {
                entry.name: (_piece(architecture, part, entry.name, slice(0, _rows(entry)), entry),)
                for entry in file.entries
            }
            files.append(TensorFile(file, Path(part, path.name), pieces))
    return Checkpoint(folder, architecture, tuple(files))


def _single(path: Path) -> Checkpoint:
    model = open_file(path, path.name, "checkpoint")
    architecture = ARCHITECTURES[model.kind]
    pieces: dict[str, list[Piece]] = {}
    entries = model.file.entries
    for part, prefix, converted in _conversions(model):
        own = [entry for entry in entries if entry.name.startswith(prefix)]
        for name, mark in converted(_marks(own)).items():
            number, first = mark.reshape(-1, 2)[0].tolist()
            entry, rows = own[number], slice(first, first + len(mark))
            if mark.shape == (rows.stop - first, 2):
                piece = _piece(architecture, part, name, rows, entry)
                pieces.setdefault(entry.name, []).append(piece)
        for entry in own:  # what the conversion leaves out, or turns
            block = unet_block(entry.name.removeprefix(prefix)) if part == "unet" else TEXT
            rest = Piece("", block or TEXT, slice(0, _rows(entry)))
            pieces.setdefault(entry.name, [rest])
    told = {name: tuple(own) for name, own in pieces.items()}
    return Checkpoint(path, architecture, (TensorFile(model.file, Path(), told),))


def _conversions(model: SingleFile) -> Iterator[tuple[str, str, Convert]]:
    """Each part of a single file: its name in a folder, its prefix, what gives diffusers' names."""
    from diffusers.loaders.single_file_utils import (
        convert_ldm_unet_checkpoint,
        convert_open_clip_checkpoint,
    )

    shapes = model.file.shapes
    config = configs.unet_config(shapes, model.kind)
    yield "unet", configs.UNET, lambda marks: convert_ldm_unet_checkpoint(marks, config)
    prefix = configs.text_prefix(shapes, model.kind)
    yield (
        "text_encoder",
        prefix,
        lambda marks: {name.removeprefix(prefix): mark for name, mark in marks.items()},
    )
    if model.kind == "sdxl":
        second = configs.SECOND
        yield (
            "text_encoder_2",
            second,
            lambda marks: convert_open_clip_checkpoint(None, marks, second),
        )


def _marks(entries: Iterable[Entry]) -> dict[str, torch.Tensor]:
    """A stand-in for each tensor, [rows, 2]: of each row, the tensor's number and the row's own."""
    return {
        entry.name: torch.stack(
            [torch.full((_rows(entry),), number), torch.arange(_rows(entry))], dim=1
        )
        for number, entry in enumerate(entries)
    }


def _piece(architecture: Architecture, part: str, name: str, rows: slice, entry: Entry) -> Piece:
    """name: of the tensor in diffusers' folders."""
    path = name.removesuffix(WEIGHT)
    is_weight = name.endswith(WEIGHT) and len(entry.shape) > 1
    if part == "unet":
        module, block = architecture.unet_name(path), unet_block(name) or TEXT
    else:
        module, block = architecture.text_name(PARTS.index(part) - 1, path), TEXT
    return Piece(module if is_weight else "", block, rows)


def _rows(entry: Entry) -> int:
    return entry.shape[0] if entry.shape else 1
