"""The word that somebody's captions call their subject by: the tag that leads all of them."""

import re
from collections.abc import Iterable
from pathlib import Path

from prep.imports.beside import EXTENSIONS, TEXTS
from prep.imports.layout import REG_FOLDERS
from prep.imports.texts import decoded, parse
from schemas.recipes.prep import COMPOSITION
from schemas.tags import canonical, plain

LEAST = 2  # captions: what leads a single one may be anything

# what leads captions without being anybody's name
COMMON = frozenset(map(canonical, COMPOSITION)) | {
    "masterpiece", "best_quality", "high_quality", "highres", "absurdres", "general", "sensitive",
    "no_humans", "anime", "score_9", "photo", "illustration",
}  # fmt: skip
NUMBERED = re.compile(r"(?:\d+\+?|multiple_)(?:girl|boy|other)s?|score_\d+(?:_up)?|rating:.*")


def leading(folders: Iterable[Path]) -> str:
    """Return the first tag of every text beside the images, as it is spelt; "" where they differ.

    Counts of people, words of composition and of quality lead many captions and are no name.
    """
    first: set[str] = set()
    spelt: list[str] = []
    for text in _texts(folders):
        tags = parse(text).tags
        if not tags:
            return ""
        spelt.append(plain(tags[0]))
        first.add(canonical(tags[0]))
        if len(first) > 1:
            return ""
    if len(spelt) < LEAST or first & COMMON or NUMBERED.fullmatch(next(iter(first))):
        return ""
    return max(sorted(set(spelt)), key=spelt.count)


def _texts(folders: Iterable[Path]) -> Iterable[str]:
    """The captions that lie beside an image as text."""
    for folder in folders:
        for image in sorted(folder.rglob("*")):
            # what is for regularization is not called by the trigger
            below = image.relative_to(folder).parts[0].lower()
            if image.suffix.lower() not in EXTENSIONS or below in REG_FOLDERS:
                continue
            for suffix in TEXTS:
                for path in (image.with_suffix(suffix), image.with_name(image.name + suffix)):
                    if path.is_file():
                        try:
                            yield decoded(path.read_bytes())[0]
                        except UnicodeError:
                            continue
