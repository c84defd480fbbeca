"""The sheet of duplicates: each group with its keeper marked, what showed it, why this keeper."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prep import seals
from prep.dataset import Dataset
from prep.dedup import worth
from prep.report.html import Html, count, element, marked, missing, section, together
from prep.report.page import document, name_of
from prep.report.pictures import Images
from schemas.files import write_text
from schemas.tables import GROUPS

SHEET = "reports/duplicates.html"
MOST_GROUPS = 300  # on one sheet: about 5 kB a picture
IN_A_GROUP = 12
SIDE = 160  # pixels, longest side
Row = Mapping[str, Any]


def duplicates(dataset: Dataset) -> Path:
    """Write the sheet of a dataset's groups of more than one image, and return its path."""
    path = dataset.root / SHEET
    write_text(path, document(f"{name_of(dataset)} · duplicates", _body(dataset)))
    return path


def _body(dataset: Dataset) -> Html:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in dataset.table(GROUPS).to_pylist():
        groups[row["set"], row["keeper"]].append(row)
    facts = _facts(dataset)
    several = {
        key: rows
        for key, rows in groups.items()
        if len(rows) > 1 or len(facts.get(key[1], {}).get("posts", ())) > 1
    }
    ordered = sorted(several, key=lambda key: (key[0], -len(several[key]), key[1]))
    images = Images.of(dataset)
    sections = [
        _set(dataset, name, [several[key] for key in ordered if key[0] == name], images, facts)
        for name in dataset.recipe.sets
    ]
    losers = sum(len(rows) - 1 for rows in several.values())
    told = f"{count(losers, 'image')} of {sum(map(len, groups.values())):,} stood back for another."
    return together(
        element(
            "header",
            element("p", "kiroku · duplicates", class_="kicker"),
            element("h1", name_of(dataset)),
            element("p", told, " ", _policy(dataset), class_="trigger"),
        ),
        element(
            "main",
            sections if several else section("none", "Duplicates", "", missing(_nothing(dataset))),
        ),
        element("footer", element("p", marked("Made by kiroku: `prep dedup --show`."))),
    )


def _nothing(dataset: Dataset) -> str:
    if seals.read_seal(dataset.root, "dedup") is None:
        return "Nothing is grouped yet: `prep dedup` does it."
    return "Every image is the only one of its picture."


def _policy(dataset: Dataset) -> Html:
    keep = ", then ".join(f"`{name}`" for name in dataset.recipe.dedup.keep) or "`md5`"
    bits = count(dataset.recipe.dedup.bits, "bit")
    return marked(
        f"The keeper is the best by {keep}. Nothing is deleted. Hashes may differ in {bits} of 64,"
        " and the pictures must look alike as well."
    )


def _set(
    dataset: Dataset, name: str, groups: Sequence[Sequence[Row]], images: Images,
    facts: Mapping[str, Row],
) -> Html | None:  # fmt: skip
    if not groups:
        return None
    lead = f"{count(len(groups), 'picture')} came more than once."
    if len(groups) > MOST_GROUPS:
        lead += f" The {MOST_GROUPS} with the most images are shown."
    shown = (_group(dataset, rows, images, facts) for rows in groups[:MOST_GROUPS])
    return section(f"set-{name}", name, lead, element("div", shown, class_="sheet"))


def _group(dataset: Dataset, rows: Sequence[Row], images: Images, facts: Mapping[str, Row]) -> Html:
    keeper = facts[rows[0]["keeper"]]
    ordered = sorted(rows, key=lambda row: (row["md5"] != row["keeper"], row["distance"]))
    cards = [_card(dataset, row, facts[row["md5"]], keeper, images) for row in ordered[:IN_A_GROUP]]
    more = len(ordered) - len(cards)
    return element("article", cards, element("small", f"and {more} more") if more else None)


def _card(dataset: Dataset, row: Row, own: Row, keeper: Row, images: Images) -> Html:
    is_keeper = own is keeper
    picture = images.thumbnail(row["md5"], SIDE) or element("span", "no longer there")
    lines = [_shape(own), _posts(dataset, own)]
    if is_keeper and len(own["posts"]) > 1:
        lines.append("md5: one file")
    if not is_keeper:
        lines += [_shown_by(row), _preferred(dataset, own, keeper)]
    return element(
        "figure",
        element("div", picture),
        element(
            "figcaption",
            element("b", "kept" if is_keeper else "left out"),
            [element("span", line) for line in lines if line],
        ),
        class_="keeper" if is_keeper else None,
    )


def _shape(own: Row) -> str:
    kind = own["path"].rpartition(".")[2]
    return f"{own['width']} × {own['height']} {kind}, {own['bytes'] / 1000:,.0f} kB"


def _posts(dataset: Dataset, own: Row) -> Html | None:
    if not own["posts"]:
        return None
    site = dataset.recipe.fetch.site
    names = [
        element("a", f"{post}", href=f"{site}/posts/{post}")
        if site.startswith("https://")
        else Html(f"{post}")
        for post in own["posts"]
    ]
    parted = [part for name in names for part in (", ", name)][1:]
    word = "post " if len(names) == 1 else "posts "
    return together(word, parted, f", score {own['score']}")


def _shown_by(row: Row) -> str:
    if row["by"] == "pixel_hash":
        return "pixel_hash: the same pixels"
    return f"phash: {count(row['distance'], 'bit')} apart"


def _preferred(dataset: Dataset, own: Row, keeper: Row) -> str:
    """What the keeper was preferred for: the first of the recipe's criteria that parts the two."""
    for name in dataset.recipe.dedup.keep:
        theirs, ours = keeper["worth"][name], own["worth"][name]
        if theirs > ours:
            return f"{name}: {_said(keeper, name)} before {_said(own, name)}"
        if theirs < ours:
            return "the other was the keeper before this came"
    return "equal by all: the lower md5 was kept"


def _said(one: Row, name: str) -> str:
    """What an image is worth by one of the recipe's criteria, as a person says it."""
    match name:
        case "score":
            return f"score {one['score']}"
        case "pixels":
            return f"{one['worth'][name] / 1e6:.2f} megapixels"
        case "lossless":
            return str(one["path"].rpartition(".")[2])
        case "oldest":
            return f"post {one['posts'][0]}" if one["posts"] else "no post"
        case _:
            return f"{one['bytes']:,} bytes"


def _facts(dataset: Dataset) -> dict[str, Row]:
    """What is known of each image, by md5: its file, posts, the first one's score, its worth."""
    scores = {row["id"]: row["score"] for row in dataset.posts.columns("score").to_pylist()}
    posts: dict[str, set[int]] = defaultdict(set)
    for row in dataset.members().select(["md5", "post_id"]).to_pylist():
        if row["post_id"] in scores:
            posts[row["md5"]].add(row["post_id"])
    facts: dict[str, Row] = {}
    for image in dataset.images.read().to_pylist():
        own = sorted(posts[image["md5"]])
        score, first = (scores[own[0]], own[0]) if own else (0, 0)
        known = {"posts": own, "score": score, "worth": worth(image, score, first)}
        facts[image["md5"]] = {**image, **known}
    return facts
