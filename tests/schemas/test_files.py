"""Files are whole or as they were; the same values have the same bytes and names."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DiskError
from schemas.files import (
    ASIDE,
    fingerprint,
    md5_of,
    sha256_of,
    write_bytes,
    write_json,
    write_text,
    writing,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def broken_off(path: Path, fault: BaseException) -> None:
    with writing(path) as aside:
        aside.write_text("half")
        raise fault


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "c.bin", b"\0\1")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"\0\1"
    assert names(tmp_path / "a" / "b") == ["c.bin"]


def test_an_old_file_is_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "a longer text")
    write_text(tmp_path / "a.txt", "ümlaut\n")
    assert (tmp_path / "a.txt").read_bytes() == "ümlaut\n".encode()
    assert names(tmp_path) == ["a.txt"]


def test_until_the_block_ends_the_old_file_stands(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with writing(file) as aside:
        aside.write_text("new")
        assert file.read_text() == "old"
        assert aside.parent == file.parent
        assert aside.name.startswith("a.txt.")
        assert aside.name.endswith(ASIDE)
    assert file.read_text() == "new"


@pytest.mark.parametrize("fault", [RuntimeError("x"), KeyboardInterrupt(), OSError("x")])
def test_a_fault_in_the_block_leaves_the_old_file_and_nothing_aside(
    tmp_path: Path, fault: BaseException
) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with pytest.raises(type(fault)):
        broken_off(file, fault)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told(tmp_path: Path, code: int) -> None:
    file = tmp_path / "a.txt"
    with pytest.raises(DiskError) as told:
        broken_off(file, OSError(code, os.strerror(code)))
    assert str(told.value) == (
        f"no space left to write {file}: free some, then run the command again"
    )
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_missing_permission_is_told(tmp_path: Path, code: int) -> None:
    file = tmp_path / "a.txt"
    with pytest.raises(DiskError) as told:
        broken_off(file, OSError(code, os.strerror(code)))
    assert str(told.value) == (
        f"no permission to write {file}: change it, or choose another folder"
    )


def test_a_parent_that_is_a_file_is_the_fault_that_is_told(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "file" / "a.txt", "text")


@settings(deadline=None)
@given(st.dictionaries(st.text(), values, max_size=5))
def test_the_order_of_keys_changes_neither_bytes_nor_name(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert fingerprint(value) == fingerprint(turned)
    assert len(fingerprint(value)) == 16
    assert set(fingerprint(value)) <= set("0123456789abcdef")


def test_json_of_equal_values_is_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, "é"], "a": None})
    write_json(tmp_path / "b.json", {"a": None, "b": [1, "é"]})
    expected = '{\n "a": null,\n "b": [\n  1,\n  "é"\n ]\n}\n'
    assert (tmp_path / "a.json").read_bytes() == expected.encode()
    assert (tmp_path / "b.json").read_bytes() == expected.encode()


def test_fingerprints_tell_values_and_their_grouping_apart() -> None:
    shaped = [(), (1,), ("1",), (1, 2), ([1, 2],), ([1], 2), (None,), ({"a": 1},), (1.5,), (True,)]
    assert len({fingerprint(*parts) for parts in shaped}) == len(shaped)


def test_a_fingerprint_stays_the_same_from_version_to_version() -> None:
    """It names folders on users' disks: another value here would make all their work anew."""
    canonical = b'["wd14",{"a":1,"b":[0.5,null]}]'
    expected = hashlib.sha256(canonical).hexdigest()[:16]
    assert fingerprint("wd14", {"b": [0.5, None], "a": 1}) == expected


def test_names_of_bytes(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 7)  # more than is read at once
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(b"tail")
    assert md5_of(tmp_path / "a") == hashlib.md5(data).hexdigest()
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    both = sha256_of(tmp_path / "a", tmp_path / "b")
    assert both == hashlib.sha256(data + b"tail").hexdigest()
