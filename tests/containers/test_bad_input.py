"""What cannot work ends with one line that says what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.containers.conftest import TAG
from tests.support.containers.engine import EngineError, build, docker
from tests.support.containers.project import COORDINATOR, WORKER, Project
from tests.support.polling import poll

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


def run(image: str, *options: str, command: Sequence[str] = ()) -> tuple[int, str]:
    """Exit code and the last line that is no log, of a container that must end by itself."""
    done = docker("run", "--rm", "--read-only", *options, image, *command, check=False)
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(("{", "Try "))]
    assert len(lines) == 1, done.stderr
    return done.returncode, lines[0]


def test_a_volume_that_cannot_be_written(images: dict[str, str], tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    code, line = run(images[COORDINATOR], f"--volume={tmp_path}:/var/lib/chronos:ro")
    assert code == 1
    assert "the store's directory /var/lib/chronos cannot be written" in line
    assert "make it writable for the user with id 10001, or choose another --store-path" in line
    code, line = run(images[WORKER], f"--volume={tmp_path}:/var/lib/chronos:ro")
    assert code == 2
    assert "choose another with --state-dir" in line


@pytest.mark.parametrize(
    ("service", "variable", "advice"),
    [
        (COORDINATOR, "CHRONOS_COORDINATOR__PORT=99999", "port is 99999; it must lie between 0 and 65535"),
        (COORDINATOR, "CHRONOS_COORDINATOR__PROT=1", "did you mean 'CHRONOS_COORDINATOR__PORT'?"),
        (WORKER, "CHRONOS_WORKER__PATHS=/nowhere", "--path /nowhere: there is no such directory"),
        (WORKER, "CHRONOS_WORKER__DEVICE=cuda", "choose device cpu or auto"),
    ],
)
def test_a_variable_that_cannot_work(
    images: dict[str, str], service: str, variable: str, advice: str
) -> None:
    code, line = run(images[service], f"--env={variable}")
    assert code == 2
    assert advice in line


def test_a_wrong_port(cluster: Project) -> None:
    done = cluster.cli("runs", "--coordinator", "coordinator:50999")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("chronos:")]
    assert "coordinator:50999 cannot be reached" in line
    assert "check that it runs, and the port" in line


def test_an_unknown_problem(cluster: Project) -> None:
    done = cluster.cli("run", "nowhere:Problem", "--path", "/problems")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("chronos:")]
    assert "No module named 'nowhere'; name its folder with --path, or install what it needs" in line


def test_a_problem_that_no_worker_allows(cluster: Project) -> None:
    """It reaches the log of every worker, and is no reason for one to end."""
    created = cluster.cli("run", "ridge:Ridge", "--path", "/problems", "--detach", "--json")
    assert created.returncode == 0, created.stderr
    run_id = json.loads(created.stdout)["run_id"]
    worker = cluster.containers(WORKER)[0]

    def refused() -> str:
        lines = [line for line in cluster.logs(worker).splitlines() if run_id in line]
        return next((line for line in lines if "PROBLEM_NOT_ALLOWED" in line), "")

    assert "start the worker with a pattern that matches it" in poll(
        refused, "the worker refuses the problem"
    )
    assert cluster.cli("stop", run_id).returncode == 0
    docker("exec", worker, "chronos-health", "127.0.0.1:50552", "chronos.worker")


def test_an_image_that_is_nowhere(images: dict[str, str]) -> None:
    """A missing or wrong image variable: the engine names the image, and the tests name the variable."""
    config = Project(CHRONOS_VERSION=TAG, CHRONOS_BASE_IMAGE="chronos.invalid/no-such-image:1").config()
    config["services"][COORDINATOR]["image"] += "-none"
    with pytest.raises(EngineError, match=r"chronos\.invalid/no-such-image:1.*set CHRONOS_BASE_IMAGE"):
        build(COORDINATOR, config)
