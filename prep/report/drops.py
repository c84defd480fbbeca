"""What was fetched, what was left out and why, and which images were one picture."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from prep import seals
from prep.dataset import Dataset
from prep.report.html import Html, count, element, missing, section, together
from prep.report.pictures import Images
from schemas.tables import GROUPS

EXAMPLES = 4  # of each reason
STRIP = 18  # images that stand for all that were fetched
GROUPS_SHOWN = 6
IN_A_GROUP = 6
SMALL, MEDIUM = 44, 88  # pixels, longest side


def fetched(dataset: Dataset, images: Images) -> Html:
    """Show a few images, what was dropped for which reason, and groups of duplicates."""
    title = "Fetched, and left out"
    if seals.read_seal(dataset.root, "fetch") is None:
        note = missing("Nothing is fetched yet: `prep fetch` does it, or `prep run` all of it.")
        return section("fetched", title, "", note)
    lead = (
        "No image is deleted. Every post and image that is left out has its reason in"
        " `reports/drops/`."
    )
    return section(
        "fetched", title, lead, _strip(dataset, images), _reasons(dataset, images),
        _duplicates(dataset, images),
    )  # fmt: skip


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` of the items, evenly from first to last: no choice to argue about."""
    if len(items) <= most:
        return list(items)
    return [items[place * len(items) // most] for place in range(most)]


def _strip(dataset: Dataset, images: Images) -> Html:
    learnt = set(dataset.sets("train"))
    rows = dataset.members().select(["set", "md5"]).to_pylist()
    md5s = sorted({row["md5"] for row in rows if row["set"] in learnt})
    shown = [images.thumbnail(md5, MEDIUM) for md5 in spread(md5s, STRIP)]
    note = f"{sum(map(bool, shown))} of {count(len(md5s), 'image')} to learn from"
    return element(
        "figure", element("div", shown, class_="strip"), element("figcaption", note)
    )  # fmt: skip


def _reasons(dataset: Dataset, images: Images) -> Html:
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for stage in seals.STAGES:
        for row in seals.read_drops(dataset.root, stage).to_pylist():
            found[stage, row["reason"]].append(row)
    if not found:
        return missing("Nothing was left out.")
    head = element(
        "tr",
        element("th", "stage", scope="col"),
        element("th", "reason", scope="col"),
        element("th", "count", scope="col", class_="number"),
        element("th", "for example", scope="col"),
    )
    rows = (
        element(
            "tr",
            element("td", element("code", stage)),
            element("td", reason),
            element("td", f"{len(drops):,}", class_="number"),
            element("td", element("div", _examples(dataset, images, drops)), class_="examples"),
        )
        for (stage, reason), drops in found.items()
    )
    table = element("table", element("thead", head), element("tbody", rows))
    return together(element("h3", "Why"), element("div", table, class_="scroll reasons"))


def _examples(dataset: Dataset, images: Images, drops: Sequence[Mapping[str, Any]]) -> Html:
    return together(
        element(
            "span",
            images.thumbnail(drop["item"], SMALL, _words(drop)),
            element("small", _named(dataset, drop)),
            title=_words(drop),
        )
        for drop in spread(drops, EXAMPLES)
    )


def _named(dataset: Dataset, drop: Mapping[str, Any]) -> Html:
    """The item, short; a post of a site on the web is a link to it."""
    item, site = drop["item"], dataset.recipe.fetch.site
    post = item.removeprefix("post ")
    if post != item and site.startswith("https://"):
        return element("a", item, href=f"{site}/posts/{post}")
    return together(item if len(item) < 24 or "." in item else f"{item[:8]}…")


def _words(drop: Mapping[str, Any]) -> str:
    told = f"{drop['item']}: {drop['reason']}"
    return f"{told} ({drop['detail']})" if drop["detail"] else told


def _duplicates(dataset: Dataset, images: Images) -> Html | None:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in dataset.table(GROUPS).to_pylist():
        groups[row["set"], row["keeper"]].append(row)
    several = [rows for rows in groups.values() if len(rows) > 1]
    if not several:
        return None
    several.sort(key=lambda rows: (-len(rows), rows[0]["keeper"]))
    told = f"{count(len(several), 'picture')} came more than once. The best stands for the others;"
    told += " bits are those of 64 in which their perceptual hashes differ."
    if len(several) > GROUPS_SHOWN:
        told += f" {GROUPS_SHOWN} of the groups:"
    shown = (_group(images, rows) for rows in several[:GROUPS_SHOWN])
    return together(
        element("h3", "Duplicates"), element("p", told), element("div", shown, class_="groups")
    )


def _group(images: Images, rows: Sequence[Mapping[str, Any]]) -> Html:
    ordered = sorted(rows, key=lambda row: (row["md5"] != row["keeper"], row["distance"]))
    shown = [
        element(
            "span",
            images.thumbnail(row["md5"], MEDIUM),
            element("small", _why(row)),
            class_="keeper" if row["md5"] == row["keeper"] else None,
        )
        for row in ordered[:IN_A_GROUP]
    ]
    more = len(ordered) - len(shown)
    return element("div", shown, element("small", f"and {more} more") if more else None)


def _why(row: Mapping[str, Any]) -> str:
    if row["md5"] == row["keeper"]:
        return "kept"
    if row["by"] == "pixel_hash":
        return "same pixels"
    return count(row["distance"], "bit") + " apart"
