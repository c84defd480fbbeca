"""Regularization images that teach nothing, or teach the mistakes of a generator.

A transparent or plain picture tells a model nothing: training never sees the alpha channel.
Pictures that a generator made cost quality. Both are known from the file's header, the small
picture that dedup keeps, and the site's own tags: no file is decoded.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import ExifTags, Image

from prep.likeness import pixels_of
from prep.lint.evidence import Evidence
from prep.lint.finding import Finding, Places, images
from schemas.recipes.change import Change
from schemas.tables import CHOSEN

EMPTY, GENERATED = "empty picture", "made by a generator"
PLAIN = 2  # levels of 255 that a picture of one colour may differ in
TAGS = ("ai-generated", "ai-assisted")  # the site's, on what it lets in
TEXTS = (  # of PNG, by the programs that write them
    "parameters", "prompt", "workflow", "Dream", "sd-metadata", "invokeai_metadata",
    "generation_data", "fooocus_scheme",
)  # fmt: skip
SIGNS = ("Steps: ", "NovelAI", "Stable Diffusion", "sampler_name", '"sampler"', "CFG scale")
_USER_COMMENT = ExifTags.Base.UserComment


def regularization(evidence: Evidence) -> list[Finding]:
    """Return the regularization images, set by set, that harm or are of no use."""
    there = _wanted(evidence)
    found = []
    for name in evidence.dataset.sets("reg"):
        places = there[np.array([evidence.images.sets[n] == name for n in there.tolist()], bool)]
        found += [*_empty(evidence, name, places), *_generated(evidence, name, places)]
    return found


def _wanted(evidence: Evidence) -> Places:
    """The regularization images; those alone that were chosen, where that was done."""
    table = evidence.dataset.table(CHOSEN)
    chosen = set(zip(table["set"].to_pylist(), table["md5"].to_pylist(), strict=True))
    if not chosen:
        return np.flatnonzero(evidence.images.is_reg)
    keys = zip(evidence.images.sets, evidence.images.md5s, strict=True)
    is_chosen = np.array([key in chosen for key in keys], bool)
    return np.flatnonzero(evidence.images.is_reg & is_chosen)


def _empty(evidence: Evidence, name: str, places: Places) -> list[Finding]:
    md5s = pa.array([evidence.images.md5s[n] for n in places.tolist()], pa.string())
    hashes = evidence.dataset.hashes.take(md5s, "small")
    hashes = hashes.filter(hashes["small"].is_valid())
    smalls = pixels_of(hashes["small"].to_pylist())
    spread = np.ptp(smalls, axis=(1, 2)).max(axis=1, initial=0)
    plain = set(pc.filter(hashes["md5"], pa.array(spread <= PLAIN)).to_pylist())
    where = places[np.array([evidence.images.md5s[n] in plain for n in places.tolist()], bool)]
    if not len(where):
        return []
    one = len(where) == 1
    what = (
        f"{images(len(where))} of the reg set {name} {'is' if one else 'are'} transparent or of one"
        f" colour: training sees nothing in {'it' if one else 'them'}"
    )
    return [Finding(EMPTY, True, what, where, remedy=f"{_take_out(one)}, or train without the set")]


def _generated(evidence: Evidence, name: str, places: Places) -> list[Finding]:
    said = evidence.shown.any_of(TAGS)[places]
    paths = _paths(evidence)
    md5s = evidence.images.md5s
    made = np.array([md5s[n] in paths and made_by_generator(paths[md5s[n]]) for n in places], bool)
    where = places[said | made]
    if not len(where):
        return []
    one = len(where) == 1
    what = (
        f"{images(len(where))} of the reg set {name} {'was' if one else 'were'} made by a"
        f" generator, as {'its' if one else 'their'} metadata or the site says:"
        f" {'its' if one else 'their'} flaws are learnt"
    )
    part = evidence.recipe.sets[name]
    if said.any() and part.query and TAGS[0] not in part.query:
        change = Change(("sets", name, "query"), f"{part.query} -{TAGS[0]}")
        remedy = "then prep fetch and prep reg --refit"
        return [Finding(GENERATED, True, what, where, TAGS, (change,), remedy)]
    return [Finding(GENERATED, True, what, where, remedy=_take_out(one))]


def _take_out(one: bool) -> str:
    file = "its file out of images/, which excludes it"
    return f"take {file}" if one else "take their files out of images/, which excludes them"


def _paths(evidence: Evidence) -> Mapping[str, Path]:
    table = evidence.dataset.images.columns("path")
    rows = zip(table["md5"].to_pylist(), table["path"].to_pylist(), strict=True)
    return {md5: evidence.dataset.root / path for md5, path in rows}


def made_by_generator(path: Path) -> bool:
    """Whether a file's header has what image generators write there; False where it has none."""
    try:
        with Image.open(path) as picture:
            if any(text in picture.info for text in TEXTS):
                return True
            exif = picture.getexif()
            comment = exif.get_ifd(ExifTags.IFD.Exif).get(_USER_COMMENT, b"")
            texts = [*picture.info.values(), *exif.values(), comment]
            return any(sign in text for text in map(_text, texts) for sign in SIGNS)
    except Exception:  # decoders raise anything from SyntaxError to struct.error
        return False


def _text(value: object) -> str:
    """A value of a header as text; a UserComment begins with its encoding's name."""
    if isinstance(value, bytes):
        encoding = "utf-16" if value.startswith(b"UNICODE\0") else "utf-8"
        return value.removeprefix(b"UNICODE\0").decode(encoding, "replace").replace("\0", "")
    return value if isinstance(value, str) else ""
