"""prep.toml, key by key. Each field's docstring is the comment that `prep init` writes."""

import difflib
import re
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from schemas.recipes.section import Section
from schemas.tags import canonical

Category = Literal["general", "artist", "copyright", "character", "meta"]
RuleName = Literal[
    "source",
    "aliases",
    "drop",
    "trigger",
    "collapse",
    "edits",
    "rename",
    "implied",
    "quality",
    "year",
    "rating",
    "order",
    "render",
]
Place = Literal[
    "trigger", "quality", "year", "rating", "character", "copyright", "general", "artist", "meta"
]
Probability = Annotated[float, Field(ge=0.01, le=1)]  # `prep tag` keeps none below
Threshold = Probability | Literal["mcut"]
# what a picture shows of anybody, and is therefore no feature of a character
COMPOSITION = (
    *("1girl", "1boy", "solo", "looking at viewer", "upper body", "cowboy shot", "full body"),
    *("simple background", "white background", "smile", "closed mouth", "open mouth", "blush"),
)
LEAST_SIZE = 64  # pixels on the short side; nothing smaller is of use in training
SET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class SetSection(Section):
    """A named part of the data: images of a query, or of a folder."""

    query: str = ""
    """what to ask the site for"""
    folder: str = Field("", alias="from")
    """or a folder of images, from the dataset folder"""
    query_of: str = ""
    """or, for regularization, the query of that set without its first tag: what it is about"""
    role: Literal["train", "reg"] = "train"
    """what the images are for; reg: regularization"""
    repeats: int = Field(1, ge=1)
    """how often each image is seen in an epoch"""
    limit: int = Field(0, ge=0)
    """at most this many images; 0: all"""
    choose: int = Field(0, ge=0)
    """of a reg set: how many are chosen; 0: of a query as many as are learnt, of a folder all"""
    weight: float = Field(1.0, ge=0)
    """of the loss of these images"""

    @model_validator(mode="after")
    def _one_source(self) -> "SetSection":
        given = [bool(text.strip()) for text in (self.query, self.folder, self.query_of)]
        if sum(given) != 1:
            raise ValueError("give one of query, from and query_of")
        if self.role != "reg" and (self.choose or self.query_of):
            key = "choose" if self.choose else "query_of"
            raise ValueError(f'{key} is for a set with role = "reg"')
        if self.query_of and not self.limit:
            raise ValueError("query_of needs a limit: without its first tag a query finds too much")
        return self


class FetchSection(Section):
    """Where posts come from and how politely."""

    site: str = "https://danbooru.donmai.us"
    """a site with Danbooru's API"""
    formats: tuple[Literal["jpg", "png", "webp", "avif", "gif"], ...] = (
        "jpg",
        "png",
        "webp",
        "avif",
    )
    """file types to download; other posts are dropped with that reason"""
    size: Literal["original", "sample"] | Annotated[int, Field(ge=LEAST_SIZE)] = "original"
    """or "sample"; or pixels: the smallest version whose short side has so many"""
    animated: Literal["drop", "first-frame"] = "drop"
    """what moves; "first-frame" keeps that of gif (if a format), webp, avif, png"""
    opt_out: tuple[str, ...] = ()
    """artists whose posts are never fetched"""
    blocked: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """ids of posts that are never fetched"""
    requests_per_second: float = Field(1.0, gt=0, le=10)
    """to the API; the site asks for about 1 and forbids more than 10"""
    files_per_second: float = Field(4.0, gt=0, le=50)
    """downloads started in a second"""

    @field_validator("size", mode="before")
    @classmethod
    def _known_size(cls, size: object) -> object:
        pixels = isinstance(size, int) and not isinstance(size, bool) and size >= LEAST_SIZE
        if not pixels and size not in ("original", "sample"):
            raise ValueError(f'size is "original", "sample", or pixels, {LEAST_SIZE} or more')
        return size

    @field_validator("site")
    @classmethod
    def _web_address(cls, site: str) -> str:
        if not re.match(r"https?://[^/\s]+", site):
            raise ValueError(f'"{site}" is no web address: it starts with https:// or http://')
        if "@" in urlsplit(site).netloc:
            raise ValueError(
                "a login in the address would be written into logs:"
                " set KIROKU_LOGIN and KIROKU_API_KEY instead"
            )
        return site.rstrip("/")


class DedupSection(Section):
    """When two images are one, and which of them stands for both."""

    bits: int = Field(6, ge=0, le=16)
    """bits of pHash (of 64) that an image may differ from its keeper"""
    keep: tuple[Literal["score", "pixels", "lossless", "oldest", "bytes"], ...] = (
        "score",
        "pixels",
        "lossless",
        "oldest",
    )
    """the keeper is the best by the first of these, ties by the next"""
    merge_tags: bool = False
    """the keeper's caption takes the tags of its duplicates' posts as well"""


class TagSection(Section):
    """The taggers, and from which probability on a tag counts."""

    taggers: tuple[str, ...] = Field(("SmilingWolf/wd-swinv2-tagger-v3",), min_length=1)
    """WD14 taggers: Hub ids or folders with model.onnx and selected_tags.csv"""
    combine: Literal["mean", "max"] = "mean"
    """how several taggers' probabilities become one"""
    weight: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """of a tagger in the mean, by the name it has in taggers; 1 where it is not named"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """"cuda" stops when there is none"""
    general: Threshold = 0.35
    """probability from which a general tag counts; "mcut": above the widest gap"""
    character: Threshold = 0.85
    """the same for characters"""
    artist: Threshold = 0.85
    """for artists, which few taggers know"""
    copyright: Threshold = 0.85
    """for copyrights, which few taggers know"""
    meta: Threshold = 0.35
    """for meta tags, which few taggers know"""
    rating: float = Field(0.0, ge=0, le=1)
    """probability from which the likeliest rating is believed; 0: always"""
    top: int = Field(0, ge=0)
    """at most so many tags of each category, the likeliest; 0: all that count"""
    calibrated: bool = False
    """thresholds per tag as fitted to the booru's own tags; `prep tag --calibrate` shows them"""
    threshold: dict[str, Probability] = Field(default_factory=dict)
    """per tag, over all of the above"""

    @field_validator("general", "character", "artist", "copyright", "meta", mode="before")
    @classmethod
    def _known_threshold(cls, value: object) -> object:
        if isinstance(value, str) and value != "mcut":
            raise ValueError('it is a probability from 0.01 to 1, or "mcut"')
        return value

    @model_validator(mode="after")
    def _weights_of_taggers(self) -> "TagSection":
        for name in self.weight:
            if name not in self.taggers:
                near = difflib.get_close_matches(name, self.taggers, n=1)
                hint = f'; did you mean "{near[0]}"?' if near else ""
                raise ValueError(f'weight names "{name}", which is none of the taggers{hint}')
        if self.weight and self.combine != "mean":
            raise ValueError('weight is for combine = "mean"')
        return self

    @property
    def by_category(self) -> dict[str, float | Literal["mcut"]]:
        """Each category's threshold."""
        return {name: getattr(self, name) for name in get_args(Category)}


class DropSection(Section):
    """Tags that never reach a caption, and images that get none."""

    categories: tuple[Category, ...] = (
        "artist",
        "meta",
    )
    """whole categories"""
    tags: tuple[str, ...] = ()
    """single tags"""
    patterns: tuple[str, ...] = ()
    """tags by pattern, such as "*_username" """
    below: int | None = None
    """images, not tags: those whose post has a score below this get no caption and are left out"""


class CollapseSection(Section):
    """Fixed features that the trigger stands for, and that captions therefore leave out."""

    into: Literal["trigger"] = "trigger"
    """what stands for them"""
    tags: Literal["found"] | tuple[str, ...] = ()
    """the tags; or "found": those that at least `share` of the images have, clothes left out"""
    share: float = Field(0.8, gt=0, le=1)
    """for "found": the part of the images that must have a tag"""
    spare: tuple[str, ...] = COMPOSITION
    """for "found": tags that stay, because they say what is in the picture"""


class QualitySection(Section):
    """Quality tags: each key but these is a tag and the score or percentile it is given from."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int] = Field(init=False)

    by: Literal["score", "percentile"] = "score"
    """or "percentile": how many of 100 posts of its rating and time of upload score less"""
    which: Literal["all", "highest"] = "all"
    """all that apply, or the highest alone"""
    settle: int = Field(30, ge=0)
    """percentile: days before the newest post in which posts have too few votes to be ranked"""

    @model_validator(mode="after")
    def _figures_of_their_kind(self) -> "QualitySection":
        for tag, least in self.__pydantic_extra__.items():
            if self.by == "percentile" and not 0 <= least < 100:
                raise ValueError(
                    f'"{tag}" is given from percentile {least}: percentiles are from 0, which all'
                    " posts have, to 99"
                )
        return self

    @property
    def least(self) -> dict[str, int]:
        """The score or percentile from which each quality tag is given, the highest first."""
        return dict(sorted(self.__pydantic_extra__.items(), key=lambda item: -item[1]))


class YearSection(Section):
    """Tags of the time of upload: each key is a tag and the year from which it is given."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int] = Field(init=False)

    @model_validator(mode="after")
    def _years_apart(self) -> "YearSection":
        seen: dict[int, str] = {}
        for tag, year in self.__pydantic_extra__.items():
            if not 1000 <= year <= 9999:
                raise ValueError(f'"{tag}" is given from year {year}: a year has four digits')
            if year in seen:
                raise ValueError(f'"{seen[year]}" and "{tag}" are both given from {year}')
            seen[year] = tag
        return self

    @property
    def since(self) -> dict[str, int]:
        """The first year of each tag, the latest first."""
        return dict(sorted(self.__pydantic_extra__.items(), key=lambda item: -item[1]))


class RatingSection(Section):
    """Words for the site's ratings, or for the tagger's where an image has no post."""

    g: str = ""
    """the word for what is general; empty: none"""
    s: str = ""
    """for what is sensitive"""
    q: str = ""
    """for what is questionable"""
    e: str = ""
    """for what is explicit"""


class RenderSection(Section):
    """How tags become text."""

    order: tuple[Place, ...] = (
        *("trigger", "quality", "year", "rating", "character", "copyright", "general"),
    )
    """categories in the order they stand; categories not named come last"""
    keep: tuple[str, ...] = ("trigger",)
    """categories, or single tags, of the fixed head, which training does not shuffle"""
    tail: tuple[str, ...] = ()
    """the same of the fixed end, behind all that is shuffled, such as "quality" """
    prefix: tuple[str, ...] = ()
    """words in front of every caption, those of regularization images as well"""
    suffix: tuple[str, ...] = ()
    """words at the end of every caption"""
    sentence: Literal["none", "before", "after"] = "none"
    """beside an imported picture: left out, or behind the fixed head, or at the very end"""
    max_tokens: Literal[0, 75, 150, 225] = 0
    """tokens of train.toml's model beyond which tags are cut from the shuffled middle; 0: none"""
    escape: bool = False
    """write parentheses as \\( \\): as UIs read prompts, not as trainers read captions"""

    @field_validator("keep", "tail")
    @classmethod
    def _no_category_misspelt(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        places = get_args(Place)
        for name in names:
            if name not in places and (near := difflib.get_close_matches(name, places, 1, 0.85)):
                raise ValueError(f'"{name}" is no category: did you mean "{near[0]}"?')
        return names

    @field_validator("prefix", "suffix")
    @classmethod
    def _one_word_each(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if not word.strip() or "," in word:
                raise ValueError(f'"{word}" is not one word: write ["masterpiece", "best quality"]')
        return words

    @model_validator(mode="after")
    def _one_part_each(self) -> "RenderSection":
        for first, second in (("keep", "tail"), ("prefix", "suffix")):
            held = set(map(canonical, getattr(self, first)))
            if both := [name for name in getattr(self, second) if canonical(name) in held]:
                raise ValueError(
                    f'"{both[0]}" is in {first} and in {second}: it stands in one of them'
                )
        return self

    @property
    def parts(self) -> dict[str, str]:
        """The part, head or tail, of each category and canonical tag that has a fixed place."""
        named = (("head", self.keep), ("tail", self.tail))
        return {canonical(name): part for part, names in named for name in names}


class CaptionsSection(Section):
    """From tags to captions, by rules in order."""

    source: Literal["union", "booru", "taggers", "intersection", "booru-first"] = "union"
    """whose tags; booru-first: the booru's, and the taggers' where it has few"""
    few: int = Field(default=10, ge=1)
    """booru-first: an image with fewer general tags than this gets those of taggers as well"""
    trigger: str = ""
    """the word that the adapter is called by; empty: none"""
    rules: tuple[RuleName, ...] = get_args(RuleName)
    """the rules in their order; left out, a rule does nothing"""
    drop: DropSection = DropSection()
    collapse: CollapseSection = CollapseSection()
    rename: dict[str, str] = Field(default_factory=dict)
    """one tag's name for another's"""
    quality: QualitySection = QualitySection()
    year: YearSection = YearSection()
    rating: RatingSection = RatingSection()
    render: RenderSection = RenderSection()

    @model_validator(mode="after")
    def _rules_make_sense(self) -> "CaptionsSection":
        if len(set(self.rules)) < len(self.rules):
            raise ValueError("rules name one rule twice")
        if self.rules[:1] != ("source",) or self.rules[-1:] != ("render",):
            raise ValueError('rules start with "source" and end with "render"')
        if "aliases" in self.rules and self.rules[1] != "aliases":
            raise ValueError('"aliases" follows "source": what comes later goes by present names')
        if self.collapse.tags and not self.trigger:
            raise ValueError("collapse needs a trigger to collapse into")
        fixed = (*self.render.prefix, *self.render.suffix)
        if self.trigger.strip() and canonical(self.trigger) in map(canonical, fixed):
            raise ValueError("the trigger is in prefix or suffix: it stands in captions anyway")
        return self

    def added(self) -> dict[Place, list[str]]:
        """The words that rules add to captions, as they are written here, by their category."""
        words: dict[Place, list[str]] = {
            "trigger": [self.trigger],
            "quality": list(self.quality.least),
            "year": list(self.year.since),
            "rating": list(self.rating.model_dump().values()),
        }
        return {kind: [text for text in texts if text.strip()] for kind, texts in words.items()}


class RegSection(Section):
    """How regularization images are chosen among those of their sets."""

    match: tuple[Literal["tags", "aspect", "size"], ...] = ("tags", "aspect", "size")
    """in what they are to be like the images to learn from; empty: any will do"""


class PrepRecipe(Section):
    """prep.toml: sets, fetch, dedup, tag, caption rules."""

    sets: dict[str, SetSection] = Field(min_length=1)
    """Every set: query or from (a folder), role ("train" or "reg"), repeats, limit, weight"""
    fetch: FetchSection = FetchSection()
    dedup: DedupSection = DedupSection()
    tag: TagSection = TagSection()
    caption: CaptionsSection = CaptionsSection()
    reg: RegSection = RegSection()

    @field_validator("sets")
    @classmethod
    def _named_for_files(cls, sets: dict[str, SetSection]) -> dict[str, SetSection]:
        for name in sets:
            if not SET_NAME.fullmatch(name):
                raise ValueError(f'set "{name}": names are lower-case letters, digits, "-" and "_"')
        if all(section.role == "reg" for section in sets.values()):
            raise ValueError("no set to train on: every set has role reg")
        for name, section in sets.items():
            if section.query_of and section.query_of not in sets:
                raise ValueError(f'set "{name}": query_of names no set of this file')
            if section.query_of and not sets[section.query_of].query:
                raise ValueError(f'set "{name}": the set that query_of names has no query')
        return sets
