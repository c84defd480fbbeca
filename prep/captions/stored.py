"""The table of captions read as it is stored: words as codes, which is a tenth of the work."""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError

_TAG = "tags.list.element."
_WORDS = [f"{_TAG}{name}" for name in ("tag", "text", "category", "source", "part")]
CODED = [*_WORDS, f"{_TAG}rules.list.element"]


def blocks(path: Path, columns: Sequence[str]) -> Generator[pa.Table, None, None]:
    """Yield these columns of the captions in their order, as many at a time as were written so.

    The words of tags are dictionary-coded. The file is closed when the last block was asked for, or
    the generator is: no file can be replaced on Windows that is open. Raises DataError where it is
    no such table.
    """
    try:
        opened = pq.ParquetFile(path, read_dictionary=CODED)
    except (pa.ArrowInvalid, KeyError):  # of the first column that is not there
        raise DataError(f"{path} is no table of captions: `prep caption` makes it anew") from None
    with closing(opened) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns).combine_chunks()
