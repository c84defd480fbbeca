"""What every command shares: errors become one sentence on stderr, and an exit status.

0 done · 1 the work could not be done · 2 the words or files given are wrong · 130 Ctrl-C
"""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import KirokuError

if TYPE_CHECKING:
    from cyclopts import App

INTERRUPTED = 130
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def version() -> str:
    """Return kiroku's version, for `--version`; looked up when asked, as `--help` must be quick."""
    from importlib.metadata import version

    return version("kiroku")


def run(app: "App", arguments: Sequence[str] | None = None) -> int:
    """Run a command line (the process's own when None) and return its exit status.

    Progress is shown. Only what nobody foresaw leaves a traceback, in a file that is named.
    """
    from cyclopts import CycloptsError

    from schemas import progress

    progress.show()
    name = app.name[0]
    try:
        result = app(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except KirokuError as error:
        return _said(name, str(error), error.exit_status)
    except CycloptsError as error:
        return _said(name, f"{_one_line(error)} (see {name} --help)", 2)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as leaving:  # cyclopts makes one of Ctrl-C
        return leaving.code if isinstance(leaving.code, int) else 1
    except BrokenPipeError:
        # the reader of our output has gone; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno in NO_SPACE:
            return _said(name, f"no space left to write {error.filename or 'a file'}: free some", 1)
        if isinstance(error, PermissionError):
            return _said(name, f"no permission for {error.filename}: change it", 1)
        return _said(name, _bug(error), 1)
    except Exception as error:
        return _said(name, _bug(error), 1)


def _said(name: str, sentence: str, status: int) -> int:
    print(f"{name}: {sentence}", file=sys.stderr, flush=True)
    return status


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    # the list of all commands is cut short there and stands in --help anyway
    return text.partition(" Available commands:")[0].rstrip(".")


def _bug(error: Exception) -> str:
    """Write the traceback of the error at hand to a file; return the sentence that names it."""
    import tempfile
    import time
    import traceback

    stamp = time.strftime("%Y%m%d-%H%M%S")
    log = Path(tempfile.gettempdir()) / f"kiroku-{stamp}-{os.getpid()}.log"
    shown = "".join(traceback.format_exception(error))
    log.write_text(f"{sys.argv}\n{shown}", encoding="utf-8")
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"this is a bug in kiroku ({type(error).__name__}: {first}): please report it with {log}"
