"""What `prep tag --calibrate` looks like: the tags whose captions gain most, and all in a line."""

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from prep.calibration import EVIDENCE
from schemas.recipes.prep import TagSection
from schemas.tags import canonical

SHOWN = 25  # tags


def show(fitted: pa.Table, options: TagSection) -> None:
    """Print the table, those first where the most captions get better, and what follows from it."""
    console = Console(highlight=False)
    if not fitted.num_rows:
        console.print(f"no tag that a tagger knows has {EVIDENCE} posts: nothing is fitted")
        return
    gain = fitted["f1"].to_numpy() - fitted["f1_usual"].to_numpy()
    order = np.argsort(-gain * fitted["posts"].to_numpy(), kind="stable")
    console.print(_table(fitted.take(order[:SHOWN]).to_pylist(), options))
    if fitted.num_rows > SHOWN:
        console.print(f"and {fitted.num_rows - SHOWN:,} more in tables/thresholds.parquet")
    before, after = (float(np.mean(fitted[name].to_numpy())) for name in ("f1_usual", "f1"))
    console.print(
        f"{fitted.num_rows:,} tags of {EVIDENCE} posts or more: mean F1 {before:.3f} by category,"
        f" {after:.3f} fitted, on images not fitted to; better for {int((gain > 0).sum()):,},"
        f" worse for {int((gain < 0).sum()):,}"
    )
    if not options.calibrated:
        console.print(
            "captions go by these thresholds with `calibrated = true` in [tag];"
            " `prep caption --diff --set tag.calibrated=true` shows what that changes",
            markup=False,
        )


def _table(rows: list[dict[str, object]], options: TagSection) -> Table:
    own = {canonical(name): value for name, value in options.threshold.items()}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("tag", "posts", "usual", "fitted", "F1 usual", "F1 fitted"):
        table.add_column(title, justify="left" if title == "tag" else "right", overflow="fold")
    for row in rows:
        tag = str(row["tag"])
        note = f" [yellow](yours: {own[tag]:g})[/]" if tag in own else ""
        table.add_row(
            tag.replace("[", "\\[") + note,
            f"{row['posts']:,}",
            *(f"{row[name]:.2f}" for name in ("usual", "threshold")),
            *(f"{row[name]:.3f}" for name in ("f1_usual", "f1")),
        )
    return table
