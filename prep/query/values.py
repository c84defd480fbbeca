"""What is written after a metatag's colon, as spans of values.

    5   >=5   <5   5..9   5...9 (9 left out)   ..9   5..   5,7,>9

What cannot be read raises ValueError, whose text says what is wrong with which part.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import inf

FUDGE = 0.05  # megapixels, kilobytes or megabytes that stand alone mean "about"
MOST = 2**63 - 1  # what a column of integers holds
DAY = timedelta(days=1)
_COMPARED = {">=": (True, True), "<=": (False, True), ">": (True, False), "<": (False, False)}
_UNITS = {  # seconds; a month and a year are those of the Gregorian calendar on average
    **dict.fromkeys(("s", "sec", "second"), 1),
    **dict.fromkeys(("mi", "min", "minute"), 60),
    **dict.fromkeys(("h", "hour"), 3600),
    **dict.fromkeys(("d", "day"), 86400),
    **dict.fromkeys(("w", "week"), 604800),
    **dict.fromkeys(("mo", "month"), 2629746),
    **dict.fromkeys(("y", "year"), 31556952),
}


@dataclass(frozen=True)
class Span:
    """The values from `low` to `high`; each end belongs to it unless said otherwise."""

    low: float
    high: float
    low_in: bool = True
    high_in: bool = True


Read = Callable[[str], Span]  # one written value: the span of what it stands for


def spans(text: str, read: Read, alone: Read | None = None) -> tuple[Span, ...]:
    """Read a range or a list of ranges. `alone` reads a value without operator or list."""
    if "," in text:
        return tuple(_span(part, read) for part in text.split(","))
    if alone is not None and not re.search(r"[<>]|\.\.", text):
        return (alone(text),)
    return (_span(text, read),)


def _span(text: str, read: Read) -> Span:
    sign = next((sign for sign in _COMPARED if text.startswith(sign)), "")
    if sign:
        bound = read(text[len(sign) :])
        above, included = _COMPARED[sign]
        if above:
            return Span(bound.low if included else bound.high, inf, included)
        return Span(-inf, bound.high if included else bound.low, high_in=included)
    dots = "..." if "..." in text else ".."
    if dots not in text:
        return read(text)
    first, _, last = text.partition(dots)
    if not first and not last:
        raise ValueError(f'"{text}" has neither beginning nor end')
    low, high = (read(first) if first else None), (read(last) if last else None)
    if low and high and low.low > high.low:
        low, high = high, low
    end = inf if high is None else high.high if dots == ".." else high.low
    return Span(low.low if low else -inf, end, high_in=dots == "..")


def integer(text: str) -> Span:
    """A whole number."""
    if not re.fullmatch(r"[+-]?[0-9]+", text) or abs(int(text[:30])) > MOST:
        raise ValueError(f'"{text}" is no whole number')
    return Span(int(text), int(text))


def decimal(text: str) -> Span:
    """A number."""
    number = float(text) if re.fullmatch(r"[0-9]{0,30}\.?[0-9]{0,30}", text) and text else inf
    if number == inf:
        raise ValueError(f'"{text}" is no number')
    return Span(number, number)


def about(text: str) -> Span:
    """A number of megapixels that stands alone: within 5 percent."""
    number = decimal(text).low
    return Span(number * (1 - FUDGE), number * (1 + FUDGE))


def size(text: str) -> Span:
    """A size of a file, in bytes: 500, 500b, 200kb, 1.5mb."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]*)?|[0-9]*\.[0-9]+)([km]?)b?", text)
    if found is None:
        raise ValueError(f'"{text}" is no size of a file')
    number = int(float(found[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[found[2]])
    return Span(number, number)


def about_size(text: str) -> Span:
    """A size that stands alone: within 5 percent when given in kb or mb."""
    number = size(text).low
    if not re.search(r"[km]b?$", text):
        return Span(number, number)
    return Span(number * (1 - FUDGE), number * (1 + FUDGE))


def ratio(text: str) -> Span:
    """Width by height as 16:9, 16/9 or 1.78, in hundredths, rounded half up."""
    wide, _, high = text.replace("/", ":").partition(":")
    parts = [part for part in (wide, high or "1") if re.fullmatch(r"\d{0,9}\.?\d{0,9}", part)]
    try:
        shape = Fraction(parts[0]) / Fraction(parts[1])
    except (ValueError, IndexError, ZeroDivisionError):
        raise ValueError(f'"{text}" is no ratio of sides') from None
    hundredths = int(shape * 100 + Fraction(1, 2))
    return Span(hundredths, hundredths)


def dates(now: datetime) -> Read:
    """Return what reads a year, month, day, hour, minute or second (UTC) as its seconds' span."""

    def read(text: str) -> Span:
        try:
            low, high = _moments(text, now)
            # whole seconds, as the table keeps them: the last of them belongs to the span
            return Span(low.timestamp(), high.timestamp() - 1)
        except (ValueError, OverflowError):
            raise ValueError(f'"{text}" is no date') from None

    return read


def _moments(text: str, now: datetime) -> tuple[datetime, datetime]:
    """The first moment of what is written, and the first one after it."""
    if text in ("today", "yesterday"):
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        low = midnight - DAY * (text == "yesterday")
        return low, low + DAY
    found = re.fullmatch(
        r"(\d{4})(?:[-/](\d{1,2})(?:[-/](\d{1,2})(?:[t_](\d{1,2})(?::(\d\d)(?::(\d\d))?)?)?)?)?",
        text,
    )
    if found is None:
        raise ValueError(text)
    year, month, day, *clock = (None if part is None else int(part) for part in found.groups())
    hour, minute, second = clock
    low = datetime(
        year or 0, 1 if month is None else month, 1 if day is None else day,
        hour or 0, minute or 0, second or 0, tzinfo=UTC,
    )  # fmt: skip
    if month is None:
        return low, low.replace(year=low.year + 1)
    if day is None:
        return low, low.replace(year=low.year + low.month // 12, month=low.month % 12 + 1)
    step = DAY if hour is None else timedelta(hours=1) if minute is None else timedelta(minutes=1)
    return low, low + (timedelta(seconds=1) if second is not None else step)


def age(text: str) -> Span:
    """A length of time, in seconds: 30min, 2days, 1week, 3mo, 1y."""
    number, unit = _age(text)
    return Span(number * unit, number * unit)


def age_alone(text: str) -> Span:
    """A length of time that stands alone: from it to one more of its unit."""
    number, unit = _age(text)
    return Span(number * unit, (number + 1) * unit, high_in=False)


def _age(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,9})([a-z]+)", text)
    unit = found and (_UNITS.get(found[2]) or _UNITS.get(found[2].removesuffix("s")))
    if not found or not unit:
        raise ValueError(f'"{text}" is no length of time')
    return int(found[1]), unit
