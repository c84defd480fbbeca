"""`train merge` and `train resize`: their words. Imports what it runs only when it runs."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from train.cli.words import Flag


def merge(
    base: str,
    /,
    *sources: str,
    out: Annotated[Path | None, Parameter(show_default=False)] = None,
    less: Annotated[Path | None, Parameter(show_default=False)] = None,
    rank: Annotated[PositiveInt | None, Parameter(show_default=False)] = None,
    precision: Literal["same", "fp32", "fp16", "bf16"] = "same",
    allow_unmatched: Flag = False,
    overwrite: Flag = False,
    dry_run: Flag = False,
    json: Flag = False,
) -> None:
    """Merge adapters, or other checkpoints by blocks, into a checkpoint.

    train merge base.safetensors azusa.safetensors:0.8:OUT03-06 --out new.safetensors

    Where the first is an adapter too, all are joined into one LoRA.

    Parameters
    ----------
    base
        The checkpoint that is merged into: a .safetensors or .ckpt file, or a diffusers folder. The
        result has its layout, names and metadata.
    sources
        FILE, FILE:strength or FILE:strength:blocks. A strength of 1 is as trained, below 0 it is
        subtracted. Blocks: names (OUT03-06,IN04-07=0.5), a vector of 12, 17, 20 or 26 values, or a
        preset (NCNF). Of another checkpoint that part is taken: base + strength * (it - base).
    out
        Where the result goes: a .safetensors file, or a folder where the base is one.
    less
        Add the difference of other checkpoints to this one, instead of to the base.
    rank
        Of the one LoRA that adapters are joined into; else as many as they have together.
    precision
        That of the U-Net and text encoders in the result.
    allow_unmatched
        Leave out what has no place in the base, which is an error otherwise.
    overwrite
        Write over what is at --out.
    dry_run
        List what is found in the base and what is not, and write nothing.
    json
        Print what is found as one JSON object.
    """
    from schemas.errors import UsageError
    from train.merging.sources import parse_source

    root, *rest = (parse_source(text) for text in (base, *sources))
    if out is None and not dry_run:
        raise UsageError("where to? give --out, or --dry-run to see what would be merged")
    target = None if dry_run else out
    from dataclasses import asdict
    from json import dumps

    from train.cli import show_merging
    from train.merging.join import Joined, join
    from train.merging.merge import Plan, holds_adapter, merge, plan

    found: Plan | Joined
    if holds_adapter(root.path):
        if less is not None or any(not holds_adapter(source.path) for source in rest):
            raise UsageError(f"{base} is an adapter: name the checkpoint first")
        adapters = [root, *rest]
        found = join(adapters, target, rank=rank or 0, precision=precision, overwrite=overwrite)
    elif not rest:
        raise UsageError(f"nothing to merge into {base}: name adapters or checkpoints behind it")
    elif root.strength != 1 or root.blocks:
        raise UsageError(f"{base} is merged into and counts whole: give no strength with it")
    elif rank:
        raise UsageError("--rank is for adapters joined into one, and the first is a checkpoint")
    elif target is None:
        found, _, _ = plan(root.path, rest, less)
    else:
        merging = {"allow_unmatched": allow_unmatched, "overwrite": overwrite}
        found = merge(root.path, rest, target, less=less, precision=precision, **merging)
    if json:
        print(dumps(asdict(found), ensure_ascii=False, indent=1))
    else:
        show_merging.merged(found)
        if target is not None:
            print(target)


def resize(
    adapter: Path,
    /,
    *,
    to: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=True)],
    block: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = (),
    out: Annotated[Path | None, Parameter(show_default=False)] = None,
    precision: Literal["same", "fp32", "fp16", "bf16"] = "same",
    overwrite: Flag = False,
    json: Flag = False,
) -> None:
    """Cut an adapter to smaller ranks: train resize azusa.safetensors --to 4 8 16 32

    Each target gives a file beside the adapter (azusa-4.safetensors), and its error: the part of
    the change, as a Frobenius norm, that is lost.

    Parameters
    ----------
    adapter
        The adapter file.
    to
        A rank (8), sv_ratio=10, sv_cumulative=0.9, sv_fro=0.95, or a size (512KB, 12MB).
    block
        Another target for some blocks: --block OUT03-06:16. May be given several times.
    out
        Where to write: a file, or with several targets a folder.
    precision
        That of the result.
    overwrite
        Write over files that are there.
    json
        Print what was made as one JSON object.
    """
    from dataclasses import asdict
    from json import dumps

    from schemas.errors import UsageError
    from train.cli import show_merging
    from train.merging.resize import resize
    from train.merging.target import parse_target

    targets = [parse_target(text) for text in to]
    own = {}
    for text in block:
        blocks, colon, wanted = text.rpartition(":")
        if not colon:
            raise UsageError(f"--block {text}: give blocks and a target, such as OUT03-06:16")
        own[blocks] = parse_target(wanted)
    folder = adapter.parent if out is None else out
    names = [f"{adapter.stem}-{text.replace('=', '')}.safetensors" for text in to]
    outs = [out] if out is not None and len(to) == 1 else [folder / name for name in names]
    made = resize(adapter, targets, outs, blocks=own, precision=precision, overwrite=overwrite)
    if json:
        print(dumps([asdict(one) for one in made], default=str, ensure_ascii=False, indent=1))
    else:
        show_merging.resized(made)
