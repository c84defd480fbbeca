"""What the site knows of the tags in use, brought into the dataset: aliases, implications, kinds.

    tables/site_tags.parquet    one row per name that the site was asked about, and the day of it

Names that are known are not asked about again until `prep fetch --refresh`. What cannot be had now
is told and asked for the next time: captions are made from what is known.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prep.booru.client import BooruClient
from prep.dataset import Dataset
from prep.probabilities import keys_of, labels_path
from schemas.errors import SiteError
from schemas.progress import Advance, say, task
from schemas.tables import SITE_TAGS
from schemas.tags import CATEGORIES, canonical
from taggers.vocabulary import read_labels

AT_ONCE = 2000  # names whose answers are kept together: a kill costs no more
A_REQUEST = 300  # names that are asked about before the next: about what one request holds
LONGEST = 170  # characters of a tag on the site; what is longer is none

Row = Mapping[str, Any]  # of the table of the site's tags


def learn(dataset: Dataset, client: BooruClient, *, anew: bool = False) -> None:
    """Ask the site about the tags in use that are not known yet; `anew`: about all of them."""
    if not any(part.query for part in dataset.recipe.sets.values()):
        return  # no set is from a site
    used, known = in_use(dataset), held(dataset)
    fresh: dict[str, Row] = {}
    names = sorted(used if anew else used.keys() - known.keys())
    if not names:
        return
    try:
        with task("tags: asking the site about them", len(names), "tags") as advance:
            for start in range(0, len(names), AT_ONCE):
                asked = {name: used[name] for name in names[start : start + AT_ONCE]}
                fresh |= _told(client, asked, fresh if anew else {**known, **fresh}, advance)
                _write(dataset, {**known, **fresh})
    except SiteError as error:
        say(
            f"aliases and implications of {len(names)} tags could not be had ({error}):"
            " captions go by those that are known, the next `prep fetch` asks again"
        )
        return
    if anew:
        _write(dataset, fresh)


def in_use(dataset: Dataset) -> dict[str, str]:
    """Return the tags that captions may come to hold, with the category where something tells it.

    Those of posts, but for the categories that captions drop; of imports; all that a tagger has
    seen in any image, whatever the thresholds; and those that the recipe names.
    """
    used = dict.fromkeys(_of_recipe(dataset), "")
    imported = dataset.imported()
    tags, told = (pc.list_flatten(imported[name]).to_pylist() for name in ("tags", "categories"))
    used |= dict(zip(tags, told, strict=True))
    for key in keys_of(dataset).values():
        labels = read_labels(labels_path(dataset, key))
        seen = pc.unique(pc.list_flatten(dataset.probabilities(key).columns("labels")["labels"]))
        met = (labels[place] for place in seen.to_pylist())
        used |= {canonical(one.name): one.category for one in met if one.category in CATEGORIES}
    dropped = dataset.recipe.caption.drop.categories
    for category in (one for one in CATEGORIES if one not in dropped):
        names = pc.unique(pc.list_flatten(dataset.posts.columns(category)[category]))
        used |= dict.fromkeys(names.to_pylist(), category)
    return {name: used[name] for name in used if 0 < len(name) <= LONGEST and "," not in name}


def held(dataset: Dataset) -> dict[str, Row]:
    """Return what the dataset's site has told so far, by name."""
    rows = dataset.table(SITE_TAGS).to_pylist()
    return {row["name"]: row for row in rows if row["site"] == dataset.recipe.fetch.site}


def _told(
    client: BooruClient, used: Mapping[str, str], known: Collection[str], advance: Advance
) -> dict[str, Row]:
    """What the site says of these tags, and of those that they are aliases of or imply."""
    rows: dict[str, Row] = {}
    waiting = dict(used)
    while waiting:
        aliases: dict[str, str] = {}
        implied: dict[str, set[str]] = {}
        kinds: dict[str, str] = {}
        names = sorted(waiting)
        for start in range(0, len(names), A_REQUEST):
            some = names[start : start + A_REQUEST]
            aliases |= client.aliases(some) | client.aliases_of(some)
            implied |= client.implications(some)
            kinds |= client.categories([name for name in some if not waiting[name]])
            advance(sum(name in used for name in some))
        for name in {*waiting, *aliases}:
            rows[name] = {
                "category": kinds.get(name),
                "alias_of": aliases.get(name),
                "implies": sorted(implied.get(name, ())),
                "asked": datetime.now(UTC).date(),
            }
        further = set(aliases.values()).union(*implied.values())
        waiting = dict.fromkeys(further - rows.keys() - set(known), "")
    return rows


def _of_recipe(dataset: Dataset) -> set[str]:
    """The tags that the recipe's lists name."""
    recipe, thresholds = dataset.recipe.caption, dataset.recipe.tag.threshold
    collapsed = () if recipe.collapse.tags == "found" else recipe.collapse.tags
    return {
        canonical(name)
        for names in (recipe.drop.tags, collapsed, recipe.rename, thresholds)
        for name in names
    }


def _write(dataset: Dataset, rows: Mapping[str, Row]) -> None:
    site = dataset.recipe.fetch.site
    told = [{**row, "site": site, "name": name} for name, row in rows.items()]
    SITE_TAGS.write(dataset.path_of(SITE_TAGS), pa.Table.from_pylist(told, schema=SITE_TAGS.schema))
