"""Files in, rows out: order, one bad image as one dropped row, equal bits in any company."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taggers.images import preprocess, read
from taggers.stream import AHEAD, Dropped, stream
from taggers.wd14 import Tagger, load

COUNT = 23


@pytest.fixture
def tagger(make_tagger: Callable, networks: dict[str, Callable]) -> Tagger:
    tags = "tag_id,name,category\n" + "".join(f"{i},tag_{i},0\n" for i in range(19))
    return load(make_tagger(networks["convolution"](32, 19), tags), "cpu")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(COUNT):
        shape = (*rng.integers(20, 90, 2), 3)
        made.append(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(made[-1])
    return made


def bits(row: np.ndarray | Dropped) -> bytes:
    assert isinstance(row, np.ndarray)
    assert row.dtype == np.float32
    return row.tobytes()


def test_rows_come_in_the_order_of_the_items_with_their_keys(
    tagger: Tagger, paths: list[Path]
) -> None:
    got = list(stream(tagger, [(path.stem, path) for path in paths], workers=4))
    assert [key for key, _ in got] == [path.stem for path in paths]
    wanted = tagger.probabilities(np.stack([preprocess(read(path), 32) for path in paths]))
    assert [bits(row) for _, row in got] == [row.tobytes() for row in wanted]


def test_an_image_has_the_same_bits_alone_elsewhere_and_in_a_part_filled_batch(
    tagger: Tagger, paths: list[Path]
) -> None:
    together = {key: bits(row) for key, row in stream(tagger, [(path, path) for path in paths])}
    assert len(set(together.values())) == COUNT
    for path in paths[:5]:
        [(_, alone)] = stream(tagger, [(path, path)])
        assert bits(alone) == together[path]
    for start in (0, 7, 16):
        part = paths[start:][::-1]
        for key, row in stream(tagger, [(path, path) for path in part]):
            assert bits(row) == together[key]


def test_an_unreadable_image_is_one_dropped_row_and_changes_no_other(
    tagger: Tagger, paths: list[Path]
) -> None:
    whole = [bits(row) for _, row in stream(tagger, [(path, path) for path in paths])]
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    paths[4].write_text("no image")
    paths[COUNT - 1].unlink()
    got = [row for _, row in stream(tagger, [(path, path) for path in paths])]
    dropped = {at: row for at, row in enumerate(got) if isinstance(row, Dropped)}
    assert set(dropped) == {3, 4, COUNT - 1}
    assert [dropped[at].reason for at in (4, COUNT - 1)] == ["not an image", "missing"]
    assert dropped[3].reason in ("truncated", "broken")
    assert all(str(paths[at]) in row.text for at, row in dropped.items())
    assert [bits(row) for at, row in enumerate(got) if at not in dropped] == [
        row for at, row in enumerate(whole) if at not in dropped
    ]


def test_a_batch_of_nothing_but_bad_images_is_all_dropped(tagger: Tagger, tmp_path: Path) -> None:
    items = [(number, tmp_path / "absent.png") for number in range(tagger.batch + 1)]
    assert [row.reason for _, row in stream(tagger, items)] == ["missing"] * len(items)


def test_pictures_in_memory_are_items_too(tagger: Tagger, paths: list[Path]) -> None:
    with Image.open(paths[0]) as image:
        [(_, from_memory)] = stream(tagger, [("a", image.copy())])
    [(_, from_file)] = stream(tagger, [("a", paths[0])])
    assert bits(from_memory) == bits(from_file)


def test_no_items_give_no_rows(tagger: Tagger) -> None:
    assert list(stream(tagger, [])) == []


def test_items_are_taken_as_they_are_worked_off_and_may_be_left(
    tagger: Tagger, paths: list[Path]
) -> None:
    taken = 0

    def endless() -> Iterator[tuple[int, Path]]:
        nonlocal taken
        while True:
            taken += 1
            yield taken, paths[0]

    rows = stream(tagger, endless())
    next(rows)
    assert taken == (1 + AHEAD) * tagger.batch
    rows.close()


def test_a_fault_of_the_machine_is_no_fault_of_the_image(
    tagger: Tagger, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(OSError, match="Too many open files"):
        list(stream(tagger, [("a", paths[0])]))
