"""The optimizer that a recipe names: found, checked against what it can hold, made.

AdamW, Adam and SGD are torch's own; names that end in 8bit or 32bit, or begin with Paged, are
bitsandbytes' (an extra); every other is looked up in pytorch-optimizer. Case does not matter.
"""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from schemas.errors import RecipeError
from schemas.progress import say
from schemas.recipes.train import OptimizerSection

Optimizer = torch.optim.Optimizer


@dataclass(frozen=True)
class Group:
    """Weights that are trained at one rate."""

    weights: Sequence[nn.Parameter]
    is_text: bool = False  # of a text encoder, so that text_encoder_lr holds
    factor: float = 1.0  # of the rate


OWN_KEYS = {"lr": "optimizer.lr", "params": "adapter.blocks"}
OF_TORCH = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
SELF_PACED = ("dadapt", "prodigy")  # find their rate; lr is a factor of it
MOST_RATE = 0.1  # from here on a step of Adam's or Lion's moves weights by as much as they measure

# Arguments that other programs set, or that resuming needs. Adafactor: the rate is the recipe's,
# not its own, and not scaled by weights that start at 0; a momentum kept in bf16 would come back
# from a saved state as fp32.
USUAL_ARGS: Mapping[str, Mapping[str, Any]] = {
    "adafactor": {
        "relative_step": False,
        "scale_parameter": False,
        "warmup_init": False,
        "momentum_dtype": torch.float32,
    },
}


def make_optimizer(section: OptimizerSection, groups: Sequence[Group]) -> Optimizer:
    """Return the optimizer over groups of weights, each at its rate.

    Each group keeps its full rate as "full_lr". Raises RecipeError for a name that nobody has,
    arguments that the optimizer does not take, and rates that it cannot hold.
    """
    rates = _rates(section, groups)
    _check_rates(section, find_optimizer(section.name), groups, rates)
    return unchecked(section, groups)


def unchecked(section: OptimizerSection, groups: Sequence[Group]) -> Optimizer:
    """Return the optimizer as make_optimizer does, and say nothing of its rates."""
    made_of = [
        {"params": list(group.weights), "lr": rate, "full_lr": rate}
        for group, rate in zip(groups, _rates(section, groups), strict=True)
    ]
    kind = find_optimizer(section.name)
    args = {**USUAL_ARGS.get(kind.__name__.lower(), {}), **_arguments(section, kind)}
    try:
        made: Optimizer = kind(made_of, **args)
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(f"optimizer.args: {kind.__name__} refuses them: {error}") from None
    return made


def _rates(section: OptimizerSection, groups: Sequence[Group]) -> list[float]:
    text_lr = section.lr if section.text_encoder_lr is None else section.text_encoder_lr
    return [(text_lr if group.is_text else section.lr) * group.factor for group in groups]


def state_bytes(
    section: OptimizerSection, shapes: Mapping[tuple[int, ...], int], device: torch.device
) -> int:
    """Return what the optimizer keeps beside weights of these shapes, each so many times.

    One weight of each shape takes a step on the device: no table would know every optimizer.
    """
    weights = [nn.Parameter(torch.zeros(shape, device=device)) for shape in shapes]
    optimizer = unchecked(section, [Group(weights)])
    for weight in weights:
        weight.grad = torch.full_like(weight, 1e-3)
    optimizer.step()
    return sum(
        count * part.nbytes
        for weight, count in zip(weights, shapes.values(), strict=True)
        for part in tree_leaves(optimizer.state[weight])
        if isinstance(part, torch.Tensor)
    )


def find_optimizer(name: str) -> Any:
    """Return the optimizer's class. Raises RecipeError, with the nearest name, where none is."""
    key = name.lower().replace("_", "")
    if key in OF_TORCH:
        return OF_TORCH[key]
    if key.endswith(("8bit", "32bit")) or key.startswith("paged"):
        return _of_bitsandbytes(name, key)
    import pytorch_optimizer

    theirs = {n.lower(): n for n in dir(pytorch_optimizer) if _is_optimizer(pytorch_optimizer, n)}
    if key in theirs:
        return getattr(pytorch_optimizer, theirs[key])
    near = difflib.get_close_matches(key, [*OF_TORCH, *theirs], n=1)
    known = {**{k: kind.__name__ for k, kind in OF_TORCH.items()}, **theirs}
    hint = f'; did you mean "{known[near[0]]}"?' if near else ""
    raise RecipeError(f'optimizer.name "{name}" is none of torch or pytorch-optimizer{hint}')


def _of_bitsandbytes(name: str, key: str) -> Any:
    try:
        from bitsandbytes import optim
    except ImportError:
        raise RecipeError(
            f"optimizer.name \"{name}\" needs bitsandbytes: pip install 'kiroku[bnb]'"
        ) from None
    theirs = {n.lower(): n for n in dir(optim) if _is_optimizer(optim, n)}
    if key not in theirs:
        near = difflib.get_close_matches(key, theirs, n=1)
        hint = f'; did you mean "{theirs[near[0]]}"?' if near else ""
        raise RecipeError(f'optimizer.name "{name}" is none of bitsandbytes\'{hint}')
    return getattr(optim, theirs[key])


def _is_optimizer(module: Any, name: str) -> bool:
    found = getattr(module, name)
    return inspect.isclass(found) and issubclass(found, Optimizer) and found is not Optimizer


def is_self_paced(name: str) -> bool:
    """Whether the optimizer finds its rate itself: D-Adaptation and Prodigy."""
    return name.lower().startswith(SELF_PACED)


def _check_rates(
    section: OptimizerSection, kind: Any, groups: Sequence[Group], rates: Sequence[float]
) -> None:
    name = kind.__name__
    if is_self_paced(name):
        if len(factors := sorted({group.factor for group in groups})) > 1:
            shown = " and ".join(f"{factor:g}" for factor in factors)
            raise RecipeError(
                f"optimizer: {name} finds one rate for all and cannot hold the factors {shown} of"
                " adapter.block: leave its lr out, or set it to 0 for blocks that are not to be"
                " trained"
            )
        if len(set(rates)) > 1:
            shown = " and ".join(f"{rate:g}" for rate in rates)
            raise RecipeError(
                f"optimizer: {name} finds one rate for all and cannot hold {shown} for U-Net and"
                " text encoder: leave text_encoder_lr out, or choose by adapter.blocks what is"
                " trained"
            )
        if rates and rates[0] not in (0.0, 1.0):
            say(
                f"{name} finds its rate itself and optimizer.lr = {rates[0]:g} is a factor of it:"
                " 1 is meant, less is for trainings that diverge"
            )
        return
    if max(rates, default=0.0) >= MOST_RATE and "sgd" not in name.lower():
        raise RecipeError(
            f"optimizer.lr = {max(rates):g} is no rate for {name}, whose steps move every weight by"
            " it: 1e-4 is usual; 1 is for D-Adaptation and Prodigy"
        )
    if name.startswith("ScheduleFree") and section.schedule != "constant":
        raise RecipeError(
            f'optimizer.schedule is "{section.schedule}", but {name} averages its weights and'
            ' lowers no rate: set it to "constant"'
        )
    if section.args.get("relative_step"):
        say(f"with relative_step {name} makes its own rate: optimizer.lr has no effect")


def _arguments(section: OptimizerSection, kind: Any) -> dict[str, Any]:
    """The recipe's arguments, if the optimizer takes them."""
    known = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    for key in section.args:
        if key in OWN_KEYS:
            raise RecipeError(f'optimizer.args: "{key}" has its own place, {OWN_KEYS[key]}')
        if key not in known:
            taken = ", ".join(name for name in known if name not in OWN_KEYS)
            raise RecipeError(f'optimizer.args: {kind.__name__} takes no "{key}"; it takes {taken}')
    return dict(section.args)


def set_rate(optimizer: Optimizer, factor: float) -> float:
    """Set every group to its full rate times `factor`; return the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])


def restore(optimizer: Optimizer, state: Mapping[str, Any], device: torch.device) -> None:
    """Go on from a saved state.

    torch moves what belongs to a weight to its device; what D-Adaptation keeps for a whole group
    has to be moved here.
    """
    optimizer.load_state_dict(dict(state))
    for group in optimizer.param_groups:
        for key, value in group.items():
            if isinstance(value, torch.Tensor):
                group[key] = value.to(device)
