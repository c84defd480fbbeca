"""Writes docs/commands.md from the commands' own --help: `python docs/make_commands.py`."""

import contextlib
import io
from pathlib import Path

from cyclopts import App

from prep.cli import app as prep
from train.cli import app as train

TARGET = Path(__file__).parent / "commands.md"
HEAD = """# Commands

Made from `--help` by `python docs/make_commands.py`; a test keeps it true.
"""


def commands() -> str:
    """Return the page: the help of each command, in the order in which `--help` lists them."""
    parts = [HEAD]
    for app in (prep, train):
        parts.append(_section(app, []))
        parts += [_section(app, [name]) for name in app if not name.startswith("-")]
    return "\n".join(parts)


def _section(app: App, words: list[str]) -> str:
    from rich.console import Console

    shown = io.StringIO()
    console = Console(file=shown, width=88, no_color=True, force_terminal=False)
    with contextlib.redirect_stdout(shown):
        app.help_print(words, console=console)
    text = "\n".join(line.rstrip() for line in shown.getvalue().splitlines()).strip()
    return f"## {' '.join([app.name[0], *words])}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    TARGET.write_text(commands(), encoding="utf-8", newline="\n")
