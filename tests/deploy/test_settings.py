"""What the manifests tell the two services is what these take, and what they promise about time and room holds."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from chronos_common.runtime import settings_from_command_line
from chronos_common.wire.server import GRACE_SECONDS
from tests.support.manifests import K8S, ROOT, SERVICES, VARIABLES, Manifests, Pod, megabytes, render

pytestmark = pytest.mark.deploy


@pytest.fixture(params=["coordinator", "worker"])
def component(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@functools.cache
def settings_of(target: str, component: str) -> Any:
    """The settings that a container would run with, read by the service's own code; /problems is some folder."""
    pod = render(target).pod(component)
    arguments = [f"--path={K8S}" if arg == "--path=/problems" else arg for arg in pod.container["args"]]
    with mock.patch.dict(os.environ, render(target).environment(pod)):
        return settings_from_command_line(SERVICES[component], arguments, prog=component, description="")


def test_every_setting_exists_and_is_taken(manifests: Manifests, component: str) -> None:
    pod = manifests.pod(component)
    variables = [name for name in manifests.environment(pod) if name.startswith("CHRONOS_")]
    assert set(variables) <= VARIABLES
    assert pod.container.get("command") is None, "the image's entry point starts the service"
    settings_of(manifests.target, component)


def test_a_setting_that_does_not_exist_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHRONOS_WORKER__DRAINS", "1")
    with pytest.raises(SystemExit):
        settings_of.__wrapped__("base", "worker")


def test_services_listen_where_the_manifests_say(manifests: Manifests, component: str) -> None:
    settings = settings_of(manifests.target, component)
    ports = manifests.pod(component).ports()
    assert (settings.metrics.host, settings.metrics.port) == ("0.0.0.0", ports["metrics"])  # noqa: S104
    if component == "worker":
        assert (settings.health.host, settings.health.port) == ("0.0.0.0", ports["health"])  # noqa: S104
    if component == "coordinator":
        assert (settings.coordinator.host, settings.coordinator.port) == ("0.0.0.0", ports["grpc"])  # noqa: S104


def test_the_grace_period_is_what_a_drain_may_take(manifests: Manifests, component: str) -> None:
    """A shorter one kills in mid-drain; a much longer one lets a hung process hold its volume and its GPU."""
    settings = settings_of(manifests.target, component)
    deadlines = settings.deadlines
    needed = (
        # Accepted calls finish, answers leave, then the store's last writes, which a call's time suffices for.
        deadlines.drain_seconds + GRACE_SECONDS + deadlines.call_seconds
        if component == "coordinator"
        # The work in hand finishes and is committed, then the goodbye, which is one call.
        else settings.worker.drain_seconds + deadlines.call_seconds
    )
    grace = manifests.pod(component).spec["terminationGracePeriodSeconds"]
    assert math.ceil(needed) + 5 <= grace <= math.ceil(needed) + 15


def test_both_sides_have_one_deadline_budget(manifests: Manifests) -> None:
    one, other = (settings_of(manifests.target, name) for name in SERVICES)
    assert one.deadlines == other.deadlines


def test_probes_wait_no_longer_than_a_call_may_take(manifests: Manifests) -> None:
    settings = settings_of(manifests.target, "coordinator")
    container = manifests.pod("coordinator").container
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name]["timeoutSeconds"] <= settings.deadlines.call_seconds
    liveness = container["livenessProbe"]
    # A coordinator that a slow disk holds up for a moment must not be killed for it.
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > 2 * settings.deadlines.call_seconds


def mounted_on(pod: Pod, path: str) -> str:
    """The volume that a path is on."""
    mounts = pod.mounts()
    return mounts[max((mount for mount in mounts if path.startswith(mount)), key=len)]


def test_state_is_on_volumes(manifests: Manifests) -> None:
    coordinator_pod, worker_pod = manifests.pod("coordinator"), manifests.pod("worker")
    store = settings_of(manifests.target, "coordinator").store.path
    assert mounted_on(coordinator_pod, store) == "data"
    claims = coordinator_pod.owner["spec"]["volumeClaimTemplates"]
    assert [claim["metadata"]["name"] for claim in claims] == ["data"]
    state = settings_of(manifests.target, "worker").worker.state_dir
    volumes = {volume["name"]: volume for volume in worker_pod.spec["volumes"]}
    kept = volumes[mounted_on(worker_pod, str(state))]
    assert kept["name"] != mounted_on(worker_pod, "/tmp")
    assert "emptyDir" in kept  # outlives the container
    assert "medium" not in kept["emptyDir"]


def test_there_is_room_for_what_clients_may_send(manifests: Manifests) -> None:
    limits = settings_of(manifests.target, "coordinator").limits
    memory = megabytes(manifests.pod("coordinator").container["resources"]["limits"]["memory"])
    assert memory * 2**20 >= 1.5 * limits.max_in_flight_bytes


def test_workers_compute_where_and_with_what_they_were_given(manifests: Manifests) -> None:
    settings = settings_of(manifests.target, "worker").worker
    pod = manifests.pod("worker")
    resources = pod.container["resources"]
    gpus = resources["limits"].get("nvidia.com/gpu", 0)
    assert settings.device == ("cuda" if gpus else "cpu")
    assert settings.threads == int(resources["requests"]["cpu"])
    assert (
        bool(gpus)
        == ("nodeSelector" in pod.spec)
        == ("tolerations" in pod.spec)
        == ("/dev/shm" in pod.mounts())
    )
    shared = [volume["emptyDir"] for volume in pod.spec["volumes"] if volume["name"] == "shm"]
    for volume in shared:  # counted against the container's memory
        assert volume["medium"] == "Memory"
        assert megabytes(volume["sizeLimit"]) < megabytes(resources["limits"]["memory"]) / 2


def test_nothing_may_be_imported_until_a_site_says_so() -> None:
    assert settings_of("base", "worker").worker.problems == ()


def test_the_example_allows_its_own_problem_which_is_that_of_the_readme() -> None:
    example = render("overlays/example")
    files = example.get("ConfigMap", "chronos-problems")["data"]
    assert settings_of(example.target, "worker").worker.problems == tuple(
        f"{Path(name).stem}:*" for name in files
    )
    for name, text in files.items():
        assert text == (ROOT / "examples" / name).read_text(encoding="utf-8")


def test_workers_of_a_jobset_are_those_of_one_run() -> None:
    """Others would never end, and so never let the next job of the queue begin."""
    assert settings_of("overlays/jobset", "worker").worker.run_id
    assert not settings_of("overlays/gpu", "worker").worker.run_id


def test_with_tls_every_file_is_mounted() -> None:
    """A path that no Secret fills ends a service at its start."""
    for component in SERVICES:
        pod = render("overlays/secure").pod(component)
        settings = settings_of("overlays/secure", component)
        security = settings.server if component == "coordinator" else settings.client
        files = [value for value in vars(security).values() if isinstance(value, Path)]
        assert len(files) == 4
        volumes = {volume["name"]: volume["secret"] for volume in pod.spec["volumes"] if "secret" in volume}
        for file in files:
            secret = volumes[pod.mounts()[str(file.parent)]]
            assert "optional" not in secret
            assert file.name in [item["path"] for item in secret.get("items", ())] or file.name in (
                "tls.crt",
                "tls.key",
                "ca.crt",
            )
        assert security.tls


def test_probes_ask_in_the_language_of_the_port() -> None:
    """The kubelet's gRPC probes speak no TLS."""
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert "grpc" in render("overlays/gpu").pod("coordinator").container[name]
        assert render("overlays/secure").pod("coordinator").container[name].keys() & {
            "grpc",
            "tcpSocket",
        } == {"tcpSocket"}
