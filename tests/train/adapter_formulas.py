"""The change of every module of an adapter file by its formula, written a second time, fp64."""

from pathlib import Path

import torch
from safetensors.torch import load_file

Tensors = dict[str, torch.Tensor]


def changes(path: Path) -> Tensors:
    """Each module's change, [out, in * k * k], by its name; of a file without cores."""
    modules: dict[str, Tensors] = {}
    for key, tensor in load_file(path).items():
        name, _, end = key.partition(".")
        modules.setdefault(name, {})[end] = tensor.double()
    return {name: change(tensors) for name, tensors in sorted(modules.items())}


def change(own: Tensors) -> torch.Tensor:
    if "diff" in own:
        return own["diff"].flatten(1)
    if "lora_up.weight" in own:
        down = own["lora_down.weight"].flatten(1)
        return own["lora_up.weight"].flatten(1) @ down * own["alpha"] / len(down)
    if "hada_w1_a" in own:
        one, two = (own[f"hada_w{n}_a"] @ own[f"hada_w{n}_b"].flatten(1) for n in (1, 2))
        return one * two * own["alpha"] / len(own["hada_w1_b"])
    one, two = (side(own, f"lokr_w{n}") for n in (1, 2))
    ranks = [len(own[end]) for end in ("lokr_w1_b", "lokr_w2_b") if end in own]
    return torch.kron(one, two) * (own["alpha"] / ranks[0] if ranks else 1.0)


def side(own: Tensors, name: str) -> torch.Tensor:
    if name in own:
        return own[name].flatten(1)
    return own[f"{name}_a"] @ own[f"{name}_b"].flatten(1)
