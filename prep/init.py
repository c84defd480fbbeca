"""`prep init`: a dataset folder with its two recipes, set for what the adapter is to learn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from prep.imports.layout import Part, parts, seen_from
from prep.imports.trigger import leading
from prep.query.ast import Query, Tag, clauses
from prep.query.parse import parse
from schemas.errors import DatasetError, UsageError
from schemas.files import write_text
from schemas.recipes.load import PREP_FILE, TRAIN_FILE
from schemas.recipes.prep import PrepRecipe
from schemas.recipes.shipped import Shipped, shipped
from schemas.recipes.train import ModelKind, ReloraSection, TrainRecipe
from schemas.recipes.write import to_toml

Like = Literal["character", "style", "background", "situation", "object"]

CHARACTERS: Mapping[ModelKind, Shipped] = {"sd15": "character-sd15", "sdxl": "character-sdxl"}

# keys that few will touch: left at their defaults, unwritten
HIDDEN = (
    *("tag.combine", "tag.weight", "tag.artist", "tag.copyright", "tag.meta", "tag.rating"),
    *("tag.top", "caption.rules", "caption.collapse.into", "caption.quality.by"),
    *("caption.quality.settle", "caption.rating.g", "caption.rating.s", "caption.rating.q"),
    *("caption.rating.e", "caption.render.prefix", "caption.render.suffix"),
    "caption.render.sentence",
    *("model.kind", "model.zero_terminal_snr", "sets", "sample.sampler"),
    *(f"relora.{key}" for key in ReloraSection.model_fields),
)
HEADS = {
    PREP_FILE: "where images come from, and how they are captioned",
    TRAIN_FILE: "what is trained, on what, and how long",
}


@dataclass(frozen=True)
class Kind:
    """How captions are made for one kind of adapter; its training is a shipped recipe."""

    caption: Mapping[str, Any] = field(default_factory=dict)
    triggered: bool = True  # whether it is called by a word


KINDS: Mapping[Like, Kind] = {
    # fixed features go into the trigger
    "character": Kind(caption={"collapse": {"tags": "found"}}),
    "style": Kind(triggered=False),
    "background": Kind(),
    "situation": Kind(),
    "object": Kind(caption={"rename": {"aiming at viewer": "aav"}}),
}


def init(
    folder: Path,
    *,
    query: str = "",
    source: Path | None = None,
    site: str = "",
    base: str = "",
    model: ModelKind = "sd15",
    like: Like = "character",
    trigger: str = "",
) -> tuple[Path, Path]:
    """Write prep.toml and train.toml; return their paths. An existing recipe is never replaced.

    `model` is the kind of `base`. `trigger` is found when it is not given: from the query, or as
    the tag that leads the captions of all images of a folder.

    Raises UsageError, QueryError or DatasetError.
    """
    if bool(query.strip()) == bool(source):
        raise UsageError("give one of --query and --from: where should the images come from?")
    if source is not None and not source.is_dir():
        raise DatasetError(f"{source} is no folder: --from takes a folder of images")
    asked = parse(query) if query.strip() else None
    kind = KINDS[like]
    found = _parts(source) if source else []
    name = trigger
    if kind.triggered and not trigger:
        learnt = [part.folder for part in found if part.role == "train"]
        name = _subject(asked) if asked else leading(learnt)
    prep = _prep(folder, kind, query, found, site, name)
    # a path is named from where the person stands, but read from where train.toml lies
    base = seen_from(folder, Path(base)) if base and Path(base).exists() else base
    settings = shipped(CHARACTERS[model] if like == "character" else like)
    train = _train(settings, base, name, folder.resolve().name)
    return write_recipes(folder, prep, train)


def write_recipes(folder: Path, prep: PrepRecipe, train: TrainRecipe) -> tuple[Path, Path]:
    """Write both recipes with a comment on every key. Raises DatasetError where one is already."""
    files = folder / PREP_FILE, folder / TRAIN_FILE
    for file in files:
        if file.exists():
            raise DatasetError(f"{file} is there already: edit it, or choose another folder")
    for file, recipe in zip(files, (prep, train), strict=True):
        head = f"# {file.name}: {HEADS[file.name]}.\n"
        head += "# A key that is not here has its default; an unknown key is refused.\n\n"
        write_text(file, head + to_toml(recipe, hidden=HIDDEN))
    return files


def _prep(
    folder: Path, kind: Kind, query: str, found: Sequence[Part], site: str, trigger: str
) -> PrepRecipe:
    sets: dict[str, Any] = {part.name: part.section(folder) for part in found}
    caption: dict[str, Any] = {
        "trigger": trigger,
        "quality": {"masterpiece": 60, "best quality": 18, "high quality": 6},
        **kind.caption,
    }
    if not trigger:
        caption.pop("collapse", None)
    values: dict[str, Any] = {"sets": sets or {"main": {"query": query}}, "caption": caption}
    if site:
        values["fetch"] = {"site": site}
    return PrepRecipe.model_validate(values)


def _parts(source: Path) -> list[Part]:
    """The sets that a folder holds; a single one to train on is the main one."""
    found = parts(source)
    if sum(part.role == "train" for part in found) > 1:
        return found
    return [replace(part, name="main") if part.role == "train" else part for part in found]


def _train(values: Mapping[str, Any], base: str, trigger: str, name: str) -> TrainRecipe:
    prompt = ", ".join(filter(None, ["1girl", trigger, "smile", "outdoors"]))
    sample = {"prompts": [prompt], "negative": "worst quality, lowres"}
    return TrainRecipe.model_validate(
        {
            **values,
            "out": f"runs/{name}",
            "model": {"path": base} if base else values["model"],
            "sample": {**values.get("sample", {}), **sample},
        }
    )


def _subject(query: Query) -> str:
    """The first plain tag of a query, as words: what the pictures have in common."""
    tags = (node.name for node in clauses(query.where) if isinstance(node, Tag))
    return next((name.replace("_", " ") for name in tags), "")
