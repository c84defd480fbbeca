"""`prep export`: the files of an export written into a folder, which may hold nothing else.

Images are hard links where the file system has them: no byte is copied, and none is lost when the
dataset is removed. But a program that writes into a file, instead of replacing it, would write into
the dataset's image as well: `copy` is for those who want to edit what is exported.
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from prep import manifest, seals
from prep.dataset import Dataset
from prep.exports.kinds import File, Kind, Row, files, fixed_tags, with_separators
from prep.folder import MADE
from schemas.errors import DatasetError
from schemas.files import ASIDE, fingerprint, link, put, write_json
from schemas.progress import say, task
from schemas.tables import CAPTIONS, GIVEN_OUT, MANIFEST
from schemas.tags import CATEGORIES, canonical

LIST = ".kiroku-export.json"  # what an export wrote: so much of its folder is ours
GIVEN = ".kiroku-captions.parquet"  # the captions as they were exported
NAMED = 3  # tags named in a told line
State = int | str  # of a file: an image's bytes, a text's fingerprint
Earlier = Mapping[str, Sequence[State]]  # by name, the states in which an export left a file


@dataclass(frozen=True)
class Exported:
    """What became of one set."""

    name: str
    images: int
    folder: Path


def export(
    dataset: Dataset, target: Path, to: Kind, *, copy: bool = False, overwrite: bool = False
) -> list[Exported]:
    """Write the manifest's images and captions into `target` as other programs read them.

    What an earlier export left there is brought up to date. `copy`: no hard links. `overwrite`:
    write into a folder that holds other things, over those of the same name; the others stay.
    Raises DatasetError.
    """
    _check(dataset, target)
    rows = _rows(dataset)
    wanted = list(files(to, _with_facts(dataset, rows) if to == "jsonl" else rows))
    earlier = _earlier(target)
    if not overwrite and (other := _other(target, earlier)):
        raise DatasetError(
            f"{target} is not empty ({other}): name another folder,"
            " or say --overwrite to write into it all the same"
        )
    _tell(rows, to)
    states: dict[str, list[State]] = {one.name: [_state(dataset, one)] for one in wanted}
    # told before, so that a kill leaves nothing that the next export takes for somebody's own
    either = earlier.keys() | states.keys()
    _note(target, {name: [*earlier.get(name, ()), *states.get(name, ())] for name in either})
    linked = _write(dataset, target, wanted, copy)
    for name in earlier.keys() - states.keys():
        _remove(target, name)
    _write_given(target, rows, wanted)
    _note(target, states)
    if linked:
        say(
            f"export: {linked} images are hard links to the dataset's own: to edit them in place,"
            " export with --copy"
        )
    counts = Counter((one.set, (target / one.name).parent) for one in wanted if one.image)
    return [Exported(name, images, folder) for (name, folder), images in sorted(counts.items())]


def _check(dataset: Dataset, target: Path) -> None:
    """Raises DatasetError where there is nothing to export, or the target cannot be."""
    own, base = dataset.root.resolve(), target.resolve()
    if base == own or any(base == own / made or own / made in base.parents for made in MADE):
        raise DatasetError(
            f"{target} is what {dataset.root} itself is made of: name a folder of its own to export"
        )
    if target.exists() and not target.is_dir():
        raise DatasetError(f"{target} is a file: name a folder to export to")
    if not dataset.manifest.is_file():
        raise DatasetError(
            f"{dataset.root} has no manifest.parquet: `prep run` makes it, and all that it needs"
        )
    seal = seals.read_seal(dataset.root, manifest.STAGE)
    if seal is None or seal.inputs != manifest.inputs(dataset):
        say("export: manifest.parquet is not up to date; `prep run` does all that is wanted")


def _rows(dataset: Dataset) -> list[Row]:
    """The manifest's rows. Raises DatasetError where an image is not there, or not what it was."""
    rows: list[Row] = MANIFEST.read(dataset.manifest).to_pylist()
    known = dataset.images.columns("bytes").to_pylist()
    sizes = {row["md5"]: row["bytes"] for row in known}
    for row in rows:
        path = dataset.root / row["path"]
        if not path.is_file():
            raise DatasetError(f"{path} is not there: `prep run` makes the manifest without it")
        if path.stat().st_size != sizes.get(row["md5"], path.stat().st_size):
            raise DatasetError(
                f"{path} is not the image that it was, something has written into it: remove it,"
                " then `prep fetch --restore` takes it again from where it came"
            )
    return rows


def _with_facts(dataset: Dataset, rows: Sequence[Row]) -> list[Row]:
    """The rows with what their post says, and all that is known of each tag."""
    posts = {row["id"]: row for row in dataset.posts.read().to_pylist()}
    post_of: dict[tuple[str, str], int] = {}
    for member in dataset.members().sort_by("post_id").to_pylist():
        post_of.setdefault((member["set"], member["md5"]), member["post_id"])
    told = {
        (row["set"], row["md5"], tag["text"]): tag
        for row in dataset.table(CAPTIONS).to_pylist()
        for tag in row["tags"]
    }
    found: list[Row] = []
    for row in rows:
        key = row["set"], row["md5"]
        tags = [_tag(told.get((*key, tag["tag"]), {}), tag) for tag in row["tags"]]
        found.append(_post_facts(posts.get(post_of.get(key, 0), {})) | dict(row) | {"tags": tags})
    return found


def _tag(told: Row, tag: Row) -> Row:
    """A tag's canonical name, its text as captions have it, and where it came from.

    `told` is empty where the manifest was edited by hand.
    """
    own = {"tag": canonical(tag["tag"]), "text": tag["tag"], "source": "", "rules": []}
    return own | dict(told) | {"category": tag["category"], "part": tag["part"]}


def _post_facts(post: Row) -> dict[str, Any]:
    """The post for JSON: its own tags apart, as those of the row are what is trained."""
    apart = ("md5", "width", "height", "variants", *CATEGORIES)
    own = {key: value for key, value in post.items() if key not in apart}
    for key in ("created_at", "updated_at"):
        if own.get(key) is not None:
            own[key] = own[key].isoformat()
    return own | {f"post_{key}": post[key] for key in CATEGORIES if key in post}


def _earlier(target: Path) -> Earlier:
    """What an export wrote here, as it says itself."""
    try:
        stored = json.loads((target / LIST).read_text(encoding="utf-8"))
        return {
            name: list(states)
            for name, states in stored["files"].items()
            if not PurePosixPath(name).is_absolute() and ".." not in name.split("/")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _other(target: Path, earlier: Earlier) -> str:
    """The first thing in the folder that no export wrote, or that was changed since."""
    for path in sorted(target.rglob("*")) if target.is_dir() else ():
        name = path.relative_to(target).as_posix()
        if path.is_dir() or name in (LIST, GIVEN) or (earlier and name.endswith(ASIDE)):
            continue
        if name not in earlier:
            return f"it holds {name}"
        is_image = any(isinstance(state, int) for state in earlier[name])
        now = path.stat().st_size if is_image else _text_state(path.read_bytes())
        if now not in earlier[name]:
            return f"{name} was changed since it was exported"
    return ""


def _state(dataset: Dataset, file: File) -> State:
    if file.image:
        return (dataset.root / file.image).stat().st_size
    return _text_state(file.data)


def _text_state(data: bytes) -> str:
    return fingerprint(data.decode("utf-8", "replace"))


def _note(target: Path, states: Earlier) -> None:
    write_json(target / LIST, {"files": states})


def _write_given(target: Path, rows: Sequence[Row], wanted: Sequence[File]) -> None:
    """Keep what was exported, so that `prep edit --from` knows what a person changed of it."""
    names = {(one.set, one.md5): one.name for one in wanted if one.image}
    given = [
        {name: row[name] for name in ("set", "md5", "caption", "tags")}
        | {"file": names[row["set"], row["md5"]]}
        for row in rows
    ]
    GIVEN_OUT.write(target / GIVEN, pa.Table.from_pylist(given, schema=GIVEN_OUT.schema))


def _tell(rows: Sequence[Row], to: Kind) -> None:
    """What a text cannot say."""
    if to not in ("kohya", "txt"):
        return
    if several := with_separators(rows):
        shown = ", ".join(f"“{text}”" for text in several[:NAMED])
        shown += f" and {len(several) - NAMED} more" if len(several) > NAMED else ""
        say(f"export: what separates tags is part of one, and parts it in a text: {shown}")
    if to == "kohya" and (head := fixed_tags(rows)):
        say(f"export: the captions have a fixed head: sd-scripts wants --keep_tokens {head}")


def _write(dataset: Dataset, target: Path, wanted: Sequence[File], copy: bool) -> int:
    """Write the files; return how many are hard links."""
    linked = 0
    for left in target.rglob(f"*{ASIDE}"):  # by a kill
        left.unlink()
    with task("export", len(wanted), "files") as advance:
        for file in wanted:
            image, place = dataset.root / file.image, target / file.name
            if not file.image:
                put(place, partial(_write_bytes, file.data))
            elif not copy and place.exists() and place.samefile(image):
                linked += 1
            elif copy or not link(image, place):
                put(place, partial(shutil.copyfile, image))
            else:
                linked += 1
            advance()
    return linked


def _write_bytes(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _remove(target: Path, name: str) -> None:
    """Remove what only the earlier export had, and folders that become empty by it."""
    place = target / name
    place.unlink(missing_ok=True)
    for folder in place.parents:
        if folder == target or any(folder.iterdir()):
            break
        folder.rmdir()
