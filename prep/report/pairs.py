"""Which tags stand together more often than chance would have them: pairs, with their lift."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.dataset import Dataset
from prep.report.html import Html, element, missing, section
from schemas.tables import CAPTIONS

MOST_TAGS = 300  # the most frequent: pairs of rarer ones say little
SHOWN = 24
LEAST = 5  # images that a pair must stand on
CONSTANT = 0.9  # of the images: what is nearly everywhere goes with everything


@dataclass(frozen=True)
class Pair:
    """Two tags of the captions to learn from."""

    tags: tuple[str, str]  # as captions have them
    together: int  # images with both
    alone: tuple[int, int]  # images with each
    lift: float  # how many times as often as by chance


def pairs(dataset: Dataset) -> list[Pair]:
    """Return the pairs that go together most: by what is above chance, in images."""
    table = dataset.table(CAPTIONS)
    learnt = table.filter(pc.is_in(table["set"], pa.array(list(dataset.sets("train")))))
    lists = learnt["tags"].combine_chunks()
    tags = pc.list_flatten(lists)
    kinds = pc.is_in(tags.field("category"), pa.array(["general", "character", "copyright"]))
    image = np.asarray(pc.list_parent_indices(lists), np.int64)[np.asarray(kinds)]
    words = tags.field("text").filter(kinds).dictionary_encode()
    code, names = np.asarray(words.indices, np.int64), words.dictionary.to_pylist()
    counts = np.bincount(code, minlength=len(names))
    able = (counts >= LEAST) & (counts <= CONSTANT * learnt.num_rows)
    frequent = np.flatnonzero(able)[np.argsort(-counts[able], kind="stable")][:MOST_TAGS]
    has = np.zeros((learnt.num_rows, len(frequent)), np.float32)
    place = np.full(len(names), -1, np.int64)
    place[frequent] = np.arange(len(frequent))
    known = place[code] >= 0
    has[image[known], place[code[known]]] = 1
    together = np.triu(has.T @ has, 1)
    each = counts[frequent].astype(np.float64)
    chance = each[:, None] * each / max(learnt.num_rows, 1)
    above = np.where(together >= LEAST, together - chance, 0)
    best = np.argsort(-above, axis=None, kind="stable")[:SHOWN]
    found = []
    for first, second in zip(*np.unravel_index(best, above.shape), strict=True):
        if above[first, second] > 0:
            both = int(together[first, second])
            found.append(
                Pair(
                    (names[frequent[first]], names[frequent[second]]),
                    both,
                    (int(each[first]), int(each[second])),
                    both / float(chance[first, second]),
                )
            )
    return found


def cooccurrence(dataset: Dataset) -> Html:
    """Show the pairs as a table: what always goes together cannot be asked for apart."""
    title, found = "Tags that go together", pairs(dataset)
    if not found:
        return section("pairs", title, "", missing("No two tags stand together often."))
    lead = (
        "What nearly always stands together is learnt as one. Lift says how many times as often as"
        " by chance; the bar, which part of the rarer tag's images has both."
    )
    head = element(
        "tr",
        element("th", "tags", scope="col"),
        *(element("th", name, scope="col", class_="number") for name in ("together", "lift")),
        element("th", "of the rarer", scope="col"),
    )
    table = element("table", element("thead", head), element("tbody", map(_row, found)))
    return section("pairs", title, lead, element("div", table, class_="scroll pairs"))


def _row(one: Pair) -> Html:
    share = one.together / min(one.alone)
    first, second = (f"{tag} ({count:,})" for tag, count in zip(one.tags, one.alone, strict=True))
    bar = element("i", class_="bar", style=f"width:{share:.1%}")
    return element(
        "tr",
        element("td", f"{one.tags[0]} · {one.tags[1]}", title=f"{first}, {second}"),
        element("td", f"{one.together:,}", class_="number"),
        element("td", f"{one.lift:.1f}", class_="number"),
        element("td", element("span", bar, class_="track"), element("small", f"{share:.0%}")),
    )
