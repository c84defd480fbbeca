"""Where modules lie in a checkpoint: every one that an adapter of real size may change is found."""

from pathlib import Path
from typing import Any

import pytest
import torch
from single_file_layout import layout

from train.blocks import ARCHITECTURES, TEXT
from train.merging.checkpoint import open_base
from train.targets import find_targets
from train.tensor_file import Entry, header


@pytest.mark.parametrize(("kind", "modules"), [("sd15", 278 + 72), ("sdxl", 788 + 72 + 192)])
def test_every_module_is_found_in_a_file_of_real_size(
    kind: Any, modules: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    unet, texts = request.getfixturevalue(f"real_{kind}")
    tensors = layout(kind, unet.state_dict(), *(text.state_dict() for text in texts))
    entries = [Entry(name, torch.float16, tuple(t.shape)) for name, t in tensors.items()]
    path = tmp_path / "real.safetensors"
    with path.open("wb") as file:
        file.write(header(entries, {}))
        file.truncate(file.tell() + sum(entry.size for entry in entries))  # no bytes are written
    found = open_base(path)
    shapes = found.shapes()
    targets = find_targets(ARCHITECTURES[kind], unet, texts, conv=True)
    assert len(targets) == modules
    assert {t.name: tuple(t.base.weight.shape) for t in targets}.items() <= shapes.items()
    (part,) = found.files
    assert part.pieces.keys() == tensors.keys()
    blocks = {piece.module: piece.block for own in part.pieces.values() for piece in own}
    assert all(blocks[target.name] == target.block for target in targets)
    assert blocks[ARCHITECTURES[kind].unet_name("time_embedding.linear_1")] == TEXT
    if kind == "sdxl":  # three projections in one tensor
        name = "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight"
        third = "lora_te2_text_model_encoder_layers_31_self_attn_{}_proj".format
        assert [(piece.module, piece.rows) for piece in part.pieces[name]] == [
            (third("q"), slice(0, 1280)),
            (third("k"), slice(1280, 2560)),
            (third("v"), slice(2560, 3840)),
        ]
