"""How quick captions are: `prep caption`, and its `--diff`, on as many posts as one likes.

    python tests/bench/bench_captions.py [--posts N] [--tags N] [--tagger]

The folder is written as `prep fetch`, `dedup` and `tag` leave it: posts with `--tags` tags each, of
20,000 names as frequent as a site's (Zipf), and no pictures, which captions never open. With
`--tagger` a tagger's probabilities lie beside them, 50 for each image. All rules are in the recipe.

Every measurement is of a process of its own. Printed is one line of JSON: seconds by the clock and
of CPU, and peak memory; and as the floor what it takes to read the posts' tags and to write the
table of captions again as it stands.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prep import caption, seals
from prep.caption_sources import BLOCK
from prep.captions.post_tags import COLUMNS
from prep.dataset import Dataset
from prep.diff import diff
from prep.probabilities import index_path, labels_path
from schemas.tables import CAPTIONS, GROUPS, MEMBERS, POSTS, PROBABILITIES, SITE_TAGS

SEED = 7
NAMES = 20_000
PER_WRITE = 50_000
RECIPE = """
[sets]
main = { query = "1girl" }

[tag]
taggers = ["tagger"]

[caption]
trigger = "azusa \\\\(blue archive\\\\)"
drop = { categories = ["artist", "meta"], tags = ["tag_17"], patterns = ["*_999"] }

[caption.collapse]
tags = ["tag_3", "tag_5", "tag_8"]

[caption.rename]
"tag 21" = "aav"

[caption.quality]
by = "percentile"
masterpiece = 90
"best quality" = 60
"high quality" = 30

[caption.year]
newest = 2021
recent = 2018
oldest = 2005

[caption.rating]
g = "safe"
e = "nsfw"

[caption.render]
prefix = ["drawn by many"]
keep = ["trigger", "tag 4"]
escape = true
"""
# so that every caption changes: by what sources give, a trigger, collapse, rename, quality
CHANGES = (
    "tag.general=0.5", "caption.trigger=azusa", 'caption.collapse.tags=["tag_3"]',
    'caption.rename={ "tag 5" = "five" }', "caption.quality={ good = 10 }",
)  # fmt: skip


def main() -> None:
    """Make the folder, then measure in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=44_417)
    parser.add_argument("--tags", type=int, default=35)
    parser.add_argument("--tagger", action="store_true")
    parser.add_argument("--folder", type=Path, help="made once, used again")
    parser.add_argument("--measured", choices=[*WORKS], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measured:
        print(json.dumps(measure(given.measured, given.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch) / "dataset"
        if not folder.exists():
            make(folder, given.posts, given.tags, given.tagger)
        print(json.dumps({name: in_a_process(name, folder) for name in WORKS}))


def in_a_process(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measured", name, "--folder", str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(name: str, folder: Path) -> dict[str, float]:
    dataset = Dataset.open(folder, CHANGES if name == "diff of all" else ())
    start, cpu = time.perf_counter(), time.process_time()
    WORKS[name](dataset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "cpu": round(time.process_time() - cpu, 2),
        "peak GiB": round(peak, 2),
    }


def floor(dataset: Dataset) -> None:
    """Read what captions are made of and write what they are, nothing else."""
    for _ in dataset.posts.parts(*COLUMNS):
        pass
    copy = dataset.root / "floor.parquet"
    with pq.ParquetFile(dataset.path_of(CAPTIONS)) as file:
        batches = file.iter_batches(BLOCK)
        CAPTIONS.write_blocks(copy, (pa.Table.from_batches([batch]) for batch in batches))
    copy.unlink()


WORKS = {"caption": caption.caption, "diff": diff.diff, "diff of all": diff.diff, "floor": floor}


def make(folder: Path, posts: int, tags: int, tagger: bool) -> None:
    """Write the tables of a dataset whose posts have been fetched and compared."""
    rng = np.random.default_rng(SEED)
    (folder / "tables").mkdir(parents=True)
    (folder / "prep.toml").write_text(RECIPE, encoding="utf-8")
    dataset = Dataset.open(folder)
    md5s = np.array([f"{n:032x}" for n in rng.permutation(posts)])
    for start in range(0, posts, PER_WRITE):
        part = range(start, min(start + PER_WRITE, posts))
        dataset.posts.append(made_posts(part, md5s, tags, rng))
    dataset.posts.fold()
    members = pa.table(
        {"set": ["main"] * posts, "md5": md5s, "post_id": np.arange(1, posts + 1)},
        schema=MEMBERS.schema,
    )
    MEMBERS.write(dataset.path_of(MEMBERS), members)
    groups = {
        "set": ["main"] * posts, "md5": md5s, "keeper": md5s, "by": ["itself"] * posts,
        "distance": np.zeros(posts, np.int32), "family": np.arange(1, posts + 1),
    }  # fmt: skip
    GROUPS.write(dataset.path_of(GROUPS), pa.table(groups, schema=GROUPS.schema))
    SITE_TAGS.write(dataset.path_of(SITE_TAGS), made_knowledge(dataset.recipe.fetch.site))
    if tagger:
        made_probabilities(dataset, md5s, rng)
    for stage in ("fetch", "dedup", "tag"):
        seals.write_seal(
            folder, stage, inputs="", output=stage, rows_in=posts, rows_out=posts, drops=[]
        )


def made_posts(part: range, md5s: np.ndarray, tags: int, rng: np.random.Generator) -> pa.Table:
    count = len(part)
    each = {"general": tags - 5, "character": 1, "copyright": 1, "artist": 1, "meta": 2}
    columns: dict[str, object] = {
        "id": np.arange(part.start + 1, part.stop + 1),
        "md5": md5s[part.start : part.stop],
        "score": rng.integers(0, 100, count).astype(np.int32),
        "created_at": pa.array(
            rng.integers(1.2e12, 1.7e12, count).astype(np.int64), pa.timestamp("ms", "UTC")
        ),
        "rating": np.array(["g", "s", "q", "e"])[rng.integers(0, 4, count)],
    }
    columns["updated_at"] = columns["created_at"]
    for category, many in each.items():
        prefix = "tag" if category == "general" else category
        names = pa.array([f"{prefix}_{n}" for n in range(NAMES)])
        drawn = np.minimum(rng.zipf(1.3, (count, many)), NAMES) - 1
        spread = (drawn + np.arange(many) * 37) % NAMES
        offsets = pa.array(np.arange(0, count * many + 1, many), pa.int32())
        columns[category] = pa.ListArray.from_arrays(offsets, names.take(pa.array(spread.ravel())))
    return filled(columns, count)


def filled(columns: dict[str, object], count: int) -> pa.Table:
    """The other columns of posts, as empty as they may be."""
    usual = {pa.string(): "", pa.bool_(): False}
    for column in POSTS.schema:
        if column.name not in columns:
            value = None if column.nullable else usual.get(column.type, 0)
            columns[column.name] = pa.array([value] * count, column.type)
    return pa.table(columns, schema=POSTS.schema)


def made_knowledge(site: str) -> pa.Table:
    """Some thousand implications and aliases, as a site has them among the tags in use."""
    rows = [
        {
            "site": site, "name": f"tag_{n}", "category": "general",
            "alias_of": f"tag_{n - 1}" if n % 50 == 49 else None,
            "implies": [f"tag_{n // 2}"] if n % 5 == 2 else [], "asked": 0,
        }
        for n in range(NAMES)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SITE_TAGS.schema)


def made_probabilities(dataset: Dataset, md5s: np.ndarray, rng: np.random.Generator) -> None:
    key, labels = "0" * 16, 9_000
    path = labels_path(dataset, key)
    path.parent.mkdir(parents=True)
    lines = [f"{n},tag_{n},0,1" for n in range(labels)]
    path.write_text("\n".join(["tag_id,name,category,count", *lines, ""]), encoding="utf-8")
    index_path(dataset).write_text(json.dumps({"tagger": key}), encoding="utf-8")
    for start in range(0, len(md5s), PER_WRITE):
        names = md5s[start : start + PER_WRITE]
        offsets = pa.array(np.arange(0, 50 * len(names) + 1, 50), pa.int32())
        label = (rng.integers(0, labels, (len(names), 1)) + np.arange(50) * 61) % labels
        value = -np.sort(-rng.random((len(names), 50), np.float32))
        columns = {
            "md5": names,
            "labels": pa.ListArray.from_arrays(offsets, label.astype(np.uint16).ravel()),
            "values": pa.ListArray.from_arrays(offsets, value.ravel()),
            "problem": pa.nulls(len(names), pa.string()),
        }
        dataset.probabilities(key).append(pa.table(columns, schema=PROBABILITIES.schema))
    dataset.probabilities(key).fold()


if __name__ == "__main__":
    main()
