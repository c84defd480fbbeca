"""What was set, wherever it stood: options of a command, or keys of sd-scripts' two TOML files."""

import ast
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from schemas.errors import UsageError
from train.convert.words import words

SCRIPTS = {"train_network.py": "sd15", "sdxl_train_network.py": "sdxl"}
FLAG = re.compile(r"--?[A-Za-z]\w*")
OPTION = re.compile(r"--?([A-Za-z][\w-]*)(?:=(.*))?", re.DOTALL)
LISTS = ("network_args", "optimizer_args", "lr_scheduler_args", "text_encoder_lr", "base_weights")
# single letters of argparse's that sd-scripts defines, and former names
OTHER_NAMES = {"o": "output_dir", "pretrained_model": "pretrained_model_name_or_path"}
OF_SUBSETS = ("image_dir", "num_repeats", "is_reg", "class_tokens", "metadata_file")


@dataclass(frozen=True)
class Setting:
    """One value, and how it was written."""

    value: Any  # str, bool, int, float, or a list of them
    written: str


@dataclass(frozen=True)
class Folder:
    """A folder of images that the training read."""

    path: str
    is_reg: bool = False
    repeats: int = 0  # 0: as the folders' names tell


@dataclass(frozen=True)
class Settings:
    """Everything that was set for one training."""

    options: Mapping[str, Setting]
    launcher: Sequence[Setting] = ()  # options of accelerate, by how they were written
    folders: Sequence[Folder] = ()
    kind: str = ""  # sd15 or sdxl, where the script's name tells
    notes: Sequence[str] = field(default=())
    unread: Sequence[str] = ()  # files that are named but not here


def read_settings(text: str, folder: Path) -> Settings:
    """Return what a pasted command, a config file or a dataset file sets.

    `folder`: where files that a command names are looked for. Raises UsageError where the text is
    none of the three.
    """
    if not text.strip():
        raise UsageError(
            "nothing to convert: paste an `accelerate launch ... train_network.py ...` command,"
            " or name a file with one, or a TOML file of sd-scripts"
        )
    if _is_command(text):
        return _of_command(words(text), folder)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            "this is no command line (no train_network.py in it) and no TOML"
            f" ({error}): paste the whole command, or an sd-scripts TOML file"
        ) from None
    return _of_dataset(values) if "datasets" in values else _of_config(values, folder)


def _is_command(text: str) -> bool:
    return bool(re.search(r"\w+\.py\b", text)) and not re.search(r"(?m)^\s*\[", text)


def _of_command(given: list[str], folder: Path) -> Settings:
    place = next((n for n, word in enumerate(given) if word.lower().endswith(".py")), None)
    if place is None:
        raise UsageError("the command names no script: paste it whole, train_network.py included")
    script = PureWindowsPath(given[place]).name.lower()
    if script not in SCRIPTS:
        raise UsageError(
            f"{script} does not train a LoRA for SD1.5 or SDXL: train_network.py and"
            " sdxl_train_network.py can be converted"
        )
    launcher, _ = _options(given[:place])
    options, stray = _options(given[place + 1 :])
    notes = [f'"{word}" stands alone in the command and was left out' for word in stray]
    own = Settings(
        options,
        launcher=list(launcher.values()),
        kind=SCRIPTS[script],
        notes=notes,
    )
    return _with_files(own, folder)


def _options(given: list[str]) -> tuple[dict[str, Setting], list[str]]:
    """The options and their values, and the words that belong to none."""
    options: dict[str, Setting] = {}
    stray: list[str] = []
    place = 0
    while place < len(given):
        match = OPTION.fullmatch(given[place])
        place += 1
        if match is None:
            stray.append(given[place - 1])
            continue
        name = OTHER_NAMES.get(match[1], match[1]).replace("-", "_")
        values = [] if match[2] is None else [match[2]]
        start = place
        while place < len(given) and not FLAG.match(given[place]):
            if values and name not in LISTS:
                break
            values.append(given[place])
            place += 1
        written = " ".join([given[start - 1], *given[start:place]])
        options[name] = Setting(_value(name, values), written)
    return options, stray


def _value(name: str, values: list[str]) -> Any:
    if name in LISTS:
        return values
    return values[0] if values else True


def _of_config(values: Mapping[str, Any], folder: Path) -> Settings:
    """A `--config_file`: sections are for the eye, their keys are the options."""
    options: dict[str, Setting] = {}
    for name, value in values.items():
        inner = value if isinstance(value, dict) else {name: value}
        for key, one in inner.items():
            options[key] = Setting(_listed(key, one), f"{key} = {one}")
    if not options:
        raise UsageError("the TOML file sets nothing: is it the one of sd-scripts' --config_file?")
    return _with_files(Settings(options, kind=_kind_of_config(options)), folder)


def _kind_of_config(options: Mapping[str, Setting]) -> str:
    sdxl = {"sdxl", "sdxl_cache_text_encoder_outputs", "cache_text_encoder_outputs"}
    return "sdxl" if sdxl & set(options) else ""


def _listed(name: str, value: Any) -> Any:
    return value.split() if name in LISTS and isinstance(value, str) else value


def _of_dataset(values: Mapping[str, Any]) -> Settings:
    """A `--dataset_config`: folders of images, and options for all, a dataset or a subset."""
    options: dict[str, Setting] = {}
    folders: list[Folder] = []
    notes: list[str] = []
    layers = [values.get("general", {})]
    for dataset in values["datasets"]:
        layers.append({key: one for key, one in dataset.items() if key != "subsets"})
        for subset in dataset.get("subsets", []):
            layers.append({key: one for key, one in subset.items() if key not in OF_SUBSETS})
            folders.append(_folder(subset, notes))
    for layer in layers:
        for key, value in layer.items():
            name = {"batch_size": "train_batch_size"}.get(key, key)
            held = options.get(name)
            if held is not None and held.value != value:
                notes.append(
                    f"{key} differs between datasets ({held.value}, {value}): the first one is"
                    " taken; a set of its own takes another in prep.toml, and several sizes of the"
                    " same images are a list: latents.resolution = [512, 768]"
                )
            else:
                options[name] = Setting(value, f"{key} = {value}")
    return Settings(options, folders=folders, notes=notes)


def _folder(subset: Mapping[str, Any], notes: list[str]) -> Folder:
    path = str(subset.get("image_dir", ""))
    if "metadata_file" in subset:
        notes.append(
            f"the captions in {subset['metadata_file']} are read where the file lies beside the"
            " images as meta_*.json"
        )
    if "class_tokens" in subset:
        notes.append(
            f'class_tokens "{subset["class_tokens"]}" was the caption of images without one:'
            ' make it caption.trigger in prep.toml, or name the folder "4_' + "name class" + '"'
        )
    return Folder(path, bool(subset.get("is_reg", False)), int(subset.get("num_repeats", 1)))


def _with_files(own: Settings, folder: Path) -> Settings:
    """What the files that a command names set, under what the command sets itself."""
    options = dict(own.options)
    folders, notes, unread = list(own.folders), list(own.notes), list(own.unread)
    kind = own.kind
    for name in ("config_file", "dataset_config"):
        setting = options.pop(name, None)
        if setting is None:
            continue
        path = _here(str(setting.value), folder)
        if path is None:
            unread.append(str(setting.value))
            continue
        inner = read_settings(path.read_text(encoding="utf-8-sig"), path.parent)
        options = {**inner.options, **options}
        folders += inner.folders
        notes += inner.notes
        unread += inner.unread
        kind = kind or inner.kind
    for name, is_reg in (("train_data_dir", False), ("reg_data_dir", True)):
        if name in options:
            folders.append(Folder(str(options.pop(name).value), is_reg))
    return Settings(options, own.launcher, folders, kind, notes, unread)


def _here(path: str, folder: Path) -> Path | None:
    """The file of that name, with or without its ending, if it is on this machine."""
    for name in (path, f"{path}.toml", PureWindowsPath(path).name):
        if (folder / name).is_file():
            return folder / name
    return None


def stem(path: str) -> str:
    """A path's last name without its ending, from either kind of machine."""
    kind = PureWindowsPath if "\\" in path else PurePosixPath
    return kind(path).stem


def literal(text: str) -> Any:
    """A value inside `key=value` as sd-scripts reads it: a Python literal, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)
