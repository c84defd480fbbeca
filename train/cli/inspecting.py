"""The command `train inspect`. Imports what it runs only when it runs."""

from pathlib import Path

from train.cli.words import Flag


def inspect(
    file: Path,
    /,
    *,
    json: Flag = False,
) -> None:
    """Show what an adapter file holds: kind, ranks, blocks and how much each changes, tags.

    Reads LoRA, LoCon, DoRA, LoHa, LoKr and DyLoRA files of kiroku, sd-scripts, LyCORIS, diffusers
    and peft. No model is loaded.

    Parameters
    ----------
    file
        The adapter, or a folder that peft or diffusers wrote.
    json
        Print everything, all metadata and tags included, as one JSON object.
    """
    from dataclasses import asdict
    from json import dumps

    from train.cli import show_inspect
    from train.inspect import inspect as inspected

    found = inspected(file)
    if json:
        print(dumps(asdict(found), ensure_ascii=False, indent=1))
    else:
        show_inspect.inspection(found)
