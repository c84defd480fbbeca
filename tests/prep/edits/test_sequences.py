"""Random sequences of everything that happens to a dataset: not one edit is lost.

Each sequence mixes edits of all kinds, undoing and doing again, other thresholds, probabilities and
rules, other keepers, new and vanished posts, replaced pictures, and kills in the middle of writing
the journal. What captions must then be is told by a model of dicts and lists, which knows neither
tables nor journal. KIROKU_TEST_SEQUENCES says how many sequences are tried.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from prep import caption
from prep.dataset import Dataset
from prep.edits import conflicts
from prep.edits import edit as edits
from prep.edits.edit import Wanted
from prep.edits.journal import FILE, TORN, read
from prep.probabilities import index_path, labels_path
from schemas.errors import DatasetError
from schemas.files import write_json, write_text
from schemas.tables import CAPTIONS, GROUPS, MEMBERS, POSTS, PROBABILITIES, REPLACED

SEQUENCES = int(os.environ.get("KIROKU_TEST_SEQUENCES", "25"))
STEPS = 12
RULES = ("source", "drop", "trigger", "collapse", "edits", "rename", "order", "render")
CODES = {"general": 0, "artist": 1, "copyright": 3, "character": 4}
POST: dict[str, Any] = {
    "pixel_hash": None, "file_ext": "png", "file_size": 1, "width": 1, "height": 1, "rating": "g",
    "fav_count": 0, "created_at": 0, "updated_at": 0, "parent_id": None, "is_deleted": False,
    "is_banned": False, "source": "", "file_url": None,
}  # fmt: skip


# the model: dicts and lists

CATEGORY = {
    "hat": "general", "hair": "general", "smile": "general", "belt": "general", "dog": "general",
    "azusa": "character", "saga": "copyright", "painter": "artist", "late": "general",
    "trig": "trigger",
}  # fmt: skip
NAMES = tuple(name for name in CATEGORY if name not in ("late", "trig"))
SITE = ("general", "artist", "copyright", "character", "meta")
ORDER = ("trigger", "quality", "character", "copyright", "general")
PARTS = ("head", "flex", "tail")


@dataclass
class Picture:
    score: int
    tags: list[str]  # of its post
    read: dict[str, float]  # by the tagger


@dataclass
class Edit:
    """One command: its steps, each with the images it named and their copies at that time."""

    steps: list[tuple[str, tuple[str, ...], list[tuple[str, list[str]]]]]
    stands: bool = True


@dataclass
class Model:
    pictures: dict[str, Picture] = field(default_factory=dict)
    keeper: dict[str, str] = field(default_factory=dict)  # of each image of the set, as it came
    stands_for: dict[str, str] = field(default_factory=dict)  # what replaced an image
    threshold: float = 0.5
    dropped: list[str] = field(default_factory=list)
    collapsed: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    undone: list[Edit] = field(default_factory=list)
    again: list[Edit] = field(default_factory=list)  # standing ones, in the order of undoing

    @property
    def keepers(self) -> list[str]:
        return sorted(md5 for md5, keeper in self.keeper.items() if md5 == keeper)

    def do(self, edit: Edit) -> None:
        self.edits.append(edit)
        self.again.append(edit)
        self.undone = []

    def undo(self, count: int) -> int:
        taken = self.again[::-1][:count]
        for edit in taken:
            edit.stands = False
            self.again.remove(edit)
        self.undone += taken
        return len(taken)

    def redo(self, count: int) -> int:
        taken = self.undone[::-1][:count]
        for edit in taken:
            edit.stands = True
            self.undone.remove(edit)
        self.again += taken
        return len(taken)

    def from_sources(self, md5: str) -> list[str]:
        picture = self.pictures[md5]
        tags = [tag for kind in SITE for tag in picture.tags if CATEGORY[tag] == kind]
        sure = [tag for tag, value in picture.read.items() if value >= self.threshold]
        tags += sorted(sure, key=lambda tag: (-picture.read[tag], NAMES.index(tag)))
        once = [tag for tag in dict.fromkeys(tags) if tag not in self.dropped]
        return ["trig", *(tag for tag in once if tag not in self.collapsed)]

    def named(self, md5: str, copies: list[str]) -> set[str]:
        """The keepers that an image named by an edit speaks of now."""
        if md5 in self.keeper:
            return {self.keeper[md5]}
        return {self.keeper[copy] for copy in copies if copy in self.keeper}

    def edited(self, md5: str) -> "Caption":
        found = Caption([[tag, None, True] for tag in self.from_sources(md5)])
        for number, edit in enumerate(self.edits):
            for kind, words, images in edit.steps if edit.stands else ():
                if any(md5 in self.named(image, copies) for image, copies in images):
                    found.do(kind, words, number)
        return found

    def captions(self) -> dict[str, list[str]]:
        return {
            self.stands_for.get(md5, md5): self.finished(caption)
            for md5 in self.keepers
            if not (caption := self.edited(md5)).excluded
        }

    def finished(self, caption: "Caption") -> list[str]:
        rows = [(name, part) for name, part, there in caption.rows if there]
        if not caption.written:
            rows = list(dict.fromkeys((self.renamed.get(name, name), part) for name, part in rows))
            last = len(ORDER)
            rank = {kind: n for n, kind in enumerate(ORDER)}
            rows.sort(key=lambda row: rank.get(CATEGORY[row[0]], last))
        places = {
            name: PARTS.index(part or ("head" if CATEGORY[name] == "trigger" else "flex"))
            for name, part in rows
        }
        return sorted(places, key=lambda name: places[name])


@dataclass
class Caption:
    rows: list[list[object]]  # name, part, whether it is there
    written: bool = False
    excluded: bool = False
    conflicts: list[tuple[int, str]] = field(default_factory=list)

    @property
    def tags(self) -> list[str]:
        return [str(name) for name, _, there in self.rows if there]

    def row(self, name: str) -> list[object] | None:
        return next((row for row in self.rows if row[0] == name), None)

    def put(self, name: str, part: str | None = None) -> None:
        if (row := self.row(name)) is None:
            self.rows.append([name, part, True])
        else:
            row[2] = True

    def do(self, kind: str, words: tuple[str, ...], edit: int) -> None:
        match kind:
            case "add":
                for name in words:
                    self.put(name)
            case "remove":
                if words[0] not in self.tags:
                    self.conflicts.append((edit, words[0]))
                else:
                    self.row(words[0])[2] = False  # type: ignore[index]
            case "replace":
                old, new = words
                if old not in self.tags:
                    self.conflicts.append((edit, old))
                elif old != new and new in self.tags:
                    self.row(old)[2] = False  # type: ignore[index]
                elif old != new:
                    self.rows = [row for row in self.rows if row[0] != new]
                    self.row(old)[0] = new  # type: ignore[index]
            case "set":
                self.rows = [row for row in self.rows if row[0] == "trig"]
                for name in words:
                    self.put(name)
                self.written = False
            case "caption":
                parts = words[0].split("|||")
                self.rows, self.written = [], True
                for place, text in enumerate(parts):
                    for name in filter(None, (word.strip() for word in text.split(","))):
                        if self.row(name) is None:
                            self.rows.append([name, PARTS[place] if len(parts) > 1 else None, True])
            case "exclude" | "include":
                self.excluded = kind == "exclude"


# the dataset


class World:
    """A dataset folder, and the model of what it must say."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.random, self.model = root, Random(seed), Model()
        self.count = 0
        self.torn = b""
        for _ in range(4):
            self.new_post()
        self.write_recipe()
        dataset = Dataset.open(root)
        write_json(index_path(dataset), {"wd": "0123"})
        labels = [f"{n},{name},{CODES[CATEGORY[name]]},9" for n, name in enumerate(NAMES)]
        write_text(
            labels_path(dataset, "0123"), "\n".join(["tag_id,name,category,count", *labels, ""])
        )
        self.write_pictures(self.model.pictures)
        self.write_groups()
        caption.caption(dataset)

    def some(self, most: int = 3) -> list[str]:
        return self.random.sample(NAMES, self.random.randint(1, most))

    # what happens to the dataset

    def new_post(self) -> str:
        self.count += 1
        md5 = f"{self.count:032x}"
        self.model.pictures[md5] = Picture(self.random.randint(0, 60), self.some(4), self.reading())
        self.model.keeper[md5] = md5
        return md5

    def reading(self) -> dict[str, float]:
        return {name: self.random.choice([0.3, 0.4, 0.6, 0.9]) for name in self.some(3)}

    def posts_come(self) -> None:
        md5 = self.new_post()
        if self.random.random() < 0.5:  # a duplicate of another, which goes on being the keeper
            self.model.keeper[md5] = self.random.choice(self.model.keepers)
        self.write_pictures({md5: self.model.pictures[md5]})
        self.write_groups()

    def posts_go(self) -> None:
        if len(self.model.keeper) > 2:
            gone = self.random.choice(sorted(self.model.keeper))
            rest = [m for m, k in self.model.keeper.items() if k == gone and m != gone]
            del self.model.keeper[gone]
            for md5 in rest:  # one of its copies is the keeper now
                self.model.keeper[md5] = rest[0]
            self.write_groups()

    def keepers_change(self) -> None:
        one, other = self.random.choices(sorted(self.model.keeper), k=2)
        group = [m for m, k in self.model.keeper.items() if k == self.model.keeper[one]]
        if self.random.random() < 0.3:  # the group falls apart
            self.model.keeper.update({md5: md5 for md5 in group})
        else:
            group += [m for m, k in self.model.keeper.items() if k == self.model.keeper[other]]
            keeper = self.random.choice(group)
            self.model.keeper.update(dict.fromkeys(group, keeper))
        self.write_groups()

    def is_tagged_again(self) -> None:
        md5 = self.random.choice(sorted(self.model.keeper))
        picture = self.model.pictures[md5]
        picture.read = self.reading()
        if self.random.random() < 0.5:
            picture.tags = self.some(4)
        self.write_pictures({md5: picture})

    def rules_change(self) -> None:
        model = self.model
        match self.random.randrange(4):
            case 0:
                model.threshold = self.random.choice([0.35, 0.5, 0.8])
            case 1:
                model.dropped = self.some(2) if self.random.random() < 0.7 else []
            case 2:
                model.collapsed = self.some(2) if self.random.random() < 0.7 else []
            case _:
                # two general tags: a renamed tag keeps its category
                old, new = self.random.sample(["hat", "hair", "smile", "belt", "dog"], 2)
                model.renamed = {old: new} if self.random.random() < 0.7 else {}
        self.write_recipe()

    def a_picture_is_replaced(self) -> None:
        md5 = self.random.choice(sorted(self.model.keeper))
        if self.model.stands_for.pop(md5, None) is None:
            self.model.stands_for[md5] = f"{'f' * 8}{self.count:012x}{md5[-12:]}"
        self.write_pictures({md5: self.model.pictures[md5]})
        self.write_groups()

    # what a person does

    def query(self) -> tuple[str, Any]:
        """A query, and the same as a test of a picture and its tags."""
        tag, other, score = *self.random.sample(NAMES, 2), self.random.randint(0, 60)
        return self.random.choice(
            [
                ("", lambda p, tags: True),
                (tag, lambda p, tags: tag in tags),
                (f"-{tag}", lambda p, tags: tag not in tags),
                (f"{tag} -{other}", lambda p, tags: tag in tags and other not in tags),
                (f"{tag} or score:>={score}", lambda p, tags: tag in tags or p.score >= score),
            ]
        )

    def wanted(self) -> tuple[Wanted, list[tuple[str, tuple[str, ...]]]]:
        """What is to be done, and the same as steps of the model."""
        a, b, c = self.random.sample(NAMES, 3)
        return self.random.choice(
            [
                (Wanted(add=(f"{a}, {b}",)), [("add", (a, b))]),
                (Wanted(remove=(a,)), [("remove", (a,))]),
                (Wanted(remove=(a, b)), [("remove", (a,)), ("remove", (b,))]),
                (Wanted(add=(b,), remove=(a,)), [("remove", (a,)), ("add", (b,))]),
                (Wanted(replace=((a, b),)), [("replace", (a, b))]),
                (Wanted(replace=((a, b),), add=(c,)), [("replace", (a, b)), ("add", (c,))]),
                (Wanted(set=f"{a},{b}"), [("set", (a, b))]),
                (Wanted(caption=f"{a},{b}"), [("caption", (f"{a},{b}",))]),
                (Wanted(caption=f"trig ||| {a} ||| {b}"), [("caption", (f"trig|||{a}|||{b}",))]),
                (Wanted(exclude=True), [("exclude", ())]),
                (Wanted(include=True), [("include", ())]),
            ]
        )

    def edit(self) -> None:
        (query, finds), (wanted, steps) = self.query(), self.wanted()
        now = {md5: self.model.edited(md5) for md5 in self.model.keepers}
        found = [
            md5 for md5, caption in now.items()
            if caption.excluded == wanted.include and finds(self.model.pictures[md5], caption.tags)
        ]  # fmt: skip
        made = Edit([])
        for kind, words in steps:
            named = [
                self.named(md5)
                for md5 in found
                if kind not in ("remove", "replace") or words[0] in now[md5].tags
            ]
            if named:
                made.steps.append((kind, words, named))
        if made.steps:
            edits.edit(self.root, query, wanted, command="")
            self.model.do(made)
        else:
            with pytest.raises(DatasetError):
                edits.edit(self.root, query, wanted, command="")

    def undo(self) -> None:
        self.back_or_forth(self.model.undo, edits.undo)

    def redo(self) -> None:
        self.back_or_forth(self.model.redo, edits.redo)

    def back_or_forth(self, in_model: Any, in_journal: Any) -> None:
        count = self.random.choice([1, 1, 2, 3])
        if done := in_model(count):
            assert len(in_journal(self.root, count, command="")) == done
        else:
            with pytest.raises(DatasetError):
                in_journal(self.root, count, command="")

    def is_killed(self) -> None:
        """An edit of which only a part of the line reaches the disk never was."""
        now = {md5: self.model.edited(md5) for md5 in self.model.keepers}
        if not (found := [md5 for md5, caption in now.items() if not caption.excluded]):
            return
        edits.edit(self.root, "", Wanted(add=("late",)), command="")
        path = self.root / FILE
        after = path.read_bytes()
        start = after[:-1].rfind(b"\n") + 1
        kept = self.random.choice([start, len(after) - 1, self.random.randrange(start, len(after))])
        path.write_bytes(after[:kept])
        if kept == len(after) - 1:  # nothing but the line's end is missing
            self.model.do(Edit([("add", ("late",), [self.named(md5) for md5 in found])]))
        elif kept > start:
            self.torn += after[start:kept] + b"\n"

    def named(self, md5: str) -> tuple[str, list[str]]:
        """A keeper, and the other images of its group."""
        return md5, [m for m, k in self.model.keeper.items() if k == md5 and m != md5]

    def step(self) -> str:
        happenings = {
            self.edit: 10, self.undo: 3, self.redo: 2, self.is_killed: 2, self.keepers_change: 2,
            self.is_tagged_again: 2, self.rules_change: 2, self.posts_come: 1, self.posts_go: 1,
            self.a_picture_is_replaced: 1,
        }  # fmt: skip
        (happening,) = self.random.choices(list(happenings), list(happenings.values()))
        happening()
        return happening.__name__

    # how it is written down

    def write_recipe(self) -> None:
        model = self.model
        lines = [
            "[sets]", 'main = { query = "hat" }', "[tag]", 'taggers = ["wd"]',
            f"general = {model.threshold}", f"character = {model.threshold}", "[tag.threshold]",
            *(f"{name} = {model.threshold}" for name in NAMES), "[caption]", 'trigger = "trig"',
            f"rules = {json.dumps(RULES)}",
            f"drop = {{ categories = [], tags = {json.dumps(model.dropped)} }}",
            f"collapse = {{ tags = {json.dumps(model.collapsed)} }}", "[caption.rename]",
            *(f"{old} = {json.dumps(new)}" for old, new in model.renamed.items()),
        ]  # fmt: skip
        write_text(self.root / "prep.toml", "\n".join([*lines, ""]))

    def write_pictures(self, pictures: dict[str, Picture]) -> None:
        dataset, posts, read_ = Dataset.open(self.root), [], []
        for md5, picture in pictures.items():
            by_kind = {kind: [t for t in picture.tags if CATEGORY[t] == kind] for kind in SITE}
            posts.append(
                {**POST, "id": int(md5, 16), "md5": md5, "score": picture.score, **by_kind}
            )
            labels = sorted(picture.read, key=NAMES.index)
            read_.append(
                {
                    "md5": self.model.stands_for.get(md5, md5), "problem": None,
                    "labels": [NAMES.index(name) for name in labels],
                    "values": [picture.read[name] for name in labels],
                }
            )  # fmt: skip
        dataset.posts.append(pa.Table.from_pylist(posts, schema=POSTS.schema))
        probabilities = dataset.probabilities("0123")
        probabilities.append(pa.Table.from_pylist(read_, schema=PROBABILITIES.schema))
        dataset.posts.fold()
        probabilities.fold()

    def write_groups(self) -> None:
        dataset, model = Dataset.open(self.root), self.model
        now = model.stands_for
        groups = [
            {"set": "main", "md5": now.get(md5, md5), "keeper": now.get(keeper, keeper),
             "by": "itself", "distance": 0, "family": None}
            for md5, keeper in model.keeper.items()
        ]  # fmt: skip
        members = [{"set": "main", "md5": md5, "post_id": int(md5, 16)} for md5 in model.keeper]
        held = {(row["md5"], row["by"]) for row in dataset.table(REPLACED).to_pylist()}
        replaced = [
            {"md5": md5, "by": by, "current": now.get(md5) == by}
            for md5, by in sorted(held | set(now.items()))
        ]
        for table, rows in ((GROUPS, groups), (MEMBERS, members), (REPLACED, replaced)):
            table.write(dataset.path_of(table), pa.Table.from_pylist(rows, schema=table.schema))

    def check(self) -> None:
        """The captions, the drops and the conflicts are those of the model."""
        dataset = Dataset.open(self.root)
        seal = caption.caption(dataset)
        rows = dataset.table(CAPTIONS).to_pylist()
        made = {row["md5"]: [tag["tag"] for tag in row["tags"]] for row in rows}
        assert made == self.model.captions()
        expected: Counter[int] = Counter()
        now: list[Caption] = [self.model.edited(md5) for md5 in self.model.keepers]
        ids = [entry.id for entry in read(self.root).entries if entry.changes]
        for one in now:
            expected.update(ids[number] for number, _ in one.conflicts)
        assert conflicts.counted(self.root) == dict(expected)
        assert sum(seal.dropped.values()) == sum(one.excluded for one in now)
        torn = self.root / TORN
        journal = (self.root / FILE).read_bytes() if (self.root / FILE).exists() else b""
        left = journal[journal.rfind(b"\n") + 1 :]
        kept = torn.read_bytes() if torn.exists() else b""
        if not left.endswith(b"}]}"):  # a part of a line, which the next edit puts with the others
            kept += left + b"\n" * bool(left)
        assert kept == self.torn


@pytest.mark.slow
@pytest.mark.parametrize("tenth", range(10))
def test_no_edit_is_lost_whatever_happens_to_the_dataset(tmp_path: Path, tenth: int) -> None:
    for seed in range(tenth, SEQUENCES, 10):
        root = tmp_path / str(seed)
        root.mkdir()
        world = World(root, seed)
        happened: list[str] = []
        try:
            for number in range(STEPS):
                happened.append(world.step())
                if number % 6 == 5:
                    world.check()
        except BaseException as error:
            error.add_note(f"sequence {seed}: {' '.join(happened)}")
            raise
