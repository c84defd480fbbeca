"""What `prep caption --diff` shows: the rules that change captions, how many, and a few of them."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prep import chain
from prep.cli.steps import step
from prep.dataset import Dataset
from prep.diff import told
from prep.diff.counts import Example, Word
from prep.diff.diff import Diff, diff
from prep.lock import locked
from prep.report.caption_diff import caption_diff
from schemas.tags import rendered

SHOWN = 6  # kinds of change for each rule
EXAMPLES = 6  # images
WORDS = 8  # of an example's caption, where there is no other to compare it with
STYLES = {"+": "green", "-": "red"}  # of a sign


def show(dataset: Dataset, *, refit: bool) -> None:
    """Compare, write the reports, and print what would change."""
    with locked(dataset.root):
        chain.check_needs(dataset, step("caption"))
        found = diff(dataset, refit=refit)
        page = caption_diff(dataset, found)
    console = Console(highlight=False, markup=False)
    console.print(told.summary(found))
    _print_recipe(console, found)
    if found.groups:
        console.print()
        console.print(_rules(found))
    _print_examples(console, found)
    _print_features(console, dataset, found)
    console.print(_where(dataset, found, page), soft_wrap=True)


def _print_recipe(console: Console, found: Diff) -> None:
    if found.stored is None:
        return
    if found.recipe is None:
        console.print("How prep.toml was when they were made is not known.")
    elif found.recipe:
        console.print("Since they were made prep.toml has changed:")
        for line in told.recipe_lines(found.recipe):
            console.print(f"    {line}")


def _rules(found: Diff) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("rule", "change", "images", "by"):
        table.add_column(
            title, justify="right" if title == "images" else "left", overflow="fold",
            no_wrap=title in ("rule", "images"),
        )  # fmt: skip
    for rule, groups in told.by_rule(found):
        for place, group in enumerate(groups[:SHOWN]):
            change = Text(" ").join([_sign(group.change), Text(told.change_of(group))])
            table.add_row("" if place else rule, change, f"{group.images:,}", group.why)
        if len(groups) > SHOWN:
            more = f"and {len(groups) - SHOWN:,} more, {told.images(found.by_rule[rule])} in all"
            table.add_row("", more)
    return table


def _print_examples(console: Console, found: Diff) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    first = {(one.set, one.md5): one for one in reversed(found.examples)}
    for example in list(reversed(first.values()))[:EXAMPLES]:
        text = _caption(example) if found.stored is None else _difference(example)
        table.add_row(example.md5[:12], text)
    if found.examples:
        console.print()
        console.print(table)


def _caption(example: Example) -> Text:
    words = [word.text for word in example.after]
    return Text(", ".join(words) or "no tag")


def _difference(example: Example) -> Text:
    gone = [word for word in example.before if word.change == "removed"]
    came = [word for word in example.after if word.change]
    return Text(" ").join([_word(word) for word in (*gone, *came)])


def _word(word: Word) -> Text:
    sign = _sign(word.change)
    return Text(sign.plain + word.text, sign.style)


def _sign(change: str) -> Text:
    sign = told.SIGNS.get(change, "→")
    return Text(sign, STYLES.get(sign, "yellow"))


def _print_features(console: Console, dataset: Dataset, found: Diff) -> None:
    if not found.features:
        return
    share = dataset.recipe.caption.collapse.share
    console.print(f"\nThe trigger stands for what {share:.0%} of the images have:")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("feature", "share", "images", ""):
        table.add_column(title, justify="right" if title in ("share", "images") else "left")
    for one in found.features:
        name = rendered(one.tag, escape=False)
        table.add_row(name, f"{one.share:.2f}", f"{one.images:,}", told.note_of(one))
    console.print(table)


def _where(dataset: Dataset, found: Diff, page: Path) -> str:
    names = (path.relative_to(dataset.root).as_posix() for path in (page, found.path))
    return f"\nTo read: {' and '.join(names)}. Nothing else is written: `prep caption` does it."
