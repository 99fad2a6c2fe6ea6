"""Objects that name each other mean each other: selectors, ports, volumes, budgets, policies, monitors."""

from __future__ import annotations

import re

import pytest
import yaml

from chronos_common.metrics import COORDINATOR_SERIES
from tests.support.manifests import K8S, Manifests, Object, Pod, pod_template, render, selects

pytestmark = pytest.mark.deploy

SHARED = {"chronos-problems": "ConfigMap", "chronos-worker-secrets": "Secret"}
SECURE = {"chronos-coordinator-tls", "chronos-worker-tls", "chronos-tokens"}
"""What a site adds; without it the pods start all the same."""


def selected(manifests: Manifests, selector: Object) -> list[Pod]:
    return [pod for pod in manifests.pods() if selects(selector, pod.labels)]


def test_everything_is_in_the_namespace_and_bears_its_labels(manifests: Manifests) -> None:
    (namespace,) = manifests.all("Namespace")
    for found in manifests.objects:
        assert found["metadata"].get("namespace", namespace["metadata"]["name"]) == "chronos"
        assert (found is namespace) or "namespace" in found["metadata"], found["metadata"]
    names = [(found["kind"], found["metadata"]["name"]) for found in manifests.objects]
    assert len(names) == len(set(names))


def test_owners_select_their_own_pods_and_no_others(manifests: Manifests) -> None:
    assert {pod.component for pod in manifests.pods()} == {"coordinator", "worker"}
    for pod in manifests.pods():
        if pod.owner["kind"] != "JobSet":
            assert selected(manifests, pod.owner["spec"]["selector"]) == [pod]


def test_services_find_pods_that_have_their_ports(manifests: Manifests) -> None:
    for service in manifests.all("Service"):
        (pod,) = selected(manifests, {"matchLabels": service["spec"]["selector"]})
        for port in service["spec"]["ports"]:
            assert pod.ports()[port["targetPort"]] == port["port"], service["metadata"]["name"]
    owner = manifests.pod("coordinator").owner
    governing = manifests.get("Service", owner["spec"]["serviceName"])
    assert governing["spec"]["clusterIP"] == "None"


def test_the_address_that_workers_call_is_a_service_of_the_coordinator(manifests: Manifests) -> None:
    worker = manifests.pod("worker")
    flag = next(arg for arg in worker.container["args"] if arg.startswith("--coordinator="))
    client = manifests.environment(worker)["CHRONOS_CLI__COORDINATOR"]
    for address in (flag.partition("=")[2], client):
        name, _, port = address.partition(":")
        service = manifests.get("Service", name)
        assert selects({"matchLabels": service["spec"]["selector"]}, manifests.pod("coordinator").labels)
        assert int(port) in [entry["port"] for entry in service["spec"]["ports"]]


def test_volumes_accounts_and_settings_exist(manifests: Manifests) -> None:
    for pod in manifests.pods():
        claims = [claim["metadata"]["name"] for claim in pod.owner["spec"].get("volumeClaimTemplates", ())]
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        assert set(pod.mounts().values()) == {*claims, *volumes}
        for volume in volumes.values():
            outside = volume.get("configMap") or volume.get("secret") or {}
            name = outside.get("name") or outside.get("secretName")
            if name in SECURE:
                assert "optional" not in outside  # without them the pod must wait
            elif name is not None and not (outside["optional"] and name in SHARED):
                assert manifests.get("ConfigMap", name)["metadata"]["name"] == name
        for source in pod.container["envFrom"]:
            name = source["configMapRef"]["name"]
            assert manifests.get("ConfigMap", name)["metadata"]["name"] == name
        account = manifests.get("ServiceAccount", pod.spec["serviceAccountName"])
        assert account["automountServiceAccountToken"] is pod.spec["automountServiceAccountToken"] is False


def test_changed_settings_and_problems_roll_the_pods() -> None:
    """Their names follow their content."""
    example = render("overlays/example")
    worker = example.pod("worker")
    hashed = re.compile(r"chronos-(settings|problems)-[a-z0-9]{10}")
    volume = next(volume for volume in worker.spec["volumes"] if volume["name"] == "problems")
    for name in (worker.container["envFrom"][0]["configMapRef"]["name"], volume["configMap"]["name"]):
        assert hashed.fullmatch(name)
        assert example.get("ConfigMap", name)
    jobset = render("overlays/jobset").pod("worker")
    assert hashed.fullmatch(jobset.container["envFrom"][0]["configMapRef"]["name"])


def test_probes_ask_ports_that_the_container_has(manifests: Manifests) -> None:
    for pod in manifests.pods():
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = pod.container[name]
            asked = next(probe[how]["port"] for how in ("grpc", "httpGet", "tcpSocket") if how in probe)
            assert asked in {*pod.ports(), *pod.ports().values()}


def test_a_budget_counts_pods_whose_owner_can_be_asked_for_their_number(manifests: Manifests) -> None:
    for budget in manifests.all("PodDisruptionBudget"):
        (pod,) = selected(manifests, budget["spec"]["selector"])
        assert pod.owner["kind"] in ("Deployment", "StatefulSet")
        assert pod.owner["spec"].get("replicas") != 1
    assert bool(manifests.all("PodDisruptionBudget")) == bool(manifests.all("Deployment"))


def test_spread_constraints_count_the_pods_own_kind(manifests: Manifests) -> None:
    worker = manifests.pod("worker")
    constraints = worker.spec["topologySpreadConstraints"]
    assert {constraint["topologyKey"] for constraint in constraints} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    assert all(selected(manifests, constraint["labelSelector"]) == [worker] for constraint in constraints)


def test_the_autoscaler_follows_a_series_of_the_coordinator() -> None:
    manifests = render("overlays/autoscale")
    (scaler,) = manifests.all("HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    scaled = manifests.get(target["kind"], target["name"])
    assert (scaled["apiVersion"], pod_template(scaled) is not None) == (target["apiVersion"], True)
    assert "replicas" not in scaled["spec"], "an apply would undo what the autoscaler decided"
    (metric,) = scaler["spec"]["metrics"]
    name = metric["external"]["metric"]["name"]
    assert name in [series.name for series in COORDINATOR_SERIES if not series.labels]
    values = yaml.safe_load((K8S / "components" / "autoscale" / "adapter.values.yaml").read_text())
    (rule,) = values["rules"]["external"]
    assert rule["seriesQuery"].partition("{")[0] == name
    assert (
        metric["external"]["target"]["type"] == "AverageValue"
    )  # a number of workers, whatever there is now


def test_only_the_autoscaler_leaves_the_number_of_workers_open(manifests: Manifests) -> None:
    for deployment in manifests.all("Deployment"):
        assert ("replicas" in deployment["spec"]) != bool(manifests.all("HorizontalPodAutoscaler"))


def test_every_pod_is_scraped_once(manifests: Manifests) -> None:
    (monitor,) = manifests.all("ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    for pod in manifests.pods():
        scraping = [
            service
            for service in manifests.all("Service")
            if selects(monitor["spec"]["selector"], service["metadata"]["labels"])
            and selects({"matchLabels": service["spec"]["selector"]}, pod.labels)
            and endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
        ]
        assert len(scraping) == 1
        assert scraping[0]["metadata"]["labels"][monitor["spec"]["jobLabel"]] == pod.component


def test_the_operators_kinds_can_be_left_out() -> None:
    text = (K8S / "components" / "no-operator" / "kustomization.yaml").read_text()
    for kind in ("ServiceMonitor", "PrometheusRule"):
        (found,) = render("base").all(kind)
        assert f"kind: {kind}\n      metadata:\n        name: {found['metadata']['name']}\n" in text
