"""`prep lint`: what is amiss as people and programs read it, and rules written into prep.toml.

The tokenizer is that of the model to train, as train.toml names it, where it is on this machine.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from prep.cli.opened import tokenizer_of
from prep.dataset import Dataset
from prep.lint.evidence import Evidence
from prep.lint.finding import Finding
from prep.lint.lint import NAMES, lint, report_path, write_report
from prep.lint.words import Words, words_alone
from schemas.errors import KirokuError, RecipeError, UsageError
from schemas.progress import say
from schemas.recipes.change import change
from schemas.recipes.load import PREP_FILE, load_train

FIRST = 3  # images that are named for each finding
LONGEST = 225  # tokens that training reads where no train.toml says otherwise


@dataclass(frozen=True)
class Linted:
    """What was found, and which of it was mended."""

    evidence: Evidence
    found: Sequence[Finding]
    mended: Sequence[bool]
    refused: Sequence[str]  # sentences, one for each finding whose rule could not be written

    @property
    def status(self) -> int:
        """The exit status: 1 where something grave is left to mend."""
        pairs = zip(self.found, self.mended, strict=True)
        return int(any(finding.grave and not mended for finding, mended in pairs))


def check(dataset: Dataset, *, fix: bool, only: Sequence[str]) -> Linted:
    """Check, write the report and, with `fix`, the rules. Raises UsageError or DatasetError."""
    if lacking := [name for name in only if name not in NAMES]:
        raise UsageError(f'no finding is called "{lacking[0]}"; there are: {", ".join(NAMES)}')
    words, limit = words_of(dataset)
    if not words.exact:
        say(f"lint: words are compared, not tokens: {words.by}")
    evidence, found = lint(dataset, words, limit)
    write_report(evidence, found)
    if only:
        found = [finding for finding in found if finding.name in only]
    wanted = [fix and (finding.grave or bool(only)) for finding in found]
    mended, refused = _mend(dataset, found, wanted)
    return Linted(evidence, found, mended, refused)


def words_of(dataset: Dataset) -> tuple[Words, int]:
    """Return how the model of train.toml cuts tags, and how many tokens of a caption it reads.

    Without train.toml, or where its model is not on this machine, words are told apart instead;
    `by` then says why.
    """
    try:
        tokenizer, recipe = tokenizer_of(dataset)
    except KirokuError as error:
        return Words(words_alone, str(error), exact=False), _limit(dataset)
    return Words(tokenizer.cut, recipe.model.path, exact=True), recipe.caption.tokens


def _limit(dataset: Dataset) -> int:
    try:
        return load_train(dataset.train_file).caption.tokens
    except KirokuError:
        return LONGEST


def _mend(
    dataset: Dataset, found: Sequence[Finding], wanted: Sequence[bool]
) -> tuple[list[bool], list[str]]:
    """Write the rules of each wanted finding, all or none of a finding's."""
    mended, refused = [False] * len(found), []
    for place, finding in enumerate(found):
        if wanted[place] and finding.changes:
            try:
                change(dataset.root / PREP_FILE, finding.changes)
                mended[place] = True
            except RecipeError as error:
                refused.append(str(error))
    return mended, refused


def show(result: Linted) -> None:
    """Print the findings, what is written or would be, and what is left."""
    for number, finding in enumerate(result.found):
        print(f"{'!' if finding.grave else '·'} {finding.name}: {finding.what}")
        if len(finding.images):
            print(f"    {_first(result.evidence, finding)}")
        for one in finding.changes:
            print(f"    {'wrote' if result.mended[number] else 'rule:'} {one.line}")
        if finding.remedy:
            print(f"    {finding.remedy}")
    for sentence in result.refused:
        say(sentence)
    print(_summary(result))


def _first(evidence: Evidence, finding: Finding) -> str:
    md5s = [evidence.images.md5s[place][:8] for place in finding.images[:FIRST].tolist()]
    more = len(finding.images) - len(md5s)
    return ", ".join(md5s) + (f" and {more:,} more" if more else "")


def _summary(result: Linted) -> str:
    if not result.found:
        return "nothing is amiss"
    grave = sum(finding.grave for finding in result.found)
    many = len(result.found)
    told = f"{many} finding{'' if many == 1 else 's'}, {grave} of them to mend (!)"
    told += f"; all images: {report_path(result.evidence.dataset)}"
    if any(result.mended):
        return f"{told}; `prep caption --diff` shows what the rules written change"
    if rules := sum(len(finding.changes) for finding in result.found if finding.grave):
        return f"{told}; --fix writes {rules} rule{'' if rules == 1 else 's'} into {PREP_FILE}"
    return told


def as_json(result: Linted) -> str:
    """Return the findings as one JSON object."""
    rows = [
        {
            "name": finding.name,
            "grave": finding.grave,
            "what": finding.what,
            "tags": finding.tags,
            "images": len(finding.images),
            "first": [result.evidence.images.md5s[n] for n in finding.images[:FIRST].tolist()],
            "changes": [one.line for one in finding.changes],
            "mended": mended,
            "remedy": finding.remedy,
        }
        for finding, mended in zip(result.found, result.mended, strict=True)
    ]
    words = result.evidence.words
    whole = {
        "findings": rows,
        "tokenizer": words.by if words.exact else None,
        "report": str(report_path(result.evidence.dataset)),
        "refused": result.refused,
    }
    return json.dumps(whole, ensure_ascii=False, indent=1)
