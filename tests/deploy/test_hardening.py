"""Pods get no more than they need: checkov's rules with justified exceptions, and a few of our own."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.manifests import ROOT, TARGETS, Manifests, job_of, render, tool

pytestmark = pytest.mark.deploy

SKIPPED = {"CKV_K8S_11", "CKV_K8S_15", "CKV_K8S_43"}
"""Checks that are left out, each with its reason in an annotation of the object."""


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What checkov says of every target; of a JobSet, which it does not know, it sees the Job."""
    folder = tmp_path_factory.mktemp("manifests")
    for target in TARGETS:
        objects = [
            job_of(found) if found["kind"] == "JobSet" else dict(found) for found in render(target).objects
        ]
        (folder / f"{target.replace('/', '-')}.yaml").write_text(yaml.safe_dump_all(objects))
    done = subprocess.run(
        [tool("checkov"), "-d", str(folder), "--framework", "kubernetes", "--skip-download", "-o", "json"],
        capture_output=True,
        text=True,
        timeout=110.0,
        check=False,
    )
    assert done.stdout.startswith("{"), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_checkov_finds_nothing(scan: dict[str, Any]) -> None:
    failed = [f"{check['check_id']} {check['resource']}" for check in scan["results"]["failed_checks"]]
    assert failed == []
    assert scan["results"]["parsing_errors"] == []
    passed = {check["resource"].partition(".")[0] for check in scan["results"]["passed_checks"]}
    assert {"Deployment", "StatefulSet", "Job", "Service", "ServiceAccount"} <= passed


def test_skipped_checks_are_few_and_justified(scan: dict[str, Any]) -> None:
    skipped = scan["results"]["skipped_checks"]
    assert {check["check_id"] for check in skipped} == SKIPPED
    assert all(len(check["check_result"]["suppress_comment"].split()) >= 5 for check in skipped)


def test_pods_meet_the_restricted_standard(manifests: Manifests) -> None:
    (namespace,) = manifests.all("Namespace")
    labels = namespace["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert labels[f"pod-security.kubernetes.io/{mode}-version"].startswith("v1.")
    allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
    for pod in manifests.pods():
        context, container = pod.spec["securityContext"], pod.container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 10001
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
        assert all(allowed & volume.keys() for volume in pod.spec["volumes"])
        assert "/tmp" in pod.mounts()


def test_resources_are_asked_for_and_bounded(manifests: Manifests) -> None:
    for pod in manifests.pods():
        resources = pod.container["resources"]
        assert {"cpu", "memory", "ephemeral-storage"} <= resources["requests"].keys()
        assert {"memory", "ephemeral-storage"} <= resources["limits"].keys()
        for volume in pod.spec["volumes"]:
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]


def test_images_are_those_of_this_version(manifests: Manifests) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for pod in manifests.pods():
        name, _, tag = pod.container["image"].rpartition(":")
        assert (name.rpartition("/")[2], tag) == (f"chronos-{pod.component}", version)


def test_no_target_contains_a_secret(manifests: Manifests) -> None:
    """The template is copied and filled in outside of the repository."""
    assert not manifests.all("Secret")
    template = yaml.safe_load(
        Path(ROOT / "deploy" / "k8s" / "secret.template.yaml").read_text(encoding="utf-8")
    )
    mounted = [
        volume["secret"]["secretName"]
        for pod in manifests.pods()
        for volume in pod.spec["volumes"]
        if "secret" in volume and volume["secret"].get("optional")
    ]
    assert mounted == [template["metadata"]["name"]]
    assert set(template["stringData"].values()) == {"replace-me"}
