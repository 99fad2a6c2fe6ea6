"""The package is light until something of it is asked for; the process starts through a light one."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

import chronos_coordinator
from chronos_coordinator import Coordinator, EmbeddedCoordinator
from chronos_coordinator.__main__ import main


def test_names_are_found_when_they_are_asked_for() -> None:
    assert Coordinator.__module__ == "chronos_coordinator.coordinator"
    assert EmbeddedCoordinator.__module__ == "chronos_coordinator.embedded"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = chronos_coordinator.nothing


def test_the_entry_point_imports_nothing_before_it_holds_the_collector_back() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import sys, chronos_coordinator.__main__; print('numpy' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "False\n"


def test_the_collector_works_again_while_the_coordinator_serves(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert gc.isenabled()
    gc.unfreeze()
    shown = capsys.readouterr().out
    assert "--store-snapshot-entries" in shown
    assert "--store-retain-versions" in shown
