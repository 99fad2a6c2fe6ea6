"""What the manifests tell the two services is what these take, and what they promise about time and room holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from chronos_common.cli.settings import CliSettings
from chronos_common.runtime import settings_from_command_line
from chronos_common.runtime.settings import flags_of, variable_of
from chronos_common.wire.server import GRACE_SECONDS
from chronos_coordinator import app as coordinator
from chronos_worker import app as worker
from tests.support.manifests import ROOT, Manifests, Pod, megabytes, render

pytestmark = pytest.mark.deploy

MODELS: dict[str, Any] = {"coordinator": coordinator.Settings, "worker": worker.Settings}
KNOWN = {variable_of(name) for model in (*MODELS.values(), CliSettings) for name in flags_of(model)}


@pytest.fixture(params=["coordinator", "worker"])
def component(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def settings_of(manifests: Manifests, component: str, patch: pytest.MonkeyPatch, folder: Path) -> Any:
    """The settings that a container would run with, read by the service's own code; /problems is ``folder``."""
    pod = manifests.pod(component)
    for name, value in manifests.environment(pod).items():
        patch.setenv(name, value)
    arguments = [f"--path={folder}" if arg == "--path=/problems" else arg for arg in pod.container["args"]]
    return settings_from_command_line(MODELS[component], arguments, prog=component, description="")


def test_every_setting_exists_and_is_taken(
    manifests: Manifests, component: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pod = manifests.pod(component)
    variables = [name for name in manifests.environment(pod) if name.startswith("CHRONOS_")]
    assert set(variables) <= KNOWN
    assert pod.container.get("command") is None, "the image's entry point starts the service"
    settings_of(manifests, component, monkeypatch, tmp_path)


def test_a_setting_that_does_not_exist_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHRONOS_WORKER__DRAINS", "1")
    with pytest.raises(SystemExit):
        settings_of(render("base"), "worker", monkeypatch, tmp_path)


def test_services_listen_where_the_manifests_say(
    manifests: Manifests, component: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_of(manifests, component, monkeypatch, tmp_path)
    ports = manifests.pod(component).ports()
    assert (settings.metrics.host, settings.metrics.port) == ("0.0.0.0", ports["metrics"])  # noqa: S104
    if component == "coordinator":
        assert (settings.coordinator.host, settings.coordinator.port) == ("0.0.0.0", ports["grpc"])  # noqa: S104


def test_the_grace_period_is_what_a_drain_may_take(
    manifests: Manifests, component: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A shorter one kills in mid-drain; a much longer one lets a hung process hold its volume and its GPU."""
    settings = settings_of(manifests, component, monkeypatch, tmp_path)
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


def test_both_sides_have_one_deadline_budget(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, other = (settings_of(manifests, name, monkeypatch, tmp_path) for name in MODELS)
    assert one.deadlines == other.deadlines


def test_probes_wait_no_longer_than_a_call_may_take(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_of(manifests, "coordinator", monkeypatch, tmp_path)
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


def test_state_is_on_volumes(manifests: Manifests, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    coordinator_pod, worker_pod = manifests.pod("coordinator"), manifests.pod("worker")
    store = settings_of(manifests, "coordinator", monkeypatch, tmp_path).store.path
    assert mounted_on(coordinator_pod, store) == "data"
    claims = coordinator_pod.owner["spec"]["volumeClaimTemplates"]
    assert [claim["metadata"]["name"] for claim in claims] == ["data"]
    state = settings_of(manifests, "worker", monkeypatch, tmp_path).worker.state_dir
    volumes = {volume["name"]: volume for volume in worker_pod.spec["volumes"]}
    kept = volumes[mounted_on(worker_pod, str(state))]
    assert kept["name"] != mounted_on(worker_pod, "/tmp")
    assert "emptyDir" in kept  # outlives the container
    assert "medium" not in kept["emptyDir"]


def test_there_is_room_for_what_clients_may_send(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limits = settings_of(manifests, "coordinator", monkeypatch, tmp_path).limits
    memory = megabytes(manifests.pod("coordinator").container["resources"]["limits"]["memory"])
    assert memory * 2**20 >= 1.5 * limits.max_in_flight_bytes


def test_workers_compute_where_and_with_what_they_were_given(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_of(manifests, "worker", monkeypatch, tmp_path).worker
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


def test_nothing_may_be_imported_until_a_site_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert settings_of(render("base"), "worker", monkeypatch, tmp_path).worker.problems == ()


def test_the_example_allows_its_own_problem_which_is_that_of_the_readme(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    example = render("overlays/example")
    files = example.get("ConfigMap", "chronos-problems")["data"]
    assert settings_of(example, "worker", monkeypatch, tmp_path).worker.problems == tuple(
        f"{Path(name).stem}:*" for name in files
    )
    for name, text in files.items():
        assert text == (ROOT / "examples" / name).read_text(encoding="utf-8")


def test_workers_of_a_jobset_are_those_of_one_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Others would never end, and so never let the next job of the queue begin."""
    assert settings_of(render("overlays/jobset"), "worker", monkeypatch, tmp_path).worker.run_id
    monkeypatch.delenv("CHRONOS_WORKER__RUN_ID")
    assert not settings_of(render("overlays/gpu"), "worker", monkeypatch, tmp_path).worker.run_id
