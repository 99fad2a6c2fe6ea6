"""The services, started with exactly what the example's manifests say, work together and answer every probe.

Only what a machine without a cluster cannot give is replaced: addresses, mounted folders, and the GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chronos_common.runtime import ManagedProcess, child_environment
from chronos_common.wire import SyncCoordinatorClient
from tests.support.coordinator_process import free_port
from tests.support.manifests import Pod, render

pytestmark = [pytest.mark.deploy, pytest.mark.process, pytest.mark.timeout(300)]

EXAMPLE = "overlays/example"
RUN = "example"


@dataclass(frozen=True, kw_only=True)
class Container:
    """A process with the arguments and the environment of a container."""

    pod: Pod
    process: ManagedProcess
    flags: Mapping[str, str]
    environment: Mapping[str, str]
    ports: Mapping[str, int]


def container(component: str, changes: Mapping[str, str], **variables: str) -> Container:
    """Starts a pod's container as a process.

    Args:
        component: of which pod.
        changes: value by flag, for flags that the manifest has.
        variables: environment variables in place of the manifest's.
    """
    example = render(EXAMPLE)
    pod = example.pod(component)
    given = dict(argument.split("=", 1) for argument in pod.container["args"])
    assert changes.keys() <= given.keys()
    ports = {name: free_port() for name in pod.ports()}
    if "grpc" in ports:
        changes = {**changes, "--port": str(ports["grpc"])}
    environment = child_environment(
        {name: value for name, value in os.environ.items() if not name.startswith("CHRONOS_")},
        **{
            **example.environment(pod),
            "CHRONOS_METRICS__HOST": "127.0.0.1",
            "CHRONOS_METRICS__PORT": str(ports["metrics"]),
            **(
                {"CHRONOS_HEALTH__HOST": "127.0.0.1", "CHRONOS_HEALTH__PORT": str(ports["health"])}
                if "health" in ports
                else {}
            ),
            **variables,
        },
    )
    flags = {**given, **changes}
    process = ManagedProcess(
        [sys.executable, "-m", f"chronos_{component}", *(f"{flag}={value}" for flag, value in flags.items())],
        name=component,
        env=environment,
    )
    process.start()
    process.wait_ready(60.0)
    return Container(pod=pod, process=process, flags=flags, environment=environment, ports=ports)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, Container]]:
    """The coordinator and a worker that has the example's problems."""
    problems = tmp_path / "problems"
    problems.mkdir()
    for name, text in render(EXAMPLE).get("ConfigMap", "chronos-problems")["data"].items():
        (problems / name).write_text(text)
    pods: dict[str, Container] = {}
    try:
        pods["coordinator"] = container(
            "coordinator", {"--host": "127.0.0.1", "--store-path": str(tmp_path / "store")}
        )
        address = f"127.0.0.1:{pods['coordinator'].ports['grpc']}"
        pods["worker"] = container(
            "worker",
            {"--coordinator": address, "--path": str(problems), "--state-dir": str(tmp_path / "state")},
            CHRONOS_WORKER__DEVICE="cpu",
            CHRONOS_CLI__COORDINATOR=address,
            HOME=str(tmp_path),
        )
        yield pods
    finally:
        for pod in pods.values():
            pod.process.stop()


def answers(running: Container, name: str) -> bool:
    """Whether a probe of the container succeeds."""
    probe = running.pod.container[name]
    if "httpGet" in probe:
        port = running.ports[probe["httpGet"]["port"]]
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}{probe['httpGet']['path']}", timeout=5.0
        ) as answer:
            return bool(answer.status == 200)
    names = {number: name for name, number in running.pod.ports().items()}
    port = running.ports[names[probe["grpc"]["port"]]]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service", ""))
        said = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5.0)
    return bool(said.status == health_pb2.HealthCheckResponse.SERVING)


def chronos(running: Container, *arguments: str) -> str:
    """The output of the command line in a container."""
    done = subprocess.run(
        [sys.executable, "-m", "chronos_common.cli", *arguments],
        env=dict(running.environment),
        capture_output=True,
        text=True,
        timeout=180.0,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pods_are_healthy_finish_a_run_of_the_mounted_problem_and_end_within_their_grace(
    cluster: dict[str, Container],
) -> None:
    for running in cluster.values():
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert answers(running, probe), probe
    worker = cluster["worker"]
    problem = ("weight_decay:WeightDecay", "--path", worker.flags["--path"])
    shown = json.loads(chronos(worker, "run", *problem, "--run-id", RUN, "--versions", "5", "--json"))
    assert (shown["status"], shown["version"]) == ("finished", 5)
    with SyncCoordinatorClient(worker.environment["CHRONOS_CLI__COORDINATOR"]) as client:
        assert client.verify_run(RUN).clean
    assert list(Path(worker.flags["--state-dir"]).iterdir())
    for running in (worker, cluster["coordinator"]):
        began = time.monotonic()
        assert running.process.stop(timeout_seconds=60.0) == 0
        assert time.monotonic() - began < running.pod.spec["terminationGracePeriodSeconds"]
