"""``chronos-worker`` as a process: readiness, metrics, signals, exit codes."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from chronos_common.codec import encode
from chronos_common.engine import WorkSpec
from chronos_common.engine.local import describe_run
from chronos_common.fleet import FleetConfig
from chronos_common.metrics import MetricsConfig
from chronos_common.runtime import ManagedProcess, child_environment, load_settings
from chronos_common.runtime.settings import SECTIONS
from chronos_common.wire import SyncCoordinatorClient
from chronos_coordinator import EmbeddedCoordinator
from chronos_coordinator.app import ListenConfig, Settings, StoreConfig
from chronos_worker.app import Settings as WorkerSettings
from tests.support.polling import poll
from tests.support.problems import Ridge

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[3]
RUN = "ridge"


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[EmbeddedCoordinator]:
    settings = Settings(
        coordinator=ListenConfig(port=0, notice_seconds=0.0),
        store=StoreConfig(path=str(tmp_path / "store")),
        fleet=FleetConfig(heartbeat_seconds=0.1, timeout_seconds=10.0),
        metrics=MetricsConfig(port=None),
    )
    with EmbeddedCoordinator(settings=settings) as embedded:
        yield embedded


def test_one_file_serves_both_programs(tmp_path: Path) -> None:
    sections = {field.name for tree in (Settings, WorkerSettings) for field in dataclasses.fields(tree)}
    assert sections <= SECTIONS
    file = tmp_path / "chronos.toml"
    file.write_text("[coordinator]\nport = 1\n[worker]\nthreads = 2\n[deadlines]\nbudget_seconds = 3.0\n")
    served = load_settings(Settings, env={}, config_file=file)
    worked = load_settings(WorkerSettings, env={}, config_file=file)
    assert (served.coordinator.port, worked.worker.threads) == (1, 2)
    assert served.deadlines.budget_seconds == worked.deadlines.budget_seconds == 3.0


def create(address: str, *, versions: int, problem: str = "tests.support.problems:Ridge") -> None:
    work = WorkSpec(problem=problem, estimator="implicit", inner_steps=5)
    config, start = describe_run(Ridge(), work=work, max_versions=versions)
    with SyncCoordinatorClient(address) as client:
        client.create_run(config, encode("identity", start), run_id=RUN)


def command(
    address: str, *options: str, problem: str = "tests.support.*", **environment: str
) -> ManagedProcess:
    argv = [sys.executable, "-m", "chronos_worker", "--coordinator", address, "--problem", problem, *options]
    return ManagedProcess(argv, name="worker", cwd=ROOT, env=child_environment(threads=1, **environment))


def test_it_works_reports_and_stops_on_sigterm(coordinator: EmbeddedCoordinator) -> None:
    create(coordinator.address, versions=0)
    with command(coordinator.address, "--worker-id", "w") as process:
        facts = process.wait_ready(60)
        assert (facts["event"], facts["worker"]) == ("ready", "w")
        metrics = f"http://127.0.0.1:{facts['metrics_port']}/metrics"

        def committed() -> bool:
            with urllib.request.urlopen(metrics, timeout=5) as answer:
                return 'chronos_worker_commits_total{outcome="accepted"}' in answer.read().decode()

        poll(committed, "a commit in /metrics")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        lines = [json.loads(line) for line in process.tail.splitlines()]
        assert {"registered", "joined run", "committed", "stopped"} <= {line["event"] for line in lines}
        commit = next(line for line in lines if line["event"] == "committed")
        assert (commit["run"], commit["worker"], commit["service"]) == (RUN, "w", "worker")
    with SyncCoordinatorClient(coordinator.address) as client:
        assert [member.live for member in client.get_run(RUN).workers] == [False]


def test_it_ends_with_the_run_that_it_is_for(coordinator: EmbeddedCoordinator) -> None:
    create(coordinator.address, versions=3)
    with command(coordinator.address, "--run", RUN, "--metrics-port", "none") as process:
        assert "metrics_port" not in process.wait_ready(60)
        assert process.wait(60) == 0


def test_problems_are_found_in_the_folders_that_it_is_told(
    coordinator: EmbeddedCoordinator, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from tests.support.problems import Ridge\n\nclass Mine(Ridge):\n    pass\n"
    )
    create(coordinator.address, versions=3, problem="mine:Mine")
    options = ("--run", RUN, "--path", str(tmp_path))
    with command(coordinator.address, *options, problem="mine:*") as process:
        assert process.wait(60) == 0
    with command(coordinator.address, "--path", str(tmp_path / "missing")) as process:
        assert process.wait(60) == 2
        assert "there is no such directory" in process.tail


def test_work_that_does_not_end_is_abandoned_after_the_drain_time(coordinator: EmbeddedCoordinator) -> None:
    create(coordinator.address, versions=0, problem="tests.support.slow_problem:Sleeper")
    with command(coordinator.address, "--drain-seconds", "0.2") as process:
        poll(lambda: "asleep" in process.tail, "the inner loop")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with SyncCoordinatorClient(coordinator.address) as client:
        assert [member.live for member in client.get_run(RUN).workers] == [False]


def test_a_problem_that_is_not_allowed_has_its_own_exit_code_and_advice(
    coordinator: EmbeddedCoordinator,
) -> None:
    create(coordinator.address, versions=3)
    with command(coordinator.address, "--run", RUN, problem="mylab.*") as process:
        assert process.wait(60) == 4
    assert "to allow it: --problem 'tests.support.problems:Ridge'" in process.tail


def test_a_second_process_ends_the_first(coordinator: EmbeddedCoordinator) -> None:
    create(coordinator.address, versions=0)
    with command(coordinator.address, "--worker-id", "w") as first:
        first.wait_ready(60)
        with command(coordinator.address, "--worker-id", "w") as second:
            second.wait_ready(60)
            assert first.wait(60) == 3
            second.check_running()
    assert "give each its own --worker-id" in first.tail


def test_a_killed_worker_goes_on_from_its_state_directory(
    coordinator: EmbeddedCoordinator, tmp_path: Path
) -> None:
    create(coordinator.address, versions=0)
    folder = tmp_path / "state"
    kept = {"CHRONOS_WORKER__STATE_DIR": str(folder)}
    with command(coordinator.address, "--worker-id", "w", **kept) as first:
        poll(lambda: '"event": "committed"' in first.tail, "a commit")
        with command(coordinator.address, "--worker-id", "w", "--state-dir", str(folder)) as second:
            assert second.wait(60) == 2
            assert "is held by 'worker w' (process" in second.tail
        first.check_running()
        first.kill()
        first.wait(30)
    with command(coordinator.address, "--worker-id", "w", **kept) as third:
        poll(lambda: '"event": "committed"' in third.tail, "a commit of its successor")
        assert '"event": "went on from kept state"' in third.tail
        assert '"warm_start": true' in third.tail
    with SyncCoordinatorClient(coordinator.address) as client:
        view = client.get_run(RUN)
    assert (view.residuals_lost, view.workers[0].incarnation) == (0, 2)
