"""What every test shares: one thread per library, SIGINT, a seeded torch, Hypothesis without wall-clock limits."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

# Set before any library reads them, and inherited by the processes that tests start: results must not depend
# on the number of cores, and several processes must share few of them.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# A shell ignores SIGINT for what it starts in the background, and everything started from there inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "chronos", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("chronos")


@pytest.fixture(autouse=True)
def seeded_torch() -> None:
    """Seed torch, which pytest-randomly leaves alone, without importing it where a test does not need it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
