"""What users install is complete: code, generated stubs, type markers, commands; and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"chronos_common", "chronos_coordinator", "chronos_worker"}


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Build a wheel without build isolation and return the names of the files in it."""
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


def test_wheel_holds_the_three_packages_and_nothing_beside_them(wheel_names: frozenset[str]) -> None:
    folders = {name.split("/")[0] for name in wheel_names}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == PACKAGES


def test_wheel_holds_every_source_file(wheel_names: frozenset[str]) -> None:
    parents = [ROOT, ROOT / "services" / "coordinator", ROOT / "services" / "worker"]
    sources = {
        path.relative_to(parent).as_posix()
        for parent in parents
        for package in PACKAGES
        for path in (parent / package).rglob("*.py")
    }
    assert len(sources) > len(PACKAGES)
    assert sources <= wheel_names


def test_wheel_holds_stubs_and_type_markers(wheel_names: frozenset[str]) -> None:
    stubs = "chronos_common/pb/chronos/v1/coordinator_pb2"
    assert {f"{stubs}.py", f"{stubs}.pyi", f"{stubs}_grpc.py"} <= wheel_names
    assert {f"{package}/py.typed" for package in PACKAGES} <= wheel_names
    assert not [name for name in wheel_names if name.startswith("services/")]
