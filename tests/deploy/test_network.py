"""Who may call whom, by the rules of NetworkPolicies: what is selected is closed, but for what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.manifests import Manifests, Object, selects

pytestmark = pytest.mark.deploy

Labels = Mapping[str, str]
NAME = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"


@dataclass(frozen=True)
class Peer:
    """A pod, here or in another namespace."""

    labels: Labels
    namespace: str = "chronos"


def takes(peer: Object, other: Peer) -> bool:
    if "ipBlock" in peer:
        return False
    namespace = {"kubernetes.io/metadata.name": other.namespace}
    here = (
        selects(peer["namespaceSelector"], namespace)
        if "namespaceSelector" in peer
        else (other.namespace == "chronos")
    )
    return here and selects(peer.get("podSelector", {}), other.labels)


def covers(entry: Object, port: str | int) -> bool:
    """Whether an entry of a rule is about a port, by its name or number, alone or in a range."""
    if "endPort" in entry and isinstance(port, int):
        return bool(entry["port"] <= port <= entry["endPort"])
    return bool(entry["port"] == port)


def allows(policies: list[Any], direction: str, pod: Peer, other: Peer, port: str | int) -> bool:
    """Whether a pod's policies let it speak with another one, by the port's name or number in the rule."""
    mine = [
        policy["spec"]
        for policy in policies
        if direction.capitalize() in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], pod.labels)
    ]
    assert mine, f"{pod} is open"
    side = "from" if direction == "ingress" else "to"
    return any(
        any(takes(peer, other) for peer in rule[side]) and any(covers(entry, port) for entry in rule["ports"])
        for spec in mine
        for rule in spec.get(direction, ())
    )


def test_the_coordinator_can_be_called_and_nothing_else_can(manifests: Manifests) -> None:
    policies = manifests.all("NetworkPolicy")
    coordinator, worker = (Peer(manifests.pod(name).labels) for name in ("coordinator", "worker"))
    number = manifests.pod("coordinator").ports()["grpc"]
    client = Peer({COMPONENT: "client"})
    stranger = Peer({NAME: "chronos"})
    prometheus = Peer({NAME: "prometheus"}, "monitoring")
    dns = Peer({"k8s-app": "kube-dns"}, "kube-system")
    for caller in (worker, client):
        assert allows(policies, "egress", caller, coordinator, number)
        assert allows(policies, "ingress", coordinator, caller, "grpc")
        assert allows(policies, "egress", caller, dns, 53)
        assert not allows(policies, "egress", caller, Peer({}, "elsewhere"), 443)
    for callee in (coordinator, worker):
        assert allows(policies, "ingress", callee, prometheus, "metrics")
        assert not allows(policies, "ingress", callee, prometheus, "grpc")
        for unwanted in (stranger, Peer({COMPONENT: "worker"}, "elsewhere")):
            assert not allows(policies, "ingress", callee, unwanted, "grpc")
            assert not allows(policies, "ingress", callee, unwanted, "metrics")
    assert not allows(policies, "egress", stranger, coordinator, number)
    assert not allows(policies, "egress", coordinator, worker, "metrics")
    assert not allows(policies, "ingress", worker, client, "grpc")


def test_policies_speak_of_pods_and_ports_that_there_are(manifests: Manifests) -> None:
    for policy in manifests.all("NetworkPolicy"):
        pods = [pod for pod in manifests.pods() if selects(policy["spec"]["podSelector"], pod.labels)]
        assert pods, policy["metadata"]["name"]
        for rule in policy["spec"].get("ingress", ()):
            for port in rule["ports"]:
                if "endPort" in port:  # ports that peers pick, and none that a service listens on
                    assert not any(covers(port, number) for pod in pods for number in pod.ports().values())
                else:
                    assert all(port["port"] in pod.ports() for pod in pods)


def test_workers_reach_each_other_where_they_are_peers_and_nowhere_else(manifests: Manifests) -> None:
    policies, worker = manifests.all("NetworkPolicy"), Peer(manifests.pod("worker").labels)
    sysctls = manifests.pod("worker").spec["securityContext"].get("sysctls", [])
    ranges = [entry["value"] for entry in sysctls if entry["name"] == "net.ipv4.ip_local_port_range"]
    assert bool(ranges) == (manifests.target == "overlays/peers")
    first, last = map(int, ranges[0].split()) if ranges else (32768, 60999)
    strangers = [Peer({COMPONENT: "client"}), Peer(worker.labels, "elsewhere"), Peer({NAME: "chronos"})]
    # torchrun's two, one for a store, and what gloo and NCCL pick.
    for port in (29400, 29500, 29999, first, last):
        assert allows(policies, "ingress", worker, worker, port) == bool(ranges)
        assert allows(policies, "egress", worker, worker, port) == bool(ranges)
        for stranger in strangers:
            assert not allows(policies, "ingress", worker, stranger, port)
        assert not allows(policies, "egress", worker, Peer(worker.labels, "elsewhere"), port)
    coordinator = Peer(manifests.pod("coordinator").labels)
    assert not allows(policies, "egress", worker, coordinator, first)
    assert not allows(policies, "ingress", coordinator, worker, first)
    variables = {entry["name"] for entry in manifests.pod("worker").container["env"]}
    assert ("POD_IP" in variables) == bool(ranges)
