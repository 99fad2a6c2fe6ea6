"""The local cluster with stand-ins for the services."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from chronos_common.cli import cluster as module
from chronos_common.cli.cluster import ClusterConfig, LocalCluster, worker_environment
from chronos_common.errors import ConfigurationError, ProcessError
from chronos_common.runtime import ManagedProcess
from tests.support.polling import poll

READY = "import json, time; print(json.dumps({'event': 'listening', 'address': 'h:1'}), flush=True); "
FOREVER = READY + "time.sleep(600)"
BROKEN = "import sys; print('x: error: no disk', file=sys.stderr); sys.exit(3)"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is run instead of ``python -m MODULE``."""
    programs = {"chronos_coordinator": FOREVER, "chronos_worker": FOREVER}
    real = ManagedProcess.__init__

    def replaced(self: ManagedProcess, argv: Sequence[str], **options: object) -> None:
        real(self, [argv[0], "-c", programs[argv[2]], *argv[3:]], **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ManagedProcess, "__init__", replaced)
    return programs


def config(tmp_path: Path, **changes: object) -> ClusterConfig:
    fields = {"store": tmp_path / "data", "logs": tmp_path / "logs", "workers": 2, **changes}
    return ClusterConfig(**fields)  # type: ignore[arg-type]


def children(cluster: LocalCluster) -> Sequence[ManagedProcess]:
    return cluster._group.children


def test_it_starts_and_stops_everything(programs: dict[str, str], tmp_path: Path) -> None:
    with LocalCluster(config(tmp_path)) as cluster:
        assert cluster.address == "h:1"
        cluster.wait_for_workers()
        cluster.check()
        pids = [child.pid for child in children(cluster)]
        assert len(pids) == 3
        assert cluster.kills == {"coordinator": 0, "worker": 0}
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        "coordinator.log",
        "worker-1.log",
        "worker-2.log",
    ]


def test_what_the_workers_are_told(programs: dict[str, str], tmp_path: Path) -> None:
    programs["chronos_worker"] = FOREVER.replace(
        "time.sleep", "import sys; print(sys.argv, flush=True); time.sleep"
    )
    with LocalCluster(config(tmp_path, workers=1, problems=("a:*",), run_id="r1")) as cluster:
        worker = children(cluster)[1]
        line = poll(lambda: "--worker-id" in worker.tail and worker.tail, "its arguments")
    assert isinstance(line, str)
    state = str(config(tmp_path).store / "workers")
    for part in (
        f"'--state-dir', '{state}'",
        "'--coordinator', 'h:1'",
        "'worker-1'",
        "'--run', 'r1'",
        "'--problem', 'a:*'",
    ):
        assert part in line


def test_a_coordinator_that_cannot_start_is_one_line_with_its_log(
    programs: dict[str, str], tmp_path: Path
) -> None:
    programs["chronos_coordinator"] = BROKEN
    with pytest.raises(ProcessError) as caught, LocalCluster(config(tmp_path)):
        pass
    log = tmp_path / "logs" / "coordinator.log"
    assert str(caught.value) == f"coordinator ended with exit code 3 (no disk); its log is {log}"
    assert "no disk" in log.read_text()


def test_a_worker_that_fails_is_named(programs: dict[str, str], tmp_path: Path) -> None:
    programs["chronos_worker"] = BROKEN
    with LocalCluster(config(tmp_path)) as cluster:
        poll(lambda: children(cluster)[1].returncode is not None, "its end")
        children(cluster)[1].wait(5.0)
        with pytest.raises(ProcessError, match=r"^worker 1 ended with exit code 3 \(no disk\); its log is "):
            cluster.check()
        with pytest.raises(ProcessError, match=r"^worker 1 "):
            cluster.wait_for_workers()


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            '{"run": "r", "event": "update failed", "level": "error", "problem": "no luck"}',
            "update failed: no luck",
        ),
        (
            '{"run": "r", "event": "joined", "level": "info", "problem": "a:B"}',
            "the last it said is 'joined'",
        ),
        ('{"no": "event"}', '{"no": "event"}'),
        ("plain words", "plain words"),
    ],
)
def test_what_a_log_line_says_is_shown_and_not_its_json(
    programs: dict[str, str], tmp_path: Path, said: str, cause: str
) -> None:
    programs["chronos_worker"] = f"import sys; print({said!r}, file=sys.stderr); sys.exit(7)"
    with LocalCluster(config(tmp_path)) as cluster, pytest.raises(ProcessError) as caught:
        cluster.wait_for_workers()
    assert str(caught.value).startswith(f"worker 1 ended with exit code 7 ({cause}); its log is ")


def test_one_that_is_never_ready_is_named(
    programs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.2)
    programs["chronos_coordinator"] = "import time; time.sleep(600)"
    with pytest.raises(ProcessError, match=r"did not start within 0\.2 s"), LocalCluster(config(tmp_path)):
        pass


def test_work_goes_on_while_one_worker_lives(programs: dict[str, str], tmp_path: Path) -> None:
    with LocalCluster(config(tmp_path)) as cluster:
        cluster.wait_for_workers()
        coordinator, first, second = children(cluster)
        first.kill()
        cluster.check()
        assert cluster.kills == {"coordinator": 0, "worker": 1}
        second.kill()
        with pytest.raises(ProcessError, match=f"killed by signal {signal.SIGKILL:d}"):
            cluster.check()
        coordinator.kill()
        with pytest.raises(ProcessError, match="^coordinator was killed"):
            cluster.check()


def test_a_worker_whose_run_is_over_is_done(programs: dict[str, str], tmp_path: Path) -> None:
    programs["chronos_worker"] = READY
    with LocalCluster(config(tmp_path)) as cluster:
        poll(lambda: all(child.returncode == 0 for child in children(cluster)[1:]), "their end")
        cluster.check()


def test_settings_that_cannot_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="1 or more"):
        config(tmp_path, workers=0)
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigurationError, match="cannot write"),
        LocalCluster(config(tmp_path, logs=tmp_path / "file" / "logs")),
    ):
        pass


def test_workers_import_from_the_given_directories_and_not_by_accident(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    environment = worker_environment([tmp_path], threads=1)
    assert environment["PYTHONPATH"] == os.pathsep.join([str(tmp_path), "/elsewhere"])
    assert environment["PYTHONSAFEPATH"] == "1"
    assert environment["OMP_NUM_THREADS"] == os.environ.get("OMP_NUM_THREADS", "1")
