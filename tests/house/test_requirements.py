"""What images install is what ``pyproject.toml`` says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tools import requirements as module
from tools.requirements import main, requirements

PROJECT: dict[str, Any] = {
    "name": "mine",
    "dependencies": ["numpy>=2.0", "uvloop; platform_system != 'Windows'"],
    "optional-dependencies": {"worker": ["torch>=2.6"], "demo": ["mine[worker]", "scikit-learn>=1.5"]},
}


def test_the_coordinator_needs_no_extra() -> None:
    assert requirements(PROJECT, [], []) == PROJECT["dependencies"]


def test_an_extra_may_name_another_one() -> None:
    assert requirements(PROJECT, ["demo"], [])[2:] == ["scikit-learn>=1.5", "torch>=2.6"]


def test_what_another_layer_installs_is_left_out() -> None:
    assert requirements(PROJECT, ["demo"], ["torch"])[2:] == ["scikit-learn>=1.5"]


def test_the_command_reads_this_project(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setattr(module, "PYPROJECT", root / "pyproject.toml")
    assert main(["demo", "--without", "torch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert set(project["dependencies"]) < set(lines)
    assert not [line for line in lines if line.startswith(("torch", project["name"]))]
