"""What became of edits that found nothing to change, and of images that edits left out."""

import json
from pathlib import Path

import numpy as np

from prep.captions.columns import Bools, Images
from prep.dataset import Dataset
from prep.edits.apply import Conflicts
from prep.edits.operations import Standing
from prep.seals import Drop
from schemas.files import write_text
from schemas.progress import say

EXCLUDED = "excluded by an edit"
SHOWN = 3  # tags named in a told line


def path_of(root: Path) -> Path:
    """Where the conflicts of the last captions are listed, a line for each."""
    return root / "reports" / "edit_conflicts.jsonl"


def remains(standing: Standing) -> Bools:
    """Return which images are not excluded."""
    mask = np.ones(len(standing.written), bool)
    mask[list(standing.excluded)] = False
    return mask


def excluded(standing: Standing, images: Images) -> list[Drop]:
    """Return a drop for each image that a person took out of its set, with the reason given."""
    return [
        Drop(images.sets[n], images.md5s[n], EXCLUDED, reason)
        for n, reason in sorted(standing.excluded.items())
    ]


def report(dataset: Dataset, found: Conflicts, images: Images, waiting: int) -> None:
    """List the edits that no longer apply, and tell how many there are.

    waiting: images that edits name and that no set has now.
    """
    path = path_of(dataset.root)
    if len(found) or path.exists():
        rows = zip(found.entry.tolist(), found.image.tolist(), found.tag, strict=True)
        lines = [
            {"edit": entry, "set": images.sets[n], "md5": images.md5s[n], "tag": tag,
             "why": "the tag is not there"}
            for entry, n, tag in rows
        ]  # fmt: skip
        write_text(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
    if len(found):
        tags = list(dict.fromkeys(found.tag))
        shown = ", ".join(tags[:SHOWN]) + (", ..." if len(tags) > SHOWN else "")
        say(
            f"caption: {len(set(found.entry.tolist()))} edits find their tag ({shown}) gone from"
            f" {len(set(found.image.tolist()))} images: {path.relative_to(dataset.root).as_posix()}"
        )
    if waiting:
        say(f"caption: edits of {waiting} images wait, which get no captions now")


def counted(root: Path) -> dict[int, int]:
    """Return for each edit how many conflicts it had when captions were last made."""
    try:
        lines = path_of(root).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    found: dict[int, int] = {}
    for line in lines:
        entry = int(json.loads(line)["edit"])
        found[entry] = found.get(entry, 0) + 1
    return found
