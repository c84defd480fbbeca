"""Writes the page of every experiment of a dataset, and the log that names them all."""

from pathlib import Path

from prep.report.comparison.index import Entry, index
from prep.report.comparison.models import paths_of
from prep.report.comparison.page import page
from prep.report.comparison.seeds import choose
from schemas.errors import DataError
from schemas.experiment_results import FOLDER, read_result
from schemas.files import fingerprint, sha256_of, write_text

INDEX = "index.html"
MAKERS = Path(__file__).parents[1]  # what pages are made by


def write_pages(root: Path) -> list[Path]:
    """Write experiments/<name>.html beside each .json of a dataset, then the log; return them.

    A page stays as it is while its results, its pictures and what makes pages are what they were.
    Results that cannot be read are told in the log and have no page.
    """
    folder = root / FOLDER
    makers = sha256_of(*sorted(file for file in MAKERS.rglob("*.*") if file.suffix != ".pyc"))
    entries, broken = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            entry = Entry(read_result(path), path.with_suffix(".html"), path.stat().st_mtime)
        except DataError as error:
            broken.append((path, error))
            continue
        entries.append(entry)
        end = f"<!-- made of {fingerprint(makers, sha256_of(path), _pictures(entry, root))} -->\n"
        if not _ends_with(entry.page, end):
            write_text(entry.page, page(entry.result, root, entry.date) + end)
    entries.sort(key=lambda entry: (-entry.time, entry.page.name))
    write_text(folder / INDEX, index(root, entries, broken))
    return [*(entry.page for entry in entries), folder / INDEX]


def _pictures(entry: Entry, root: Path) -> list[object]:
    """What tells whether a page's pictures, and its date, are what they were."""
    found: list[object] = [entry.date]
    for path in paths_of(entry.result, choose(entry.result)):
        file = root / path
        known = file.stat() if file.is_file() else None
        found.append(known and (path, known.st_size, known.st_mtime_ns))
    return found


def _ends_with(page: Path, end: str) -> bool:
    if not page.is_file() or page.stat().st_size < len(end):
        return False
    with page.open("rb") as file:
        file.seek(-len(end), 2)
        return file.read() == end.encode()
