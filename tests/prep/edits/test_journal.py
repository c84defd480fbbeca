"""The journal of edits: what is written outlives any kill, and what is torn is kept apart."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prep.edits.journal import FILE, TORN, Change, EditTag, Entry, append, read
from schemas.errors import DataError

WRITER = """
import sys
from pathlib import Path
from prep.edits.journal import Change, EditTag, Entry, append
for number in range(10**6):
    images = tuple(f"{number:032x}" for _ in range(200))
    change = Change("add", images, (EditTag("hat"),))
    entry = append(Path(sys.argv[1]), Entry(0, "", "x", (change,)))
    print(entry.id, flush=True)
"""


def entry(*images: str, **rest: tuple[int, ...]) -> Entry:
    changes = (Change("add", images, (EditTag("hat", part="head"),), "", {"a": ("b",)}),)
    return Entry(0, "", "words “…”", () if rest else changes, **rest)


def test_entries_are_read_as_they_were_written(tmp_path: Path) -> None:
    first, second = append(tmp_path, entry("a")), append(tmp_path, entry("b"))
    assert (first.id, second.id) == (1, 2)
    assert read(tmp_path).entries == (first, second)
    undone = append(tmp_path, entry(undo=(2, 1)))
    assert read(tmp_path).counting == []
    append(tmp_path, entry(redo=(1,)))
    held = read(tmp_path)
    assert (held.done, held.undone, held.counting) == ((1,), (2,), [first])
    assert undone in held.entries


def test_a_line_cut_anywhere_never_was_and_is_kept_apart(
    tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    append(tmp_path, entry("a"))
    path = tmp_path / FILE
    whole = path.read_bytes()
    append(tmp_path, entry("b"))
    both = path.read_bytes()
    for end in range(len(whole) + 1, len(both)):
        (tmp_path / TORN).unlink(missing_ok=True)
        path.write_bytes(both[:end])
        missing_line_end = end == len(both) - 1
        assert len(read(tmp_path).entries) == 1 + missing_line_end
        third = append(tmp_path, entry("c"))
        assert third.id == 2 + missing_line_end
        assert read(tmp_path).entries[-1] == third
        kept = (tmp_path / TORN).read_bytes() if (tmp_path / TORN).exists() else b""
        assert kept == (b"" if missing_line_end else both[len(whole) : end] + b"\n")
        said = "edit: a command was killed while it wrote its edit: what there is of it is in"
        assert told() == ([] if missing_line_end else [f"{said} {tmp_path / TORN}"])


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    append(tmp_path, entry("a"))
    path = tmp_path / FILE
    path.write_text(path.read_text() + '{"id": 2, "do": "what"}\n')
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert str(error.value) == (
        f"{path}, line 2, is no edit: mend the line, or remove it to do without its edit"
    )


@pytest.mark.slow
def test_what_a_killed_process_has_told_is_there(tmp_path: Path) -> None:
    last = 0
    for pause in (0.0, 0.01, 0.03, 0.07):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        told = [process.stdout.readline()]
        time.sleep(pause)
        process.kill()
        told += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        ids = [int(line) for line in told if line.endswith("\n")]
        assert ids[0] == last + 1
        written = [one.id for one in read(tmp_path).entries]
        assert written == list(range(1, len(written) + 1))
        assert len(written) in (ids[-1], ids[-1] + 1)  # it may have been killed before it told
        last = len(written)
