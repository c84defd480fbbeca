"""What an adapter file holds: kind, ranks, blocks, how much it changes, what it was trained on.

Read a block at a time; no model is loaded. Files of other trainers are read as well.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from schemas.errors import ModelError
from train.adapter_names import (
    MARKS,
    alpha_of,
    alphas_beside,
    kohya_name,
    model_of,
    read_json,
)
from train.blocks import ARCHITECTURES, TEXT, block_of_name
from train.checkpoint_file import PICKLED, CheckpointFile, PickledFile, SafetensorsFile

READ = ("lora", "dora", "loha", "lokr", "full")  # kinds whose change is known here
OTHER = "other"  # the block of a module that neither SD1.5 nor SDXL has
ORDER = (TEXT, *ARCHITECTURES["sd15"].unet_blocks, OTHER)
IN_FOLDERS = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
SHORT = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
SHOWN = 3  # modules in a sentence


@dataclass(frozen=True)
class Part:
    """What some modules have in common: those of a block, or all."""

    modules: int
    dims: Mapping[int, int]  # rank -> modules; without what has none
    alphas: Mapping[float, int]  # alpha -> modules
    norm: float | None  # of the change (Frobenius), all modules together; None: not known


@dataclass(frozen=True)
class Inspection:
    """An adapter file."""

    file: str
    kind: str  # lora, locon, dora, loha, lokr ...; several with commas
    model: str  # sd15, sdxl, sd2; empty where it is none of them
    naming: str  # of tensors: kohya or diffusers
    precision: str  # of tensors; several with commas
    parameters: int
    whole: Part
    wide: Part  # of the modules, those beside 3x3 convolutions
    blocks: Mapping[str, Part]
    base_model: str
    base_model_hash: str
    tags: Mapping[str, int]  # how often each stood in captions, the most frequent first
    metadata: Mapping[str, str]
    problems: Sequence[str]


@dataclass(frozen=True)
class Module:
    """A module of an adapter. norm: of its change; None where its kind is not known here."""

    name: str
    kind: str
    dim: int | None
    alpha: float | None
    norm: float | None
    is_wide: bool
    precision: str


def inspect(path: Path) -> Inspection:
    """Return what an adapter file holds. Raises ModelError for one that is missing or broken."""
    file = _opened(path)
    names = [kohya_name(key) for key in file.shapes]
    found: dict[str, dict[str, str]] = {}
    for key, name in zip(file.shapes, names, strict=True):
        found.setdefault(name.module, {})[name.end] = key
    known = {name: ends for name, ends in found.items() if ends.keys() & MARKS.keys()}
    if not known:
        raise ModelError(_no_adapter(file))
    metadata = dict(file.metadata)
    alphas = alphas_beside(path, metadata)
    blocks = {block: list(_read(file, own, alphas)) for block, own in _by_block(known).items()}
    modules = [module for own in blocks.values() for module in own]
    keys = {key for ends in known.values() for end, key in ends.items() if end != "alpha"}
    return Inspection(
        file=str(path),
        kind=", ".join(sorted(_kinds(modules, metadata))),
        model=model_of(file.shapes, known, metadata),
        naming="kohya" if any(key.startswith("lora_") for key in keys) else "diffusers",
        precision=", ".join(sorted({module.precision for module in modules})),
        parameters=sum(math.prod(file.shapes[key]) for key in keys),
        whole=_part(modules),
        wide=_part([module for module in modules if module.is_wide]),
        blocks={block: _part(own) for block, own in blocks.items()},
        base_model=_told(metadata, "ss_sd_model_name"),
        base_model_hash=_told(metadata, "ss_new_sd_model_hash", "ss_sd_model_hash"),
        tags=trained_tags(metadata),
        metadata=metadata,
        problems=_problems(modules, found.keys() - known.keys()),
    )


def trained_tags(metadata: Mapping[str, str]) -> dict[str, int]:
    """Return how often each tag stood in the captions, over all sets, the most frequent first."""
    counted: Counter[str] = Counter()
    for tags in read_json(metadata.get("ss_tag_frequency", "")).values():
        if isinstance(tags, dict):
            counted.update({tag.strip(): n for tag, n in tags.items() if isinstance(n, int)})
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _opened(path: Path) -> CheckpointFile:
    if path.is_dir():
        there = [path / name for name in IN_FOLDERS if (path / name).is_file()]
        if not there:
            raise ModelError(f"{path} holds neither {' nor '.join(IN_FOLDERS)}: name a file")
        path = there[0]
    if not path.is_file():
        raise ModelError(f"adapter {path} is missing: name a .safetensors file")
    kind = PickledFile if path.suffix.lower() in PICKLED else SafetensorsFile
    return kind(path, f"adapter {path}")


def _no_adapter(file: CheckpointFile) -> str:
    """Say what a file is that holds no adapter."""
    names = list(file.shapes)
    if any(
        name.startswith(("model.diffusion_model.", "conv_in.", "down_blocks.")) for name in names
    ):
        return f"{file.name} is a whole model: an adapter is a smaller file beside one"
    if {"emb_params", "clip_l", "clip_g", "*"} & set(names):
        return f"{file.name} is a textual inversion, new words for a model, and no adapter"
    return (
        f"{file.name} holds no adapter that is known here: none of its {len(names)} tensors is of"
        f" {', '.join(dict.fromkeys(MARKS.values()))}"
    )


def _by_block(modules: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Mapping[str, str]]]:
    """The modules of each block, blocks in the order in which a model computes."""
    found: dict[str, dict[str, Mapping[str, str]]] = {block: {} for block in ORDER}
    for name, ends in sorted(modules.items()):
        found[block_of_name(name) or OTHER][name] = ends
    return {block: own for block, own in found.items() if own}


def _read(
    file: CheckpointFile, block: Mapping[str, Mapping[str, str]], alphas: Mapping[str, float]
) -> Iterator[Module]:
    """Read and measure the modules of a block. alphas: by the beginning of a module's name."""
    tensors = file.read(key for ends in block.values() for key in ends.values())
    for name, ends in block.items():
        own: dict[str, Any] = {end: tensors[key] for end, key in ends.items()}
        if "alpha" not in own and (alpha := alpha_of(name, alphas)) is not None:
            own["alpha"] = alpha
        try:
            yield _module(name, own)
        except (KeyError, RuntimeError, IndexError) as error:
            why = f"no {error.args[0]}" if isinstance(error, KeyError) else "their shapes differ"
            raise ModelError(
                f"{file.name}: the tensors of {name} make no change ({why}): get it again"
            ) from None


def _module(name: str, tensors: Mapping[str, Any]) -> Module:
    kind = next(MARKS[end] for end in tensors if end in MARKS)
    first = next(tensor for end, tensor in tensors.items() if end != "alpha")
    stored = str(first.dtype).removeprefix("torch.")
    module = Module(name, kind, None, None, None, False, SHORT.get(stored, stored))
    if kind not in READ:
        return module
    from train.adapter_modules import Kronecker, Whole, build

    change = build(tensors).plain
    if isinstance(change, Kronecker):
        sides = (end for end in ("lokr_w1_b", "lokr_w2_b") if end in tensors)
        dim = next((int(tensors[end].shape[0]) for end in sides), None)
        alpha = float(tensors["alpha"]) if dim is not None and "alpha" in tensors else None
    elif isinstance(change, Whole):
        dim, alpha = None, None
    else:
        right = tensors["lora_down.weight" if kind == "lora" else "hada_w1_b"]
        dim, alpha = int(right.shape[0]), change.alpha
    return replace(
        module,
        kind="dora" if "dora_scale" in tensors else kind,
        dim=dim,
        alpha=alpha,
        norm=_norm(change),
        is_wide=any(t.dim() == 4 and t.shape[-1] > 1 for e, t in tensors.items() if e != "alpha"),
    )


def _norm(change: Any) -> float:
    """The Frobenius norm of a change, without making it where its factors suffice."""
    from train.adapter_modules import Kronecker, LowRank

    if isinstance(change, LowRank):
        # |up down|^2 = trace((up' up) (down down')), both [rank, rank]
        up, down = change.up.double().flatten(1), change.down.double().flatten(1)
        squared = float(((up.T @ up) * (down @ down.T)).sum())
        return (
            math.sqrt(max(squared, 0.0)) * change.alpha / down.shape[0]
            if squared == squared
            else squared
        )
    if isinstance(change, Kronecker):
        return float(change.one.double().norm() * change.two.double().norm()) * change.scale
    return float(change.rows(slice(None)).norm())


def _part(modules: Sequence[Module]) -> Part:
    norms = [module.norm for module in modules]
    known = [norm for norm in norms if norm is not None]
    dims = Counter(module.dim for module in modules if module.dim is not None)
    alphas = Counter(module.alpha for module in modules if module.alpha is not None)
    return Part(
        modules=len(modules),
        dims=dict(sorted(dims.items())),
        alphas=dict(sorted(alphas.items())),
        norm=math.hypot(*known) if known and len(known) == len(norms) else None,
    )


def _kinds(modules: Sequence[Module], metadata: Mapping[str, str]) -> set[str]:
    """The kinds as recipes call them: a LoRA of 3x3 convolutions is a LoCon."""
    kinds = {module.kind for module in modules}
    if "lora" in kinds and metadata.get("ss_network_module", "").endswith("dylora"):
        kinds = kinds - {"lora"} | {"dylora"}
    if "lora" in kinds and any(module.is_wide for module in modules):
        kinds = kinds - {"lora"} | {"locon"}
    return kinds


def _problems(modules: Sequence[Module], strange: set[str]) -> list[str]:
    """What is amiss, in sentences."""
    broken = [m.name for m in modules if m.norm is not None and not math.isfinite(m.norm)]
    idle = [m.name for m in modules if m.norm == 0]
    unknown = [m.name for m in modules if m.norm is None]
    told = (
        ("have weights that are not finite: the file is of no use", broken),
        ("change nothing", idle),
        ("are of kinds whose change is not known here", unknown),
        ("belong to no adapter", sorted(strange)),
    )
    return [
        f"{len(names)} modules {what}: {', '.join(names[:SHOWN])}"
        + (", ..." if len(names) > SHOWN else "")
        for what, names in told
        if names
    ]


def _told(metadata: Mapping[str, str], *keys: str) -> str:
    """The first of these that says something; trainers write None where they know nothing."""
    return next((v for key in keys if (v := metadata.get(key, "")) not in ("", "None")), "")
