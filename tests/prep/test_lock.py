"""Two processes in one dataset folder: the second is told, and a kill leaves no lock behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from prep.lock import locked
from schemas.errors import Failure

HOLD = """
import sys, time
from pathlib import Path
from prep.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_until_the_first_ends(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Failure) as told, locked(tmp_path):
            pass
        assert str(told.value) == (
            f"{tmp_path}: another prep is at work in this folder: wait until it is done"
        )
        holder.kill()
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
