"""The manifests of ``deploy/k8s`` as kubectl renders them, and what tests ask of them."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from chronos_common.cli.settings import CliSettings
from chronos_common.runtime.settings import flags_of, variable_of
from chronos_coordinator.app import Settings as CoordinatorSettings
from chronos_worker.app import Settings as WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "deploy" / "k8s"
TOOLS = ROOT / ".venv" / "deploy" / "bin"

SERVICES: Final[Mapping[str, Any]] = {"coordinator": CoordinatorSettings, "worker": WorkerSettings}
"""The settings of each component."""

VARIABLES: Final = frozenset(
    variable_of(name) for model in (*SERVICES.values(), CliSettings) for name in flags_of(model)
)
"""Every CHRONOS_* variable that a service or the command line reads."""

Object = Mapping[str, Any]

TARGETS: Final = ("base", *(f"overlays/{path.name}" for path in sorted((K8S / "overlays").iterdir())))
"""Everything that can be given to ``kubectl apply -k``."""


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod template, and the object that makes pods of it."""

    owner: Object
    labels: Mapping[str, str]
    spec: Object

    @property
    def component(self) -> str:
        """``coordinator`` or ``worker``."""
        return self.labels["app.kubernetes.io/component"]

    @property
    def container(self) -> Object:
        """Its only container."""
        (container,) = self.spec["containers"]
        found: Object = container
        return found

    def ports(self) -> dict[str, int]:
        """Container ports by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def mounts(self) -> dict[str, str]:
        """Volume names by the path that they are mounted at."""
        return {mount["mountPath"]: mount["name"] for mount in self.container["volumeMounts"]}


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """Everything that one target renders to."""

    target: str
    objects: tuple[Object, ...]

    def all(self, kind: str) -> list[Object]:
        """Every object of a kind."""
        return [found for found in self.objects if found["kind"] == kind]

    def get(self, kind: str, name: str) -> Object:
        """One object; a name with a hash is found without it."""
        names = {found["metadata"]["name"]: found for found in self.all(kind)}
        if name in names:
            return names[name]
        (found,) = [made for full, made in names.items() if full.rpartition("-")[0] == name]
        return found

    def pods(self) -> Iterator[Pod]:
        """Every pod template."""
        for found in self.objects:
            template = pod_template(found)
            if template is not None:
                yield Pod(owner=found, labels=template["metadata"]["labels"], spec=template["spec"])

    def pod(self, component: str) -> Pod:
        """The pod template of a component."""
        (found,) = [pod for pod in self.pods() if pod.component == component]
        return found

    def environment(self, pod: Pod) -> dict[str, str]:
        """The environment variables that the manifests give a pod's container; what Kubernetes fills in is empty."""
        variables: dict[str, str] = {}
        for source in pod.container.get("envFrom", ()):
            variables |= self.get("ConfigMap", source["configMapRef"]["name"])["data"]
        return variables | {entry["name"]: entry.get("value", "") for entry in pod.container.get("env", ())}


def pod_template(found: Object) -> Object | None:
    """The pod template inside of an object, if it is of a kind that has one."""
    spec: Any = found.get("spec", {})
    if found["kind"] == "JobSet":
        (pool,) = spec["replicatedJobs"]
        spec = pool["template"]["spec"]
    elif found["kind"] not in ("Deployment", "StatefulSet"):
        return None
    template: Object = spec["template"]
    return template


def job_of(jobset: Object) -> dict[str, Any]:
    """The Job inside of a JobSet, as an object of its own: what tools know that know no JobSet."""
    (pool,) = jobset["spec"]["replicatedJobs"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": jobset["metadata"],
        "spec": pool["template"]["spec"],
    }


@functools.cache
def render(target: str) -> Manifests:
    """What ``kubectl kustomize`` makes of a folder below ``deploy/k8s``.

    Raises:
        AssertionError: there is no kubectl, or it refuses the folder; with what it said.
    """
    kubectl = tool("kubectl")
    done = subprocess.run(
        [kubectl, "kustomize", str(K8S / target)], capture_output=True, text=True, timeout=60.0, check=False
    )
    assert done.returncode == 0, f"kubectl kustomize {target}: {done.stderr}"
    return Manifests(target=target, objects=tuple(yaml.safe_load_all(done.stdout)))


def tool(name: str) -> str:
    """Path of a command that the checks need.

    Raises:
        AssertionError: it is missing; with what to do.
    """
    own = TOOLS / name
    found = str(own) if own.is_file() else shutil.which(name)
    assert found, (
        f"{name} is missing: `make deploy-check` installs its tools, but for kubectl, which you install"
    )
    return found


def validate(version: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What kubernetes-validate says, strictly, of the YAML files in a folder."""
    files = sorted(map(str, folder.glob("*.yaml")))
    assert files
    return subprocess.run(
        [tool("kubernetes-validate"), "-k", version, "--strict", *files],
        capture_output=True,
        text=True,
        timeout=100.0,
        check=False,
    )


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels; an empty one takes everything."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for wanted in selector.get("matchExpressions", ()):
        assert wanted["operator"] == "In", wanted
        if labels.get(wanted["key"]) not in wanted["values"]:
            return False
    return True


def megabytes(quantity: str) -> float:
    """A quantity of memory in MiB."""
    number, unit = quantity[:-2], quantity[-2:]
    return float(number) * {"Mi": 1.0, "Gi": 1024.0}[unit]
