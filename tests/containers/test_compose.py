"""``docker compose up --wait``, then the demo on the cluster, as the README says."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests.containers.conftest import WORKERS, Figures
from tests.support.containers.engine import docker, inspect
from tests.support.containers.project import COORDINATOR, TAG, WORKER, Project
from tests.support.polling import poll

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

READY_SECONDS = 15.0


def test_a_new_cluster_is_ready_soon(cluster: Project, figures: Figures) -> None:
    assert len(cluster.containers(WORKER)) == WORKERS
    seconds = cluster.up_seconds
    if seconds > READY_SECONDS:  # where the machine was busy with others, once more
        with Project(CHRONOS_VERSION=TAG) as another:
            another.up(workers=WORKERS)
            seconds = another.up_seconds
    figures.require("compose up --wait", "seconds, 3 workers", seconds, "<=", READY_SECONDS)


def test_the_demo_learns_on_the_cluster(cluster: Project, figures: Figures) -> None:
    done = cluster.cli("demo", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    accuracy = {arm: 100.0 * value for arm, value in report["accuracy"].items()}
    assert (report["versions"], report["workers"]) == (120, WORKERS)
    figures.note("demo", "seconds of the run that learns", report["seconds"]["total"])
    loss = accuracy["chronos"] - accuracy["single_node"]
    figures.require("demo", "accuracy, chronos − single_node", loss, ">=", -1.0)
    gain = accuracy["chronos_plus_validation"] - accuracy["validation_only"]
    figures.require("demo", "accuracy, chronos_plus_validation − validation_only", gain, ">=", 0.0)
    figures.require("demo", "F1 of the cleaning", report["f1"], ">=", 0.93)


def test_a_problem_of_ones_own_comes_in_through_the_mounted_folder(cluster: Project) -> None:
    problem = ("weight_decay:WeightDecay", "--path", "/problems", "--versions", "4", "--inner-steps", "5")
    done = cluster.cli("run", *problem, "--json")
    assert done.returncode == 0, done.stderr
    view = json.loads(done.stdout)
    assert (view["status"], view["version"]) == ("finished", 4)
    verified = cluster.cli("verify", view["run_id"])
    assert verified.returncode == 0, verified.stderr


def test_prometheus_sees_every_service(cluster: Project) -> None:
    url = f"http://127.0.0.1:{cluster.prometheus_port}/api/v1/targets"

    def up() -> list[str]:
        with urllib.request.urlopen(url, timeout=5) as answer:
            targets: list[dict[str, Any]] = json.load(answer)["data"]["activeTargets"]
        found = [target["labels"]["job"] for target in targets if target["health"] == "up"]
        return found if len(found) == 1 + WORKERS else []

    assert sorted(set(poll(up, "all targets", timeout_seconds=60))) == [
        "chronos-coordinator",
        "chronos-worker",
    ]


@pytest.mark.parametrize("service", [COORDINATOR, WORKER])
def test_services_run_hardened(cluster: Project, service: str) -> None:
    host = inspect("container", cluster.containers(service)[0])["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    ports = host["PortBindings"] or {}
    assert {binding["HostIp"] for bindings in ports.values() for binding in bindings} <= {"127.0.0.1"}


def test_the_gpu_file_only_adds_a_reservation_an_image_and_a_device(images: dict[str, str]) -> None:
    same = {"CHRONOS_PORT": "1", "CHRONOS_PROMETHEUS_PORT": "2", "CHRONOS_SUBNET": "172.30.55.0/24"}
    plain, with_gpu = Project(**same).config(), Project("docker-compose.gpu.yml", **same).config()
    (device,) = with_gpu["services"][WORKER].pop("deploy")["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    worker, before = with_gpu["services"].pop(WORKER), plain["services"].pop(WORKER)
    differing = {name for name in worker.keys() | before.keys() if worker.get(name) != before.get(name)}
    assert differing == {"build", "environment", "image"}
    assert worker["environment"]["CHRONOS_WORKER__DEVICE"] == "cuda"
    assert worker["build"]["args"]["BASE_IMAGE"].startswith("nvidia/cuda:")
    assert with_gpu["services"] == plain["services"]


def test_the_worker_of_the_compose_file_has_a_health_check_that_sees_it_registered(cluster: Project) -> None:
    container = cluster.containers(WORKER)[0]
    docker("exec", container, "chronos-health", "127.0.0.1:50552", "chronos.worker")
    refused = docker("exec", container, "chronos-health", "127.0.0.1:50552", "nobody", check=False)
    assert refused.returncode == 1
    assert refused.stderr.strip().endswith("it has no service 'nobody' (yet)")
