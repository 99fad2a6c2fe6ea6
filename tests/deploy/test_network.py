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
        any(takes(peer, other) for peer in rule[side]) and port in [entry["port"] for entry in rule["ports"]]
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
                assert all(port["port"] in pod.ports() for pod in pods)
