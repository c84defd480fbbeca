"""What holds for all tests: how hypothesis searches."""

import os

from hypothesis import HealthCheck, settings

# A busy machine is no defect. Where a change is judged, the same examples are tried each time;
# on a developer's machine new ones are.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
