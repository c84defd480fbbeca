"""Captions as other programs write them into text files: to tags, and to sentences apart."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from schemas.tags import canonical

# byte order marks, the longer ones first: UTF-32's begins with UTF-16's
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"),
)  # fmt: skip
KANA = re.compile("[\u3041-\u30ff]")
WEIGHT = re.compile(r"\([^()]*:\s*\d+(?:\.\d+)?\s*\)")
COUNT = re.compile(r"\d+\+?(?:girl|boy|other)s?")
HEAD = "|||"  # what sd-scripts puts between a caption's fixed head and the rest

# Words of English sentences, and those of them that titles have too. Danbooru's tags hold few: of
# its 140,782 most used names 31 are taken for sentences where they stand among other tags, the most
# common of them with 1,696 posts.
LINKING = frozenset(
    (
        "a", "an", "the", "is", "are", "was", "were", "has", "have", "her", "his", "their", "its",
        "she", "he", "they", "there", "this", "that", "these", "it", "with", "and", "while", "who",
        "which", "wearing", "stands", "sits", "looks",
    )
)  # fmt: skip
TITLES = frozenset(("the", "and", "that"))
OPENING = frozenset(("a", "an", "she", "he", "they", "there", "this", "these", "it"))
ENDS = re.compile(r"\w\w[.!?][\"')]?(?:\s|$)|。")


@dataclass(frozen=True)
class Caption:
    """What a text says: tags in its order, spelt as they stand; and sentences, which are none."""

    tags: tuple[str, ...] = ()
    sentence: str = ""
    weighted: bool = False  # it holds a weight such as (hat:1.2), taken as text


def decoded(data: bytes) -> tuple[str, str]:
    """Return the text and the encoding it was read by; "" where that is UTF-8, as it should be.

    A byte order mark is believed. Text that is not UTF-8 is Japanese where its kana come out, else
    Windows-1252: a guess, and so to be told. Raises UnicodeError when it is no text.
    """
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data.decode(encoding), "" if encoding == "utf-8-sig" else encoding.upper()
    if b"\0" in data:
        raise UnicodeError("it holds zero bytes")
    try:
        return data.decode(), ""
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode("cp932")
        if KANA.search(text):
            return text, "Shift-JIS"
    except UnicodeDecodeError:
        pass
    return data.decode("cp1252", errors="replace"), "Windows-1252"


def parse(text: str, known: Collection[str] = ()) -> Caption:
    """Return the tags and sentences of a caption. `known` are tags, whatever they read like.

    Tags are separated by commas or line ends, or by spaces where there is no comma and words are
    joined by underscores, as a booru writes them. Weights stay in the text of their tag: trainers
    do not read them.
    """
    tags: list[str] = []
    sentences: list[str] = []
    for line in text.replace(HEAD, ",").splitlines():
        if "," not in line and not _is_known(line, known) and _spaced(line):
            tags += line.split()
            continue
        for piece, is_sentence in pieces(line, known):
            (sentences if is_sentence else tags).append(piece)
    return Caption(tuple(tags), " ".join(sentences), bool(WEIGHT.search(text)))


def pieces(line: str, known: Collection[str] = ()) -> Iterator[tuple[str, bool]]:
    """Yield what commas part in a line, in its order, and whether it is a sentence.

    A sentence keeps the commas in it. `known` are tags, whatever they read like.
    """
    parts = [part.strip() for part in line.split(",")]
    place = 0
    while place < len(parts):
        end = place if _is_known(parts[place], known) else _sentence_end(parts, place)
        if end > place:
            yield ", ".join(filter(None, parts[place:end])), True
        elif parts[place]:
            yield parts[place], False
        place = max(end, place + 1)


def spaced(text: str) -> list[str]:
    """Return the tags of a booru's own tag string, or of a list with commas."""
    return [tag.strip() for tag in text.split(",")] if "," in text else text.split()


def _is_known(piece: str, known: Collection[str]) -> bool:
    return bool(known) and canonical(piece) in known


def _spaced(line: str) -> bool:
    """Whether a line without commas is tags with spaces between them, as a booru joins them."""
    words = line.split()
    if len(words) < 2:
        return False
    joined = any("_" in word and len(word) > 3 for word in words)  # "o_o" is a face
    counted = COUNT.fullmatch(words[0].lower()) is not None
    return joined or (counted and not LINKING.intersection(line.lower().split()))


def _sentence_end(pieces: Sequence[str], start: int) -> int:
    """The place after the sentence that begins at `start`; `start` where none does.

    A sentence with commas in it goes on to its full stop, or while its parts read like sentences.
    """
    if not _is_sentence(pieces[start], alone=len(pieces) == 1):
        return start
    for end in range(len(pieces) - 1, start - 1, -1):
        if ENDS.search(pieces[end]) and " " in pieces[end]:
            return end + 1
    end = start + 1
    while end < len(pieces) and _is_sentence(pieces[end], alone=False):
        end += 1
    return end


def _is_sentence(piece: str, *, alone: bool) -> bool:
    """Whether words read as a sentence rather than as a tag. `alone`: they are the whole line."""
    words = piece.lower().split()
    if "。" in piece:
        return True
    if "_" in piece or ":" in piece or len(words) < 3 or piece.endswith(")"):
        return False
    found = [word for word in (word.strip("\"'.!?") for word in words) if word in LINKING]
    if piece[0].isupper() and piece[-1] in ".!?":
        return True
    if len(words) < 4:
        return False
    if not TITLES.issuperset(found) and (len(found) >= 2 or words[0] in OPENING):
        return True
    return alone and bool(found) and len(words) >= 6
