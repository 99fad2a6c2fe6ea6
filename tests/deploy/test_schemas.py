"""What is rendered is what Kubernetes and the operators take: strictly, at several versions."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from tests.support.custom_resources import MODELS, JobSet
from tests.support.manifests import K8S, TARGETS, Manifests, job_of, render, validate

pytestmark = pytest.mark.deploy

KUBERNETES = ("1.30", "1.32", "1.34")


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_target_fits_kubernetes(version: str, tmp_path: Path) -> None:
    checked = 0
    for target in TARGETS:
        objects = [
            job_of(found) if found["kind"] == "JobSet" else dict(found)
            for found in render(target).objects
            if found["kind"] == "JobSet" or found["kind"] not in MODELS
        ]
        checked += len(objects)
        (tmp_path / f"{target.replace('/', '-')}.yaml").write_text(yaml.safe_dump_all(objects))
    (tmp_path / "secret.yaml").write_text((K8S / "secret.template.yaml").read_text())
    done = validate(version, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = [line for line in (done.stdout + done.stderr).splitlines() if " passed " in line]
    assert len(passed) == checked + 1
    assert all(line.endswith(f"against version {version}") for line in passed)


def test_the_validator_sees_a_misspelt_field(tmp_path: Path) -> None:
    service = dict(render("base").get("Service", "chronos-coordinator"))
    service["spec"] = {**service["spec"], "sessionAfinity": "None"}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(service))
    done = validate(KUBERNETES[-1], tmp_path)
    assert done.returncode != 0
    assert "sessionAfinity" in done.stdout + done.stderr


def test_custom_resources_fit_their_models(manifests: Manifests) -> None:
    operators = ("monitoring.coreos.com/", "jobset.x-k8s.io/")
    foreign = [found for found in manifests.objects if found["apiVersion"].startswith(operators)]
    assert foreign
    for found in foreign:
        MODELS[found["kind"]].model_validate(found)


def test_the_models_see_a_misspelt_field() -> None:
    monitor = dict(render("base").get("ServiceMonitor", "chronos"))
    monitor["spec"] = {**monitor["spec"], "endpoint": []}
    with pytest.raises(ValidationError, match="endpoint"):
        MODELS["ServiceMonitor"].model_validate(monitor)


def test_the_jobset_has_the_pods_of_the_deployment() -> None:
    jobset = render("overlays/jobset").get("JobSet", "chronos-worker")
    assert JobSet.model_validate(jobset).pod_names_fit()
    job = job_of(jobset)["spec"]
    assert job["parallelism"] == job["completions"]
    copied, written = render("overlays/jobset").pod("worker"), render("overlays/gpu").pod("worker")
    assert copied.labels == written.labels
    settings = copied.spec["containers"][0]["envFrom"]
    assert copied.spec == {
        **written.spec,
        "restartPolicy": "OnFailure",  # and the name of the settings, which follows their content
        "containers": [{**written.container, "envFrom": settings}],
    }
    assert not render("overlays/jobset").all("Deployment")
