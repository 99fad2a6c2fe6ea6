"""The demo on a cluster that is there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import chronos_common.cli.demo.demo as demo_module
from chronos_common.cli import remote_cluster
from chronos_common.cli.demo.demo import PROBLEM_PATH
from chronos_common.cli.remote_cluster import RemoteCluster
from chronos_common.errors import ConfigurationError
from tests.support.fake_client import Cli, FakeClient
from tests.unit.cli.test_report import outcome


@pytest.fixture
def conducted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The clusters that a demo ran on."""
    clusters: list[Any] = []

    def conduct(cluster: object, config: object, progress: object) -> Any:
        clusters.append(cluster)
        return outcome()

    monkeypatch.setattr(demo_module, "conduct", conduct)
    return clusters


def test_the_demo_runs_on_the_named_coordinator(cli: Cli, conducted: list[Any], tmp_path: Path) -> None:
    done = cli("demo", "--coordinator", "10.0.0.1:50551", "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert [cluster.address for cluster in conducted] == ["10.0.0.1:50551"]
    assert f"--problem '{PROBLEM_PATH}'" in conducted[0].advice
    assert (tmp_path / "out" / "report.json").is_file()


def test_the_environment_names_one_too(
    cli: Cli, conducted: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHRONOS_CLI__COORDINATOR", "coordinator:50551")
    assert cli("demo", "--out", str(tmp_path)).code == 0
    assert [cluster.address for cluster in conducted] == ["coordinator:50551"]


@pytest.mark.parametrize("options", [("--workers", "2"), ("--chaos",)])
def test_what_is_for_processes_of_this_machine_is_refused_with_a_coordinator(
    cli: Cli, conducted: list[Any], options: tuple[str, ...]
) -> None:
    done = cli("demo", "--coordinator", "10.0.0.1:50551", *options)
    assert done.code == 2
    assert "leave them or --coordinator" in done.err
    assert conducted == []


def test_a_run_that_is_given_up_is_stopped(fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_cluster, "SyncCoordinatorClient", fake)
    cluster = RemoteCluster("10.0.0.1:50551", problem="a:B")
    cluster.leave("r1")
    assert fake.runs["r1"].status == "stopped"
    cluster.leave("missing")  # nobody can be told, and nobody is


def test_nobody_else_can_be_hurt() -> None:
    with pytest.raises(ConfigurationError, match=r"only processes of this command"):
        RemoteCluster("10.0.0.1:50551", problem="a:B").kill("worker 1")
