"""Imports point down only: the contracts hold, they cover every module, and they do bite."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from grimp import ImportGraph

from tools.contracts import RestrictedImportContract

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project: dict[str, Any] = tomllib.load(file)
    importlinter: dict[str, Any] = project["tool"]["importlinter"]
    return importlinter


def test_contracts_hold() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_module_has_a_layer(settings: dict[str, Any]) -> None:
    (contract,) = [contract for contract in settings["contracts"] if contract["id"] == "layers"]
    layered = {name.strip(" ()") for layer in contract["layers"] for name in layer.split("|")}
    children = {
        f"chronos_common.{path.stem}"
        for path in (ROOT / "chronos_common").iterdir()
        if (path.is_dir() and (path / "__init__.py").is_file()) or path.suffix == ".py"
    }
    assert children - {"chronos_common.__init__"} <= layered


def restricted_contract(allowed: list[str]) -> RestrictedImportContract:
    return RestrictedImportContract(
        name="restricted",
        session_options={"root_packages": ["app"]},
        contract_options={"restricted": ["grpc", "app.pb"], "allowed": allowed},
    )


def imports(*pairs: tuple[str, str]) -> ImportGraph:
    graph = ImportGraph()
    for number, (importer, imported) in enumerate(pairs, start=1):
        graph.add_import(importer=importer, imported=imported, line_number=number, line_contents="")
    return graph


def test_restricted_contract_names_each_import_that_is_not_allowed() -> None:
    graph = imports(
        ("app.wire.client", "grpc.aio"),
        ("app.core", "grpc.aio"),
        ("app.core", "app.pb.messages"),
        ("app.run_service", "app.pb.messages"),
        ("app.core", "grpcio_lookalike"),
    )
    contract = restricted_contract(["app.wire.*", "app.*_service"])
    check = contract.check(graph, verbose=False)
    assert not check.kept
    assert check.metadata["violations"] == [
        "app.core -> app.pb.messages (line 3)",
        "app.core -> grpc.aio (line 2)",
    ]


def test_restricted_contract_shows_violations_and_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    contract = restricted_contract(["app.wire.*"])
    contract.render_broken_contract(contract.check(imports(("app.core", "grpc")), verbose=False))
    printed = capsys.readouterr().out
    assert "app.core -> grpc (line 1)" in printed
    assert "chronos_common.wire" in printed


def test_restricted_contract_is_kept_without_violations() -> None:
    check = restricted_contract(["app.wire"]).check(imports(("app.wire", "grpc")), verbose=False)
    assert check.kept
