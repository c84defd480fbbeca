"""The documentation tells the truth: commands as they are, links that lead somewhere."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_commands_page_is_what_help_says() -> None:
    spec = importlib.util.spec_from_file_location("make_commands", ROOT / "docs/make_commands.py")
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    stale = "run `python docs/make_commands.py`"
    assert (ROOT / "docs/commands.md").read_text(encoding="utf-8") == page.commands(), stale


def test_every_command_is_in_the_readme() -> None:
    from prep.cli import app

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [name for name in app if not name.startswith("-")]
    assert names
    assert [name for name in names if f"prep {name}" not in readme] == []


def test_links_between_our_files_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
