"""The exception tree: its drawing is true, and each branch leaves with its exit status."""

import inspect

import pytest

from schemas import errors
from schemas.errors import Failure, KirokuError, UsageError

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, Exception)
}


def test_the_drawing_at_the_top_names_exactly_the_classes() -> None:
    drawing = (errors.__doc__ or "").partition("\n\n")[2]
    drawn = [line.lstrip("│├└─ ").split()[0] for line in drawing.strip().splitlines()]
    assert sorted(drawn) == sorted(CLASSES)


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_an_error_says_its_text_and_nothing_else(kind: type[KirokuError]) -> None:
    assert str(kind("what, where: remedy")) == "what, where: remedy"


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_wrong_words_leave_with_2_and_failed_work_with_1(kind: type[KirokuError]) -> None:
    assert issubclass(kind, KirokuError)
    assert kind.exit_status == (2 if issubclass(kind, UsageError) else 1)
    assert not (issubclass(kind, UsageError) and issubclass(kind, Failure))
