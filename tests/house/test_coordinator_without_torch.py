"""The promise behind small images and fast restarts: nothing that a coordinator runs loads torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "sklearn", "scipy", "matplotlib"}
TORCH_PACKAGES = {"chronos_common.problem", "chronos_common.hypergradient"}

IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
import chronos_coordinator
for module in pkgutil.walk_packages(chronos_coordinator.__path__, "chronos_coordinator."):
    importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""

IMPORT_COMMON = """
import importlib, json, pkgutil, sys
import chronos_common
for module in pkgutil.iter_modules(chronos_common.__path__, "chronos_common."):
    if module.name not in sys.argv[1:]:
        importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


def loaded_modules(script: str, *arguments: str) -> set[str]:
    """Run ``script`` in a fresh interpreter and return the names of the modules that it had loaded."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    return set(json.loads(finished.stdout.splitlines()[-1]))


def test_no_module_of_the_coordinator_loads_torch() -> None:
    loaded = loaded_modules(IMPORT_EVERYTHING)
    assert "chronos_coordinator" in loaded
    assert not loaded & HEAVY


def test_common_packages_keep_their_torch_faces_out_of_their_front_door() -> None:
    loaded = loaded_modules(IMPORT_COMMON, *TORCH_PACKAGES)
    assert "chronos_common.errors" in loaded
    assert not loaded & HEAVY


def test_the_check_sees_torch_where_it_is() -> None:
    pytest.importorskip("torch")
    assert "torch" in loaded_modules("import chronos_common.problem\n" + IMPORT_COMMON)
