"""A pasted command line as words: bash's, cmd's or PowerShell's quoting and line ends.

Backslashes are what differs. In a Windows command they part folders, elsewhere they escape; a path
with a drive (`G:\\`), or with words parted by single backslashes in quotes, tells which it is.
"""

import re
import shlex

from schemas.errors import UsageError

# the last character of a line that goes on: bash's, cmd's, PowerShell's
CONTINUED = re.compile(r"[ \t]*[\\^`][ \t]*\r?\n")
WINDOWS = re.compile(r"""(?:^|[\s"'=])[A-Za-z]:\\|["'=]\.{0,2}\\?[\w.-]+(?:\\[\w.-]+)+""")
TYPESET = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\u00a0": " "})
# what word processors and forums make of two hyphens before an option
DASHES = re.compile(r"(?<!\S)[—–](?=[a-z])")


def words(text: str) -> list[str]:
    """Return the words of a command, without their quotes. Raises UsageError at an open quote."""
    joined = CONTINUED.sub(" ", text.translate(TYPESET) + "\n")
    joined = DASHES.sub("--", joined)
    try:
        return list(_splitter(joined, escapes=not WINDOWS.search(joined)))
    except ValueError:
        raise UsageError(
            "the command has a quote that is opened and never closed: paste the whole of it"
        ) from None


def _splitter(text: str, *, escapes: bool) -> shlex.shlex:
    splitter = shlex.shlex(text, posix=True, punctuation_chars=False)
    splitter.whitespace_split = True
    splitter.commenters = ""
    if not escapes:
        splitter.escape = ""
    return splitter
