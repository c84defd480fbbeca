"""Tags: one canonical form to compare them in, and one way to write them out.

The canonical form is the site's: lower case, words joined by underscores, no escapes. What a
person types (spaces, capitals, parentheses escaped as in prompts) is brought to it once, on input.
"""

import re

CATEGORIES = ("general", "artist", "copyright", "character", "meta")  # the site's own
MADE = ("trigger", "quality", "rating", "year")  # those that rules add
SENTENCE = "sentence"  # no tag: what was said beside an imported picture

# Faces are pictures, not words: the names whose underscore stays when others become spaces, in all
# programs that write tags so. (A rule by length would miss four of them.)
KAOMOJI = frozenset(
    (
        "0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9",
        ">_o", "@_@", "^_^", "o_o", "u_u", "x_x", "|_|", "||_||", "t_t", "o_x",
    )
)  # fmt: skip


def plain(text: str) -> str:
    """Return a tag as a person spelt it, without the escapes of prompts and outer spaces.

    Parentheses lose their backslash where all have one, as prompts write them; a name such as
    `\\m/` or `\\(^o^)/` keeps its own.
    """
    if len(re.findall(r"\\[()]", text)) == len(re.findall(r"[()]", text)):
        text = re.sub(r"\\([()])", r"\1", text)
    return " ".join(text.split())


def canonical(text: str) -> str:
    """Return the canonical form of a tag as a person or a site wrote it."""
    return plain(text).replace(" ", "_").lower()


def rendered(tag: str, *, escape: bool) -> str:
    """Return a canonical tag as a caption has it: spaces for underscores, faces left alone.

    `escape` writes parentheses as `\\(` and `\\)`, which UIs need where they mean weights.
    """
    return escaped(tag if _is_face(tag) else tag.replace("_", " "), escape)


def escaped(text: str, escape: bool) -> str:
    """Return the text with a backslash before each parenthesis, if `escape` wants it."""
    return text.replace("(", r"\(").replace(")", r"\)") if escape else text


def split(text: str) -> list[str]:
    """Return the tags of a comma-separated text in canonical form, each once, in order."""
    return list(dict.fromkeys(filter(None, map(canonical, text.split(",")))))


def _is_face(tag: str) -> bool:
    """Whether the tag is a face: one of the known ones, or signs alone, such as `;_;`."""
    return tag in KAOMOJI or not any(character.isalnum() for character in tag)
