"""Progress: silent for libraries, plain lines in a log, a bar on a terminal; never on stdout."""

import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from schemas import progress


@pytest.fixture(autouse=True)
def silent_before_and_after() -> Iterator[None]:
    progress._console = None
    yield
    progress._console = None


def test_nothing_is_seen_until_a_command_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    progress.say("using the CPU")
    with progress.task("hashing", 2, "images") as advance:
        advance()
        advance(1, note="one of them is broken")
    assert capsys.readouterr() == ("", "")


def test_said_lines_go_to_stderr_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    progress.show()
    long = "word " * 60 + "[bold]end[/bold]"
    progress.say(long)
    assert capsys.readouterr() == ("", long + "\n")


def test_a_log_gets_one_line_at_the_end_of_a_short_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress.show()
    with progress.task("dedup: hashing", 3, "images") as advance:
        advance(2)
        advance(note="1 unreadable")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"dedup: hashing: 3/3 images, [\d,]+\.\d/s, 0 s 1 unreadable\n", err)


def test_a_log_gets_a_line_now_and_then_with_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    progress.show()
    with progress.task("tag", 4, "images") as advance:
        advance()
        advance(3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"tag: 1/4 images, [\d,]+\.\d/s, 0 s, \d+ s left", lines[0])
    assert re.fullmatch(r"tag: 4/4 images, [\d,]+\.\d/s, 0 s", lines[1])


def test_a_step_of_unknown_length_counts_up(capsys: pytest.CaptureFixture[str]) -> None:
    progress.show()
    with progress.task("fetch: listing", None, "posts") as advance:
        advance(200)
    assert re.fullmatch(r"fetch: listing: 200 posts, [\d,]+\.\d/s, 0 s\n", capsys.readouterr().err)


def test_a_failed_step_prints_no_line_of_success(capsys: pytest.CaptureFixture[str]) -> None:
    progress.show()
    with pytest.raises(RuntimeError), progress.task("tag", 4, "images"):
        raise RuntimeError
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("total", [4, None])
def test_a_terminal_gets_a_bar_with_count_rate_and_note(total: int | None) -> None:
    screen = io.StringIO()
    progress._console = Console(file=screen, force_terminal=True, width=160)
    with progress.task("tag", total, "images") as advance:
        advance(3, note="cpu")
        advance()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "tag" in shown
    assert f"4/{total or '?'}" in shown
    assert "images/s" in shown
    assert "cpu" in shown


def test_a_long_note_stands_beneath_the_bar() -> None:
    screen = io.StringIO()
    progress._console = Console(file=screen, force_terminal=True, width=80)
    note = "loss 0.1234 change OUT05 1.2e-03, TE 3.0e-04"
    with progress.task("train", 4000, "steps") as advance:
        advance(note=note)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n")
    lines = [line.rstrip() for line in shown.splitlines()]
    place = lines.index(note)
    assert re.match(r"train ━+.* 1/4000 ", lines[place - 1])
    assert "left" in lines[place - 1]
