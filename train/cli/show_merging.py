"""What merges and resized adapters look like, for people."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from train.blocks import as_ranges
from train.kinds import SPOKEN
from train.merging.join import Joined
from train.merging.match import Match
from train.merging.merge import Plan
from train.merging.resize import Resized

SHOWN = 20  # names of what is not found


def merged(found: Plan | Joined) -> None:
    """Print what is found in the base, and what is not; or what adapters were joined into."""
    console = Console(highlight=False)
    if isinstance(found, Joined):
        kind = SPOKEN[found.kind]
        lost = f", {found.error:.4f} of the change is lost" if found.errors else ""
        console.print(f"{kind}, {found.modules} modules of rank {_span(found.ranks)}{lost}")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    layout = f"{SPOKEN[found.kind]}, {found.layout}"
    table.add_row(found.base, layout, f"{found.tensors:,} tensors")
    for match in found.matches:
        kinds = ", ".join(match.kinds)
        unit = "tensors" if "checkpoint" in match.kinds else "modules"
        counts = f"{match.matched:,} of {match.found:,} {unit}"
        table.add_row(match.name, f"{kinds} at {match.strength:g}", counts)
    console.print(table)
    for match in found.matches:
        if set(match.factors.values()) != {match.strength}:
            console.print(f"{match.name} counts {_blocks(match.factors)}", soft_wrap=True)
        _unmatched(console, match)


def resized(made: Sequence[Resized]) -> None:
    """Print what was made, and what is lost: of all, and of each block."""
    console = Console(highlight=False)
    files = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    errors = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("to", "ranks", "KB", "error"):
        files.add_column(title, justify="right")
    errors.add_column("error in block")
    for one in made:
        files.add_row(
            one.target,
            _span(one.ranks),
            f"{one.size / 1000:,.0f}",
            f"{one.error:.4f}",
        )
        errors.add_column(one.target, justify="right")
    for block in made[0].errors:
        errors.add_row(block, *(f"{one.errors[block]:.4f}" for one in made))
    for table in (files, errors):
        console.print(table)
        console.print()
    for one in made:
        console.print(str(one.path), markup=False, soft_wrap=True)


def _span(ranks: tuple[int, int]) -> str:
    least, most = ranks
    return f"{least}" if least == most else f"{least}-{most}"


def _blocks(factors: Mapping[str, float]) -> str:
    """What each block counts: "0.8 in TE, IN01-11; 0 in OUT03-05"."""
    by_factor: dict[float, list[str]] = {}
    for block, factor in factors.items():
        by_factor.setdefault(factor, []).append(block)
    told = {factor: ", ".join(as_ranges(blocks)) for factor, blocks in by_factor.items()}
    return "; ".join(f"{factor:g} in {blocks}" for factor, blocks in told.items())


def _unmatched(console: Console, match: Match) -> None:
    if not match.unmatched:
        return
    console.print(f"\nnot found of {match.name}:", markup=False)
    for name, reason in list(match.unmatched.items())[:SHOWN]:
        console.print(f"  {name}: {reason}", markup=False, soft_wrap=True)
    if (more := len(match.unmatched) - SHOWN) > 0:
        console.print(f"  and {more} more: --json lists them")
