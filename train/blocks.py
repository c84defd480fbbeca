"""Names of blocks and modules, per architecture: SD1.5 and SDXL.

Block names are those the ecosystem counts in: IN00-11, M00, OUT00-11 for the U-Net of Stable
Diffusion 1.5, IN00-08, M00, OUT00-08 for SDXL's, TE for the text encoders. Adapter files (the
convention of kohya-ss/sd-scripts) name a module by its path with `_` for `.`: under `lora_unet_`
diffusers' path for SD1.5 and that of SDXL's own code (sgm) for SDXL; under `lora_te_` the text
encoder of SD1.5, under `lora_te1_` and `lora_te2_` those of SDXL.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from schemas.errors import RecipeError
from schemas.recipes.train import ModelKind

TEXT = "TE"
UNET_PREFIX = "lora_unet_"
SD15_TEXT = "lora_te_"
LAYERS_PER_LEVEL = 3  # two layers and a sampler going down, three layers going up

_LAYER = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)")
_SGM_LAYER = re.compile(r"(input|output)_blocks\.(\d+)\.|(middle)_block\.")
_RANGE = re.compile(r"(IN|OUT)(\d{1,2})(?:-(\d{1,2}))?")

_FLAT = (  # a module's name with `_` for `.`, and its path as far as a block can be read from it
    (re.compile(r"^(down|up)_blocks_(\d+)_([a-z]+)_(\d+)"), r"\1_blocks.\2.\3.\4"),
    (re.compile(r"^mid_block_"), "mid_block."),
    (re.compile(r"^(input|output)_blocks_(\d+)_"), r"\1_blocks.\2."),
    (re.compile(r"^middle_block_"), "middle_block."),
)
_FLAT_LAYER = re.compile(
    r"(?:(down|up)_blocks_(\d+)|(mid)_block)"
    r"_(resnets|attentions|downsamplers|upsamplers)_(\d+)_(.+)"
)
_SGM_RESNET = {
    "conv1": "in_layers_2",
    "conv2": "out_layers_3",
    "time_emb_proj": "emb_layers_1",
    "conv_shortcut": "skip_connection",
}
_SGM_OUTSIDE = {  # what belongs to no level
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
    "time_embedding_linear_1": "time_embed_0",
    "time_embedding_linear_2": "time_embed_2",
    "add_embedding_linear_1": "label_emb_0_0",
    "add_embedding_linear_2": "label_emb_0_2",
}
_WIDE = {  # the ends of the names of 3x3 convolutions, and of 1x1; all else is Linear
    "sd15": re.compile(r"(resnets_\d+_conv[12]|samplers_\d+_conv|^conv_in|^conv_out)$"),
    "sdxl": re.compile(r"(in_layers_2|out_layers_3|_op|_conv|^input_blocks_0_0|^out_2)$"),
}
_NARROW = {
    "sd15": re.compile(r"_(proj_in|proj_out|conv_shortcut)$"),
    "sdxl": re.compile(r"_skip_connection$"),
}

T = TypeVar("T")


@dataclass(frozen=True)
class Architecture:
    """What a kind of model calls its blocks and modules."""

    kind: ModelKind
    sides: int  # blocks on each side of the middle: IN00 to IN<sides - 1>, and as many OUT
    attention: tuple[str, ...]  # the blocks that hold attention
    text_prefixes: tuple[str, ...]  # in adapter files, one per text encoder

    @property
    def unet_blocks(self) -> tuple[str, ...]:
        """The blocks of the U-Net, in the order in which it computes."""
        numbers = range(self.sides)
        return (*(f"IN{n:02}" for n in numbers), "M00", *(f"OUT{n:02}" for n in numbers))

    @property
    def blocks(self) -> tuple[str, ...]:
        """All blocks, the text encoders first."""
        return (TEXT, *self.unet_blocks)

    def unet_name(self, path: str) -> str:
        """Return the name of a U-Net module, by diffusers' path, in adapter files."""
        return self.own_name(UNET_PREFIX + path.replace(".", "_"))

    def text_name(self, encoder: int, path: str) -> str:
        """Return the name of a module of text encoder 0 or 1 in adapter files.

        The same with and without the `text_model` level that transformers 5 dropped from one of
        its two classes.
        """
        bare = path.removeprefix("text_model.").replace(".", "_")
        return f"{self.text_prefixes[encoder]}text_model_{bare}"

    def own_name(self, name: str) -> str:
        """Return a name of an adapter file as this architecture's files have it.

        Some trainers write SDXL's modules under diffusers' paths: those become sgm's. Its first
        text encoder may be called as SD1.5's only one is.
        """
        if name.startswith(SD15_TEXT):
            return self.text_prefixes[0] + name.removeprefix(SD15_TEXT)
        if self.kind == "sd15" or not name.startswith(UNET_PREFIX):
            return name
        return UNET_PREFIX + _sgm(name.removeprefix(UNET_PREFIX))

    def own_names(self, tensors: Mapping[str, T]) -> dict[str, T]:
        """Return the tensors of an adapter file (`<module>.lora_up.weight`) under `own_name`s."""
        renamed = {}
        for key, tensor in tensors.items():
            name, dot, rest = key.partition(".")
            renamed[self.own_name(name) + dot + rest] = tensor
        return renamed

    def kernel(self, name: str) -> tuple[int, ...]:
        """Return the kernel of a module by its `own_name`: (3, 3), (1, 1), or () of a Linear."""
        path = name.removeprefix(UNET_PREFIX)
        if path == name:
            return ()
        if _WIDE[self.kind].search(path):
            return (3, 3)
        return (1, 1) if _NARROW[self.kind].search(path) else ()

    def parse(self, text: str, *, conv: bool = False, where: str = "") -> frozenset[str]:
        """Return the blocks that `adapter.blocks` names: "all", "unet" or "IN04-07,OUT03-06,TE".

        Raises RecipeError for an unknown name, and when none of what is named holds a module that
        an adapter changes: without `conv` those are the attention blocks and the text encoders.
        `where` says in messages what `text` is; left out, it is `adapter.blocks`.
        """
        if text.strip().lower() == "all":
            return frozenset(self.blocks)
        if text.strip().lower() == "unet":
            return frozenset(self.unet_blocks)
        where = where or f'adapter.blocks = "{text}"'
        chosen: set[str] = set()
        for part in text.split(","):
            chosen.update(self._parse_part(part.strip().upper(), where))
        holding = (TEXT, *(self.unet_blocks[1:] if conv else self.attention))
        if not chosen & set(holding):
            raise RecipeError(
                f"{where} holds no module that the adapter changes: those lie in"
                f" {', '.join(holding)}"
            )
        return frozenset(chosen)

    def _parse_part(self, part: str, where: str) -> list[str]:
        if part in self.blocks:
            return [part]
        if found := _RANGE.fullmatch(part):
            side, first = found[1], int(found[2])
            last = int(found[3]) if found[3] else first
            names = [f"{side}{number:02}" for number in range(first, last + 1)]
            if names and set(names) <= set(self.blocks):
                return names
        near = difflib.get_close_matches(part, self.blocks, n=1, cutoff=0.6)
        hint = f' (did you mean "{near[0]}"?)' if near else ""
        last_one = f"{self.sides - 1:02}"
        of_kind = "" if self.kind == "sd15" else " of SDXL"
        raise RecipeError(
            f'{where}: "{part}" is no block{of_kind}{hint}; known are "all",'
            f' "unet", TE, IN00 to IN{last_one}, M00, OUT00 to OUT{last_one}, and ranges such as'
            " IN04-07"
        )


SD15 = Architecture(
    kind="sd15",
    sides=12,
    attention=(
        *("IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "M00"),
        *(f"OUT{number:02}" for number in range(3, 12)),
    ),
    text_prefixes=(SD15_TEXT,),
)
SDXL = Architecture(
    kind="sdxl",
    sides=9,
    attention=(
        *("IN04", "IN05", "IN07", "IN08", "M00"),
        *(f"OUT{number:02}" for number in range(6)),
    ),
    text_prefixes=("lora_te1_", "lora_te2_"),
)
ARCHITECTURES: Mapping[ModelKind, Architecture] = {"sd15": SD15, "sdxl": SDXL}


def unet_block(path: str) -> str | None:
    """Return the block of a U-Net module ("down_blocks.1.attentions.0..." -> "IN04").

    None for what belongs to no block: the time embedding and the output layers. Both
    architectures count alike, in diffusers' paths and in sgm's.
    """
    if path.startswith("conv_in"):
        return "IN00"
    if path.startswith("mid_block."):
        return "M00"
    if found := _SGM_LAYER.match(path):
        if found[3]:
            return "M00"
        return f"{'IN' if found[1] == 'input' else 'OUT'}{int(found[2]):02}"
    if not (found := _LAYER.match(path)):
        return None
    return _numbered(found[1], int(found[2]), found[3], int(found[4]))


def as_ranges(blocks: Iterable[str]) -> list[str]:
    """Return names of blocks, in the model's order, with those that follow one another as a range.

    ["IN04", "IN05", "OUT03", "TE"] -> ["IN04-05", "OUT03", "TE"]: what Architecture.parse reads.
    """
    parts: list[list[str]] = []
    for block in blocks:
        last = parts[-1][-1] if parts else ""
        follows = last[-2:].isdecimal() and block == f"{last[:-2]}{int(last[-2:]) + 1:02}"
        parts[-1].append(block) if follows else parts.append([block])
    return [part[0] if len(part) == 1 else f"{part[0]}-{part[-1][-2:]}" for part in parts]


def block_of_name(name: str) -> str | None:
    """Return the block of a module by its name in adapter files, of either architecture."""
    if name.startswith("lora_te"):
        return TEXT
    path = name.removeprefix(UNET_PREFIX)
    for flat, dotted in _FLAT:
        path = flat.sub(dotted, path)
    return unet_block(path)


def _numbered(side: str, level: int, part: str, layer: int) -> str:
    """The block of a layer of one of diffusers' levels; a sampler is its level's third layer."""
    if part in ("downsamplers", "upsamplers"):
        layer = LAYERS_PER_LEVEL - 1
    number = LAYERS_PER_LEVEL * level + layer
    return f"IN{number + 1:02}" if side == "down" else f"OUT{number:02}"


def _sgm(flat: str) -> str:
    """The name that SDXL's own code gives to a module of diffusers' flat name."""
    if not (found := _FLAT_LAYER.fullmatch(flat)):
        return _SGM_OUTSIDE.get(flat, flat)
    part, layer, rest = found[4], int(found[5]), found[6]
    if found[3]:
        place = f"middle_block_{1 if part == 'attentions' else 2 * layer}"
    else:
        block = _numbered(found[1], int(found[2]), part, layer)
        side = "input" if found[1] == "down" else "output"
        inner = {"resnets": 0, "attentions": 1, "downsamplers": 0, "upsamplers": 2}[part]
        place = f"{side}_blocks_{int(block[-2:])}_{inner}"
    if part == "resnets":
        rest = _SGM_RESNET.get(rest, rest)
    elif part == "downsamplers":
        rest = "op"
    return f"{place}_{rest}"
