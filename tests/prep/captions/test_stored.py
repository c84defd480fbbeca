"""Stored captions read as codes: the same words, whatever they were stored as."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prep.captions.stored import blocks
from schemas.errors import DataError
from schemas.tables import CAPTIONS, GROUPS


def captions(count: int, first: int, text: str) -> pa.Table:
    rows: list[dict[str, Any]] = [
        {
            "set": "main", "md5": f"{first + n:032x}", "caption": "",
            "tags": [
                {"tag": "hat", "text": text.format(n), "category": "general", "source": "booru",
                 "part": "flex", "rules": ["rename", "edits"][: n % 3]}
            ] * (n % 2 + 1),
        }
        for n in range(count)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=CAPTIONS.schema)


def test_words_are_read_as_codes_also_where_texts_are_too_many_to_be_stored_so(
    tmp_path: Path,
) -> None:
    path = tmp_path / "captions.parquet"
    written = [captions(50, 0, "hat"), captions(2000, 50, "x" * 900 + "{}")]
    CAPTIONS.write_blocks(path, written)
    read = list(blocks(path, CAPTIONS.schema.names))
    for block, table in zip(read, written, strict=True):
        assert pa.types.is_dictionary(block["tags"].chunk(0).flatten().field("text").type)
        assert block.to_pylist() == table.to_pylist()


def test_what_is_no_table_of_captions_is_told(tmp_path: Path) -> None:
    path = tmp_path / "captions.parquet"
    GROUPS.write(path, GROUPS.empty())
    with pytest.raises(DataError) as error:
        next(blocks(path, ["set"]))
    told = f"{path} is no table of captions: `prep caption` makes it anew"
    assert str(error.value) == told
