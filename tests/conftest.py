"""What holds for all tests: how hypothesis searches, and how many of them run at once."""

import os

from hypothesis import HealthCheck, settings

# Tests run side by side, so each is given one thread: OpenMP's threads starve where two programs
# of two threads share two cores. Set before anything imports torch, and inherited by programs.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no defect. Where a change is judged, the same examples are tried each time;
# on a developer's machine new ones are.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_xdist_auto_num_workers() -> int:
    """As many as there are cores, up to four: each holds its own torch, model and booru."""
    return min(os.cpu_count() or 1, 4)
