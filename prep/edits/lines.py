"""`prep edit --open`: captions as lines of a text, `md5 | caption`, in the person's own editor."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from prep import caption
from prep.edits.edit import opened
from prep.edits.find import Captions
from prep.edits.three_way import Said, as_text, sentences_of
from prep.imports.texts import decoded
from schemas.errors import DatasetError, Failure, UsageError
from schemas.files import write_text
from schemas.tables import GIVEN_OUT

GIVEN = "captions.parquet"  # beside the text: the captions as they were written there
LINE = re.compile(r"([0-9a-f]{32})\s*\|(?!\|)(.*)")
HEAD = """\
# Each line is an image and its caption: md5 | caption. Save and close the editor when you are done.
# "|||" parts a fixed head and tail from the rest. A line that is taken away changes nothing.
"""


def write_lines(root: Path, query: str) -> Path:
    """Write the captions that a query finds into a text of its own; return its path.

    Raises QueryError or DatasetError.
    """
    dataset = opened(root)
    captions = Captions.of(dataset)
    rows = captions.found(query)
    if not len(rows):
        raise DatasetError(f'{root}: no image has a caption that "{query}" finds')
    table = caption.captions_of(dataset.recipe.caption, captions.now).take(pa.array(rows))
    given: dict[str, dict[str, Any]] = {}
    for row in table.to_pylist():
        tags = [
            {"tag": tag["text"], "category": tag["category"], "part": tag["part"]}
            for tag in row["tags"]
        ]
        given.setdefault(row["md5"], {**row, "file": "", "tags": tags})
    text = Path(tempfile.mkdtemp(prefix="kiroku-edit-")) / "captions.txt"
    GIVEN_OUT.write(
        text.with_name(GIVEN), pa.Table.from_pylist(list(given.values()), schema=GIVEN_OUT.schema)
    )
    lines = (f"{md5} | {as_text(row['tags'])}" for md5, row in given.items())
    write_text(text, "\n".join([HEAD, *lines, ""]))
    return text


def open_editor(text: Path) -> None:
    """Let the person edit the file until the editor ends. Raises UsageError or Failure."""
    words = editor()
    try:
        status = subprocess.run([*words, str(text)], check=False).returncode
    except OSError as error:
        raise UsageError(
            f"the editor {words[0]} cannot be started ({error.strerror}): set EDITOR to another"
        ) from None
    if status:
        raise Failure(
            f"the editor {words[0]} ended with status {status}: nothing is changed;"
            f" what was saved is in {text}, and `prep edit --from` that file takes it"
        )


def editor() -> list[str]:
    """Return the person's editor and its arguments: $VISUAL, $EDITOR, or one that is there."""
    for name in ("VISUAL", "EDITOR"):
        if given := os.environ.get(name, "").strip():
            if os.name != "nt":
                return shlex.split(given)
            return [word.strip('"') for word in shlex.split(given, posix=False)]
    if os.name == "nt":
        return ["notepad"]
    for name in ("nano", "vi"):
        if found := shutil.which(name):
            return [found]
    raise UsageError("no editor is set, and neither nano nor vi is there: set EDITOR")


def pairs(text: Path) -> Iterator[tuple[str, Said, Said]]:
    """Yield md5, what was written, and what was saved, of each line that was changed.

    Raises DatasetError naming the line that cannot be understood.
    """
    path = text.with_name(GIVEN)
    if not path.is_file():
        raise DatasetError(f"{path} is missing, which tells what was changed in {text.name}")
    given = {row["md5"]: row["tags"] for row in GIVEN_OUT.read(path).to_pylist()}
    found = []
    for number, line in enumerate(decoded(text.read_bytes())[0].splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not (parts := LINE.fullmatch(line.strip())):
            raise _wrong(text, number, 'is not "md5 | caption"')
        if (tags := given.get(parts[1])) is None:
            raise _wrong(text, number, f"names image {parts[1]}, which was not among those shown")
        if parts[2].strip() != as_text(tags):
            try:
                saved = Said.in_text(parts[2], sentences_of(tags))
                found.append((parts[1], Said.in_tags(tags), saved))
            except UsageError as error:
                raise _wrong(text, number, f"is no caption: {error}") from None
    yield from found


def _wrong(text: Path, number: int, why: str) -> DatasetError:
    return DatasetError(
        f"{text}, line {number}, {why}: nothing is changed; mend the line,"
        f" then `prep edit --from {text}` takes the captions"
    )
