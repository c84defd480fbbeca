"""`train convert`: a command or file of sd-scripts as train.toml; nothing in it is lost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from schemas.recipes.blank import blanks
from schemas.recipes.write import inline_value
from train.convert.draft import Draft, nested
from train.convert.settings import Folder, Settings, read_settings
from train.convert.translate import translate

COLUMN = 40  # where comments start, if the line leaves room
LAUNCHER = {
    "num_processes": "several cards: torchrun --nproc-per-node N -m train train.toml",
    "multi_gpu": "several cards: torchrun --nproc-per-node N -m train train.toml",
}
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".avif")


@dataclass(frozen=True)
class Converted:
    """A recipe, and what became of everything else that was given."""

    recipe: dict[str, Any]  # as train.toml has it
    origins: dict[str, str]  # dotted key -> what it came from
    commands: tuple[str, ...]  # that bring the images into a dataset
    notes: tuple[str, ...]
    unneeded: tuple[tuple[str, str], ...]  # as written, why it is not needed
    instead: tuple[tuple[str, str], ...]  # as written, what there is instead
    unknown: tuple[str, ...]  # as written, not understood
    open: tuple[tuple[str, str], ...]  # dotted key, what a person has to fill in

    def text(self) -> str:
        """Return train.toml, with what was not translated in comments above it."""
        return "\n".join([*_head(self), "", *_body(self)]) + "\n"


def convert(text: str, folder: Path = Path()) -> Converted:
    """Convert a pasted command line, a --config_file or a --dataset_config of sd-scripts.

    `folder`: where files that it names are looked for. Raises UsageError.
    """
    settings = read_settings(text, folder)
    draft = translate(settings, _per_epoch(settings.folders))
    recipe = nested(draft.values)
    for setting in settings.launcher:
        name = setting.written.lstrip("-").partition("=")[0].split()[0]
        why = LAUNCHER.get(name, "there is no launcher: `train train.toml` starts by itself")
        draft.unneeded.append((setting.written, why))
    return Converted(
        recipe=recipe,
        origins=draft.origins,
        commands=tuple(_commands(draft, settings)),
        notes=(*settings.notes, *draft.notes),
        unneeded=tuple(draft.unneeded),
        instead=tuple(draft.instead),
        unknown=tuple(setting.written for setting in draft.left.values()),
        open=tuple((".".join(where), what) for where, what in blanks(recipe)),
    )


def _commands(draft: Draft, settings: Settings) -> Iterator[str]:
    """The commands that make a dataset folder of the images."""
    name = _name(draft.values["out"])
    learnt = [folder for folder in settings.folders if not folder.is_reg]
    if learnt:
        yield f'prep init {_quoted(name)} --from "{learnt[0].path}"'
    for folder in [*learnt, *(one for one in settings.folders if one.is_reg)]:
        options = " --role reg" if folder.is_reg else ""
        options += f" --repeats {folder.repeats}" if folder.repeats > 1 else ""
        yield f'prep import {_quoted(name)} "{folder.path}"{options}'


def _name(out: str) -> str:
    """The dataset folder is called as the run is."""
    return PurePosixPath(out).name


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


def _per_epoch(folders: Sequence[Folder]) -> int:
    """Images times repeats, where all folders are on this machine; as sd-scripts counts them.

    With regularization images it shows as many of them as of the others.
    """
    counts = {False: 0, True: 0}
    for folder in folders:
        path = Path(folder.path)
        if not path.is_dir():
            return 0
        inner = [(path, folder.repeats)] if folder.repeats else _repeated(path)
        counts[folder.is_reg] += sum(_images(one) * repeats for one, repeats in inner)
    return counts[False] * (2 if counts[True] else 1)


def _repeated(path: Path) -> list[tuple[Path, int]]:
    """Folders named `4_azusa`, and how often each is seen."""
    inner = [(one, one.name.partition("_")[0]) for one in sorted(path.iterdir()) if one.is_dir()]
    return [(one, int(number)) for one, number in inner if number.isdigit()]


def _images(path: Path) -> int:
    return sum(file.suffix.lower() in IMAGES for file in path.iterdir())


def _head(converted: Converted) -> Iterator[str]:
    yield "# train.toml: converted from a training with sd-scripts."
    name = _name(converted.recipe["out"])
    if converted.commands:
        yield "#"
        yield "# First bring the images into a dataset folder, then put this file there in place of"
        yield "# its train.toml:"
        yield from (f"#     {command}" for command in converted.commands)
        yield f"#     prep run {_quoted(name)}"
    parts: Sequence[tuple[str, Sequence[str]]] = (
        (
            "To be filled in, or training refuses",
            [f"{key}: {what}" for key, what in converted.open],
        ),
        ("NOT UNDERSTOOD, and left out", converted.unknown),
        ("Not here", [f"{written}: {what}" for written, what in converted.instead]),
        ("To know", converted.notes),
        ("Not needed", [f"{written}: {why}" for written, why in converted.unneeded]),
    )
    for title, lines in parts:
        if lines:
            yield "#"
            yield f"# {title}:"
            yield from (f"#   {line}" for one in lines for line in one.splitlines())


def _body(converted: Converted) -> Iterator[str]:
    tables = []
    for key, value in converted.recipe.items():
        if isinstance(value, dict):
            tables.append((key, value))
        else:
            yield _line(key, value, converted.origins.get(key, ""))
    for name, table in tables:
        yield ""
        yield f"[{name}]"
        blocks = table.get("block", {})
        for key, value in table.items():
            if key != "block":
                yield _line(key, value, converted.origins.get(f"{name}.{key}", ""))
        if blocks:
            yield ""
            yield f"[{name}.block]"
            yield from (f'"{block}" = {inline_value(value)}' for block, value in blocks.items())


def _line(key: str, value: Any, origin: str) -> str:
    line = f"{key} = {inline_value(value)}"
    if not origin:
        return line
    return f"{line.ljust(COLUMN)} # {' '.join(origin.split())}"
