"""What defines a run: immutable, journalled with it, and refused at creation when it cannot work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from chronos_common.engine.compression import CompressionConfig
from chronos_common.errors import ConfigurationError
from chronos_common.outer import OuterConfig, OuterSpec, make_optimizer, require_steppable
from chronos_common.outer.memory import ContinuumMemory, MemoryConfig
from chronos_common.runtime import require_kinds
from chronos_common.tensors import TensorSpec
from chronos_common.versions import HYPERGRADIENT, KINDS, LeaseConfig, RoundConfig

MAX_PARAMETERS = 100_000


@dataclass(frozen=True, kw_only=True)
class WorkSpec:
    """What workers do with a version.

    Attributes:
        problem: import path ``package.module:attribute``; empty when clients compute updates themselves.
        problem_config: JSON object of the problem's keyword arguments.
        estimator: name of the hypergradient estimator.
        estimator_config: JSON object of its keyword arguments.
        inner_steps: inner steps for each checkout.
        seed: seed of all randomness in the run.
        kind: kind of every commit, ``"hypergradient"`` or ``"parameter_delta"``.
        evaluate_every: evaluate the problem every so many versions; 0 is never.
        cold_start: start every inner loop from ``init_inner`` instead of the last θ.
    """

    problem: str = ""
    problem_config: str = "{}"
    estimator: str = "implicit"
    estimator_config: str = "{}"
    inner_steps: int = 100
    seed: int = 0
    kind: str = HYPERGRADIENT
    evaluate_every: int = 1
    cold_start: bool = False

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.kind not in KINDS:
            raise ConfigurationError(
                f"kind of update {self.kind!r} is unknown; the kinds are {', '.join(KINDS)}"
            )
        if self.inner_steps < 1:
            raise ConfigurationError(f"inner_steps is {self.inner_steps}; it must be 1 or more")
        if self.evaluate_every < 0:
            raise ConfigurationError(f"evaluate_every is {self.evaluate_every}; it must be 0 or more")
        if not 0 <= self.seed < 2**64:
            raise ConfigurationError(f"seed is {self.seed}; it must fit in 64 bits without a sign")
        for name in ("problem_config", "estimator_config"):
            _require_json_object(getattr(self, name), name)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that defines a run.

    Attributes:
        parameters: the outer parameters, at least one, uniquely named.
        outer: the outer optimiser.
        rounds: staleness, quorum and in-flight rules.
        leases: lease times.
        work: what workers compute.
        compression: pipelines of both directions.
        max_versions: the run finishes when this version is published; 0 is only when it is stopped.
        memory: what the run remembers; ``None`` is nothing.
    """

    parameters: tuple[OuterSpec, ...]
    outer: OuterConfig = field(default_factory=OuterConfig)
    rounds: RoundConfig = field(default_factory=RoundConfig)
    leases: LeaseConfig = field(default_factory=LeaseConfig)
    work: WorkSpec = field(default_factory=WorkSpec)
    compression: CompressionConfig = field(default_factory=CompressionConfig)
    max_versions: int = 0
    memory: MemoryConfig | None = None

    def __post_init__(self) -> None:
        require_kinds(self)
        names = [spec.name for spec in self.parameters]
        if not names:
            raise ConfigurationError("a run needs at least one outer parameter")
        if len(names) > MAX_PARAMETERS:
            raise ConfigurationError(
                f"{len(names)} outer parameters are more than {MAX_PARAMETERS}; stack them"
            )
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ConfigurationError(f"outer parameters are named twice: {', '.join(twice)}")
        if self.max_versions < 0:
            raise ConfigurationError(f"max_versions is {self.max_versions}; it must be 0 or more")
        if self.rounds.grace_seconds > self.leases.max_seconds:
            raise ConfigurationError(
                f"grace_seconds is {self.rounds.grace_seconds}, above the longest lease of "
                f"{self.leases.max_seconds} seconds: a version waits for nobody beyond its deadline; lower it"
            )
        require_steppable(make_optimizer(self.outer), self.parameters)
        if self.memory is not None:
            ContinuumMemory.empty(self.memory, self.specs)

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and dtype of every outer parameter."""
        return tuple(spec.tensor for spec in self.parameters)

    def to_json(self) -> str:
        """Canonical JSON; floats survive the round trip exactly."""
        parts = {
            "parameters": [spec.to_json() for spec in self.parameters],
            "outer": self.outer.to_json(),
            "rounds": asdict(self.rounds),
            "leases": asdict(self.leases),
            "work": asdict(self.work),
            "compression": self.compression.to_json(),
            "max_versions": self.max_versions,
        }
        if self.memory is not None:  # left out otherwise, as in the texts of releases that had none
            parts["memory"] = asdict(self.memory)
        return json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RunConfig:
        """The configuration that :meth:`to_json` wrote.

        Raises:
            ConfigurationError: not such a text.
        """
        try:
            parts: Mapping[str, Any] = json.loads(text)
            return cls(
                parameters=tuple(OuterSpec.from_json(spec) for spec in parts["parameters"]),
                outer=OuterConfig.from_json(parts["outer"]),
                rounds=RoundConfig(**parts["rounds"]),
                leases=LeaseConfig(**parts["leases"]),
                work=WorkSpec(**parts["work"]),
                compression=CompressionConfig.from_json(parts["compression"]),
                max_versions=parts["max_versions"],
                memory=MemoryConfig(**parts["memory"]) if parts.get("memory") is not None else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"stored run configuration cannot be read: {error!r}") from error


def _require_json_object(text: str, name: str) -> None:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"{name} must be a JSON object of keyword arguments, not {type(value).__name__}"
        )
