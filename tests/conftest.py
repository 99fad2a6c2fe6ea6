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

# Processes that tests start are not traced: a third of their time went into it, and what they run is traced by the
# tests of its parts. The processes of pytest-xdist have begun to trace themselves by now.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

# A shell ignores SIGINT for what it starts in the background, and everything started from there inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "chronos", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("chronos")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which devices the contract of the hypergradient estimators was tested on: a GPU is not always there."""
    ran = [
        report.nodeid
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if "hypergradient/test_contract.py::test_is_reproducible[" in report.nodeid
    ]
    if ran:
        devices = [device for device in ("cpu", "cuda") if any(device in nodeid for nodeid in ran)]
        missing = "" if "cuda" in devices else "; there is no CUDA device here, and nothing was tested on one"
        terminalreporter.write_line(f"hypergradient contract: tested on {', '.join(devices)}{missing}")


@pytest.fixture(autouse=True)
def seeded_torch() -> None:
    """Seed torch, which pytest-randomly leaves alone, without importing it where a test does not need it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
