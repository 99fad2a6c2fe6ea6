"""The part of three custom resources that the manifests use, as strict models: no such schema comes with Kubernetes.

Field names and rules are those of the operators' API references: monitoring.coreos.com/v1 and
jobset.x-k8s.io/v1alpha2. An unknown field is refused, as strict validation does for Kubernetes' own kinds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

Duration = Annotated[str, Field(pattern=r"^([0-9]+(ms|[smhdwy]))+$")]
MetricName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Labels = dict[str, str]


class Strict(BaseModel):
    """Refuses what it does not know, and does not convert."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Metadata(Strict):
    """What the manifests say about an object."""

    name: Name
    namespace: Name
    labels: Labels = {}
    annotations: Labels = {}


# --- ServiceMonitor --------------------------------------------------------------------------------------


class Endpoint(Strict):
    """A port to scrape, by the name that the Service gives it."""

    port: str
    path: str
    interval: Duration
    scrape_timeout: Duration


class Selector(Strict):
    """A label selector."""

    match_labels: Labels


class ServiceMonitorSpec(Strict):
    """What is scraped."""

    selector: Selector
    job_label: str
    endpoints: list[Endpoint] = Field(min_length=1)


class ServiceMonitor(Strict):
    """monitoring.coreos.com/v1 ServiceMonitor."""

    api_version: Literal["monitoring.coreos.com/v1"]
    kind: Literal["ServiceMonitor"]
    metadata: Metadata
    spec: ServiceMonitorSpec


# --- PrometheusRule --------------------------------------------------------------------------------------


class Rule(Strict):
    """A recording rule or an alert, never both."""

    record: MetricName | None = None
    alert: str | None = None
    expr: str = Field(min_length=1)
    for_: Duration | None = Field(default=None, alias="for")
    keep_firing_for: Duration | None = Field(default=None, alias="keep_firing_for")
    labels: Labels = {}
    annotations: Labels = {}

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.record is None) == (self.alert is None):
            raise ValueError("a rule has either record or alert")
        if self.record is not None and (self.for_ or self.keep_firing_for or self.annotations):
            raise ValueError("only alerts have for, keep_firing_for and annotations")
        return self


class Group(Strict):
    """Rules that are evaluated together."""

    name: str
    interval: Duration | None = None
    rules: list[Rule] = Field(min_length=1)


class PrometheusRuleSpec(Strict):
    """What a rules file holds."""

    groups: list[Group] = Field(min_length=1)


class PrometheusRule(Strict):
    """monitoring.coreos.com/v1 PrometheusRule."""

    api_version: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PrometheusRule"]
    metadata: Metadata
    spec: PrometheusRuleSpec

    @model_validator(mode="after")
    def _unique_groups(self) -> Self:
        names = [group.name for group in self.spec.groups]
        if len(names) != len(set(names)):
            raise ValueError("two groups have one name")
        return self


# --- JobSet ----------------------------------------------------------------------------------------------


class JobTemplate(Strict):
    """A Job without apiVersion and kind; its spec is checked against Kubernetes' own schema."""

    spec: dict[str, Any]


class ReplicatedJob(Strict):
    """Jobs of one kind."""

    name: Name
    replicas: int = Field(ge=1)
    template: JobTemplate


class JobSetSpec(Strict):
    """Jobs that are one."""

    replicated_jobs: list[ReplicatedJob] = Field(min_length=1)


class JobSet(Strict):
    """jobset.x-k8s.io/v1alpha2 JobSet."""

    api_version: Literal["jobset.x-k8s.io/v1alpha2"]
    kind: Literal["JobSet"]
    metadata: Metadata
    spec: JobSetSpec

    def pod_names_fit(self) -> bool:
        """Whether every pod's host name, JOBSET-JOB-INDEX-POD, is one that DNS takes."""
        longest = max(
            len(f"{self.metadata.name}-{job.name}-{job.replicas - 1}-{job.template.spec['completions'] - 1}")
            for job in self.spec.replicated_jobs
        )
        return longest <= 63


MODELS: dict[str, type[Strict]] = {
    "ServiceMonitor": ServiceMonitor,
    "PrometheusRule": PrometheusRule,
    "JobSet": JobSet,
}
