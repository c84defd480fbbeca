"""What a person changed in captions that were given out, as edits: three-way.

What was given out is compared with what came back, and only the difference becomes edits of what
captions are now; what rules or posts have changed meanwhile stays. Tags that came or went are added
or removed. Where that does not say it all (another order, another part of the caption, a tag that
rules behind the edits make), the whole caption is taken as it was written.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from prep import caption
from prep.edits.apply import Edited, edited
from prep.edits.find import Captions
from prep.edits.journal import Change, EditTag, Entry, Kind
from prep.edits.operations import standing
from prep.edits.places import places_of
from schemas.errors import UsageError
from schemas.tables import PARTS
from schemas.tags import SENTENCE, canonical, split

SEPARATOR = re.compile(r"\s*\|\|\|\s*")


@dataclass(frozen=True)
class Said:
    """A caption: canonical tags in order, and the part of each, "" where nothing says it."""

    tags: tuple[str, ...]
    parts: tuple[str, ...]

    @classmethod
    def in_text(cls, text: str, sentences: Sequence[str] = ()) -> "Said":
        """Read a text. Raises UsageError where it has more than three parts.

        The sentences, which are none of its tags, must still be in it.
        """
        for one in sentences:
            if one not in text:
                raise _changed(one)
            text = text.replace(one, "", 1)
        sections = [split(section) for section in SEPARATOR.split(text.strip())]
        if len(sections) > len(PARTS):
            raise UsageError('a caption has a head, a middle and a tail: "|||" stands twice in it')
        if len(sections) == 1:
            return cls(tuple(sections[0]), ("",) * len(sections[0]))
        found: dict[str, str] = {}
        for part, names in zip(PARTS, sections, strict=False):
            for name in names:
                found.setdefault(name, part)
        return cls(tuple(found), tuple(found.values()))

    @classmethod
    def in_tags(cls, tags: Sequence[Mapping[str, Any]]) -> "Said":
        """Read tags as the manifest has them."""
        found = {
            canonical(str(tag["tag"])): str(tag.get("part", ""))
            for tag in tags
            if tag.get("category") != SENTENCE
        }
        return cls(tuple(found), tuple(found.values()))


def sentences_of(tags: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the sentences among the tags of a caption, as they are written there."""
    return [str(tag["tag"]) for tag in tags if tag.get("category") == SENTENCE]


def check_sentences(given: Sequence[Mapping[str, Any]], back: Sequence[Mapping[str, Any]]) -> None:
    """Raise UsageError where a sentence was changed: no edit can say that."""
    for one, other in zip_longest(sentences_of(given), sentences_of(back)):
        if one != other:
            raise _changed(one or other or "")


def _changed(sentence: str) -> UsageError:
    start = sentence if len(sentence) <= 40 else f"{sentence[:40]} ..."
    return UsageError(
        f'the sentence "{start}" was changed: edits are of tags, and sentences are changed in the'
        " folder they were imported from, or by `prep edit --caption`"
    )


def as_text(tags: Sequence[Mapping[str, Any]]) -> str:
    """Return a caption with `|||` between its parts, where it has more than the middle."""
    sections = [[tag["tag"] for tag in tags if tag["part"] == part] for part in PARTS]
    while len(sections) > 2 and not sections[-1]:
        sections.pop()
    if not sections[0] and len(sections) == 2:
        sections = sections[1:]
    return " ||| ".join(", ".join(section) for section in sections)


@dataclass(frozen=True)
class _Difference:
    md5: str
    removed: tuple[str, ...]
    added: tuple[str, ...]
    whole: tuple[EditTag, ...]  # the caption as it came back
    rearranged: bool


def changes(captions: Captions, pairs: Sequence[tuple[str, Said, Said]]) -> tuple[Change, ...]:
    """Return the edits that make of captions now what a person made of those given out.

    pairs: md5, what was given out, what came back. Images that differ in nothing have no edit.
    """
    found = [_difference(captions, *pair) for pair in pairs if pair[1] != pair[2]]
    found = [one for one in found if one.rearranged or one.removed or one.added]
    steps = list(_steps(captions, [one for one in found if not one.rearranged]))
    missed = _missed(captions, found, steps)
    whole = [one for one in found if one.rearranged or one.md5 in missed]
    if missed:
        rest = [one for one in found if not one.rearranged and one.md5 not in missed]
        steps = list(_steps(captions, rest))
    written: list[Step] = [(("caption", one.whole), one.md5) for one in whole]
    return tuple(_gathered(captions, [*steps, *written]))


def _difference(captions: Captions, md5: str, given: Said, back: Said) -> _Difference:
    before = dict(zip(given.tags, given.parts, strict=True))
    after = dict(zip(back.tags, back.parts, strict=True))
    both = [name for name in before if name in after]
    moved = any(after[name] and after[name] != before[name] for name in both)
    fixed = captions.dataset.recipe.caption.render.parts
    added = [captions.tag(name, after[name]) for name in after if name not in before]
    placed = any(
        tag.part and tag.part != fixed.get(tag.tag, fixed.get(tag.category, "flex"))
        for tag in added
    )
    whole = [captions.tag(name, after[name] or before.get(name, "")) for name in after]
    return _Difference(
        md5,
        tuple(name for name in before if name not in after),
        tuple(tag.tag for tag in added),
        (*whole, *captions.sentences(md5)),
        moved or placed or both != [name for name in after if name in before],
    )


Step = tuple[tuple[Kind, tuple[EditTag, ...]], str]  # what is done, to which image


def _steps(captions: Captions, found: Sequence[_Difference]) -> Iterator[Step]:
    """Removals under the names that tags have before they are renamed, then additions.

    What the journal says already, and is so, is left out.
    """
    renamed: dict[str, list[str]] = {}
    for old, new in captions.dataset.recipe.caption.rename.items():
        renamed.setdefault(canonical(new), []).append(canonical(old))
    for one in found:
        for name in one.removed:
            earlier = [old for old in renamed.get(name, ()) if captions.has(one.md5, old)]
            names = earlier + [name] * (not earlier or captions.has(one.md5, name))
            for each in names:
                if captions.was_said("remove", each, one.md5) and not captions.has(one.md5, each):
                    continue  # the same file is taken back once more
                yield ("remove", (captions.tag(each),)), one.md5
        added = [
            name
            for name in one.added
            if not (captions.was_said("add", name, one.md5) and captions.has(one.md5, name))
        ]
        if added:
            yield ("add", tuple(map(captions.tag, added))), one.md5


def _gathered(captions: Captions, steps: Sequence[Step]) -> Iterator[Change]:
    """The steps, those that are the same for several images as one change."""
    images: dict[tuple[Kind, tuple[EditTag, ...]], dict[str, None]] = {}
    for step, md5 in steps:
        images.setdefault(step, {})[md5] = None
    for (do, tags), md5s in images.items():
        yield Change(do, tuple(md5s), tags, "", captions.copies(tuple(md5s)))


def _missed(captions: Captions, found: Sequence[_Difference], steps: Sequence[Step]) -> set[str]:
    """The images whose captions the steps would not make what they are to be.

    A rule behind the edits adds what was removed, or takes away what was added.
    """
    now = captions.now
    held = standing(
        [Entry(1, "", "", tuple(_gathered(captions, steps)))],
        places_of(captions.dataset, now.images),
        len(now.images),
    )
    after = edited(now.edited.tags, held, 0)
    written = held.written | now.edited.standing.written
    after = Edited(after.tags, replace(held, written=written), after.conflicts)
    table = caption.captions_of(captions.dataset.recipe.caption, replace(now, edited=after))
    wanted = [one for one in found if not one.rearranged and captions.place(one.md5) is not None]
    taken = table.take(pa.array([captions.place(one.md5) for one in wanted], pa.int64()))
    names_of = captions.dataset.recipe.caption.rename.items()
    renamed = {canonical(old): canonical(new) for old, new in names_of}
    missed = set()
    for one, tags in zip(wanted, taken["tags"].to_pylist(), strict=True):
        names = {canonical(tag["text"]) for tag in tags}
        lost = [name for name in one.added if not names & {name, renamed.get(name, name)}]
        if lost or names & set(one.removed):
            missed.add(one.md5)
    return missed
