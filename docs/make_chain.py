"""Draws docs/chain.svg, the picture of the chain: `python docs/make_chain.py`."""

from pathlib import Path

TARGET = Path(__file__).parent / "chain.svg"
WIDTH, HEIGHT, GAP = 148, 92, 22
ROWS = (
    (
        ("fetch", "posts and originals,", "md5 verified"),
        ("dedup", "one image", "for each picture"),
        ("tag", "WD14 probabilities,", "kept for good"),
        ("caption", "rules in order,", "every tag explained"),
        ("reg", "near no", "training image"),
    ),
    (
        ("manifest", "one checked table", "for any trainer"),
        ("latents", "buckets, cached", "by what shaped them"),
        ("train", "LoRA, resumable", "bit for bit"),
        ("samples", "same prompts,", "same seeds"),
        ("adapter", "for diffusers", "and the UIs"),
    ),
)
COLOURS = {0: ("#eef4ff", "#4a6fb5"), 1: ("#fff3ee", "#c0613a")}


def chain() -> str:
    """Return the picture as SVG: two rows of stages, prep above train, with arrows."""
    columns = len(ROWS[0])
    width = columns * WIDTH + (columns + 1) * GAP
    height = 2 * HEIGHT + 3 * GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="Segoe UI, Helvetica, Arial, sans-serif" text-anchor="middle">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#777"/></marker></defs>',
        f'<rect width="{width}" height="{height}" rx="12" fill="#fff"/>',
    ]
    for row, stages in enumerate(ROWS):
        y = GAP + row * (HEIGHT + GAP)
        for column, stage in enumerate(stages):
            parts += _box(stage, GAP + column * (WIDTH + GAP), y, *COLOURS[row])
            if column:
                x = GAP + column * (WIDTH + GAP)
                parts.append(_arrow(f"M{x - GAP} {y + HEIGHT / 2}H{x - 2}"))
    right = GAP + (columns - 1) * (WIDTH + GAP) + WIDTH / 2
    left, turn = GAP + WIDTH / 2, GAP + HEIGHT + GAP / 2
    parts.append(_arrow(f"M{right} {GAP + HEIGHT}V{turn}H{left}V{turn + GAP / 2 - 2}"))
    return "\n".join([*parts, "</svg>\n"])


def _box(stage: tuple[str, ...], x: float, y: float, fill: str, edge: str) -> list[str]:
    middle = x + WIDTH / 2
    title, *lines = stage
    return [
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="10" fill="{fill}"'
        f' stroke="{edge}" stroke-width="1.5"/>',
        f'<text x="{middle}" y="{y + 32}" font-size="19" font-weight="600" fill="{edge}">'
        f"{title}</text>",
        *(
            f'<text x="{middle}" y="{y + 57 + 17 * n}" font-size="13" fill="#333">{line}</text>'
            for n, line in enumerate(lines)
        ),
    ]


def _arrow(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#777" stroke-width="1.6" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    TARGET.write_text(chain(), encoding="utf-8", newline="\n")
