"""Writes the page of every experiment of a dataset, and the log that names them all."""

from pathlib import Path

from prep.report.comparison.index import Entry, index
from prep.report.comparison.page import page
from schemas.errors import DataError
from schemas.experiment_results import read_result
from schemas.files import write_text

FOLDER = "experiments"  # of a dataset
INDEX = "index.html"


def write_pages(root: Path) -> list[Path]:
    """Write experiments/<name>.html beside each .json of a dataset, then the log; return them.

    Results that cannot be read are told in the log and have no page.
    """
    folder = root / FOLDER
    written, entries, broken = [], [], []
    for path in sorted(folder.glob("*.json")):
        try:
            result = read_result(path)
        except DataError as error:
            broken.append((path, error))
            continue
        entry = Entry(result, path.with_suffix(".html"), path.stat().st_mtime)
        write_text(entry.page, page(result, root, entry.date))
        written.append(entry.page)
        entries.append(entry)
    entries.sort(key=lambda entry: (-entry.time, entry.page.name))
    write_text(folder / INDEX, index(root, entries, broken))
    return [*written, folder / INDEX]
