"""`[adapter]`: kind, rank and blocks, from network_module, network_dim and network_args."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from schemas.recipes.train import ModelKind
from train.blocks import ARCHITECTURES, as_ranges
from train.convert.draft import Draft
from train.convert.settings import literal

LYCORIS = {"lora": "locon"} | {name: name for name in ("locon", "loha", "lokr", "dylora", "full")}
MODULES = {
    "networks.lora": "lora",
    "networks.dylora": "dylora",
    "networks.lora_fa": "lora",
    "lycoris.kohya": "locon",
    "locon.locon_kohya": "locon",
}
PARTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")


def adapter(draft: Draft, kind: ModelKind) -> None:
    """Put the keys of [adapter]. `kind`: sd15 or sdxl."""
    arguments, written = _arguments(draft)
    module = str(draft.take("network_module") or "networks.lora")
    dim = int(draft.number("network_dim") or 4)
    alpha = draft.number("network_alpha")
    own = _kind(draft, module, arguments)
    conv = literal(arguments.pop("conv_dim", "0")) or (dim if module == "lycoris.kohya" else 0)
    conv_alpha = literal(arguments.pop("conv_alpha", "1"))
    if conv and own == "lora":
        own = "locon"
    draft.put("adapter.kind", own, written)
    draft.put("adapter.dim", dim)
    draft.put(
        "adapter.alpha", 1 if alpha is None else alpha, "not given: 1" if alpha is None else ""
    )
    if conv:
        draft.put("adapter.conv_dim", conv)
        draft.put("adapter.conv_alpha", conv_alpha)
    _dropout(draft, arguments)
    blocks = _weights(draft, arguments, kind)
    _dims(draft, arguments, kind)
    draft.put("adapter.blocks", _trained(draft, blocks, kind))
    for name, value in arguments.items():
        draft.instead.append((f'network_args "{name}={value}"', "not understood"))


def _arguments(draft: Draft) -> tuple[dict[str, str], str]:
    written = draft.written("network_args")
    given = draft.take("network_args") or []
    pairs = (str(one).partition("=") for one in given)
    return {name.strip(): value.strip() for name, _, value in pairs}, written


def _kind(draft: Draft, module: str, arguments: dict[str, str]) -> str:
    algo = arguments.pop("algo", "")
    kind = LYCORIS.get(algo or "lora", "") if module == "lycoris.kohya" else MODULES.get(module, "")
    if not kind:
        what = (
            f'algo "{algo}"' if algo and module == "lycoris.kohya" else f'network_module "{module}"'
        )
        draft.instead.append(
            (what, "not here: lora, locon, dora, loha, lokr, dylora and full are trained")
        )
        kind = "lora"
    if literal(arguments.pop("dora_wd", "False")) is True:
        if kind in ("lora", "locon"):
            return "dora"
        draft.instead.append(('network_args "dora_wd=True"', f"not taken over: not for {kind}"))
    if module == "networks.lora_fa":
        draft.notes.append(
            "networks.lora_fa keeps lora_down as it is: here both factors are learnt"
        )
    return kind


def _dropout(draft: Draft, arguments: dict[str, str]) -> None:
    for name in ("rank_dropout", "module_dropout"):
        value = literal(arguments.pop(name, "0"))
        if value:
            where = f'network_args "{name}={value}"'
            draft.instead.append((where, "not here: dropout in [adapter] drops inputs"))
    inside = literal(arguments.pop("dropout", "0"))
    if inside:
        draft.put("adapter.dropout", inside)


def _weights(draft: Draft, arguments: dict[str, str], kind: ModelKind) -> list[str] | None:
    """Which blocks are trained by their rates, as sd-scripts splits them; None: nothing is said."""
    names = ARCHITECTURES[kind].unet_blocks
    half = len(names) // 2
    given = [arguments.pop(part, None) for part in PARTS]
    least = float(arguments.pop("block_lr_zero_threshold", "0"))
    if all(part is None for part in given):
        return None
    rates: list[float] = []
    for part, text, count in zip(PARTS, given, (half, 1, half), strict=True):
        numbers = _numbers(text)
        if text is not None and len(numbers) < count:
            draft.instead.append(
                (f'network_args "{part}={text}"', f"not understood: {count} numbers are wanted")
            )
            numbers = []
        rates += numbers[:count] or [1.0] * count
    trained = [(name, rate) for name, rate in zip(names, rates, strict=True) if rate > least]
    for rate in sorted({rate for _, rate in trained} - {1.0}):
        of_rate = [name for name, own in trained if own == rate]
        draft.put(f"adapter.block.{ranges(of_rate, names)}", {"lr": rate})
    return [name for name, _ in trained]


def _dims(draft: Draft, arguments: dict[str, str], kind: ModelKind) -> None:
    names = ARCHITECTURES[kind].unet_blocks
    dims, alphas = _numbers(arguments.get("block_dims")), _numbers(arguments.get("block_alphas"))
    if not dims:
        return
    if len(dims) != len(names):
        return  # told as not understood
    arguments.pop("block_dims")
    arguments.pop("block_alphas", None)
    alphas = alphas if len(alphas) == len(names) else [1.0] * len(names)
    pairs = list(zip(dims, alphas, strict=True))
    for dim, alpha in dict.fromkeys(pairs):
        of_pair = [name for name, own in zip(names, pairs, strict=True) if own == (dim, alpha)]
        key = f"adapter.block.{ranges(of_pair, names)}"
        draft.put(key, {**draft.values.get(key, {}), "dim": int(dim), "alpha": alpha})


def _trained(draft: Draft, blocks: list[str] | None, kind: ModelKind) -> str:
    unet_only = draft.flag("network_train_unet_only")
    text_only = draft.flag("network_train_text_encoder_only")
    if text_only:
        return "TE"
    if blocks is None:
        return "unet" if unet_only else "all"
    named = ranges(blocks, ARCHITECTURES[kind].unet_blocks)
    return named if unet_only else ",".join(filter(None, [named, "TE"]))


def ranges(names: Iterable[str], order: Sequence[str]) -> str:
    """`IN04-07,OUT03`: neighbours of one kind drawn together."""
    return ",".join(as_ranges(sorted(names, key=order.index)))


def _numbers(text: Any) -> list[float]:
    found = re.findall(r"-?\d+(?:\.\d*)?(?:e-?\d+)?", str(text or ""))
    return [float(number) for number in found]
