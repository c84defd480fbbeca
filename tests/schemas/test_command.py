"""How errors of a command reach the person at the terminal."""

import errno
import re
from pathlib import Path

import pytest
from cyclopts import App

from schemas.command import run
from schemas.errors import DataError, RecipeError

TRACEBACK = re.compile(r"please report it with (.+\.log)")


def command_that(action: BaseException | None) -> App:
    app = App(name="tool")

    @app.default
    def act() -> None:
        if action is not None:
            raise action

    return app


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, 0, ""),
        (RecipeError("no such key"), 2, "tool: no such key\n"),
        (DataError("a broken table"), 1, "tool: a broken table\n"),
        (KeyboardInterrupt(), 130, ""),
        (
            OSError(errno.ENOSPC, "No space left", "big.bin"),
            1,
            "tool: no space left to write big.bin: free some\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "shut.bin"),
            1,
            "tool: no permission for shut.bin: change it\n",
        ),
    ],
)
def test_errors_become_a_sentence_and_a_status(
    error: BaseException | None, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command_that(error), []) == status
    assert capsys.readouterr() == ("", said)


def test_words_that_are_not_understood(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command_that(None), ["--nonsense"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("tool: Unknown option: --nonsense")


def test_what_nobody_foresaw_names_a_file_with_the_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(command_that(ZeroDivisionError("one\ntwo")), []) == 1
    _, err = capsys.readouterr()
    assert err.startswith("tool: this is a bug in kiroku (ZeroDivisionError: one): please report")
    assert err.count("\n") == 1
    log = Path(TRACEBACK.search(err)[1])  # type: ignore[index]
    assert "Traceback" in log.read_text(encoding="utf-8")
    log.unlink()
