"""The demo model's tokenizer: CLIP's two files, with merges learnt from the world's own words."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from schemas.files import write_json, write_text

MAX_MERGES = 2048  # CLIP has 48,894
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def write_tokenizer(folder: Path, words: Iterable[str]) -> int:
    """Write CLIP's files, with merges learnt from `words`; return the vocabulary's size.

    Each word is learnt with a comma behind it too: signs and the comma after them are one piece.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    spelt = sorted({form for word in words for form in (word, f"{word},")})
    merges = _learn_merges(spelt)
    joined = dict.fromkeys(left + right for left, right in merges)
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *joined, BEGIN, END]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    write_text(folder / "merges.txt", "\n".join(lines) + "\n")
    special = {"bos_token": BEGIN, "eos_token": END, "pad_token": END, "unk_token": END}
    write_json(folder / "special_tokens_map.json", special)
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    write_json(folder / "tokenizer_config.json", settings | special)
    return len(vocabulary)


def _learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Learn byte-pair merges by the rules with which CLIP's tokenizer will apply them.

    Lower case; letters, single digits and runs of signs apart; a word's last piece ends in
    `</w>` (Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2021, arXiv:2103.00020). Of
    equally frequent pairs the first in order merges first, so that every machine learns the same.
    """
    spelt = Counter(piece for word in words for piece in _pieces(word))
    pieces = {piece: [*piece[:-1], f"{piece[-1]}</w>"] for piece in sorted(spelt)}
    merges: list[tuple[str, str]] = []
    pairs: Counter[tuple[str, str]] = Counter()
    holders: dict[tuple[str, str], set[str]] = defaultdict(set)

    def count(piece: str, times: int) -> None:
        for pair in pairwise(pieces[piece]):
            pairs[pair] += times * spelt[piece]
            holders[pair].add(piece)
            if not pairs[pair]:
                del pairs[pair]

    for piece in pieces:
        count(piece, 1)
    while pairs and len(merges) < MAX_MERGES:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for piece in holders.pop(best):  # or held it once, which changes nothing
            count(piece, -1)
            pieces[piece] = _merged(pieces[piece], best)
            count(piece, 1)
    return merges


def _pieces(word: str) -> list[str]:
    """Cut as CLIP does, each piece as the letters that stand for its UTF-8 bytes."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    cut = Sequence(
        [
            Split(Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True),
            ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return [piece for piece, _ in cut.pre_tokenize_str(word.lower())]


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged
