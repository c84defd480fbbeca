"""The measure of large trainings works, in small: exposures are exact, a killed run goes on."""

import sys
from pathlib import Path

import bench_scale
import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is no signal of Windows")
def test_exposures_are_exact_and_a_killed_run_ends_as_the_undisturbed(tmp_path: Path) -> None:
    found = bench_scale.measured(tmp_path, rows=300, steps=40)
    assert found["exposures"]
    assert found["resumed"]
    assert 24 <= found["killed_at"] < 40
