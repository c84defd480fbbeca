"""The kinds of words that several commands take."""

from typing import Annotated, Literal

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
Words = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]
Changes = Annotated[tuple[str, ...], Parameter(name="--set", negative=(), show_default=False)]
Device = Literal["auto", "cpu", "cuda"]
