"""A run in a few lines, for tests of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chronos_common.codec import encode
from chronos_common.compression import PipelineConfig
from chronos_common.engine import (
    CheckoutAnswer,
    CheckoutQuery,
    CommitAnswer,
    CommitQuery,
    CompressionConfig,
    Created,
    Event,
    RunConfig,
    RunEngine,
    WorkSpec,
    start,
)
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.outer.memory import MemoryConfig
from chronos_common.versions import HYPERGRADIENT, LeaseConfig, MustWait, RoundConfig

RUN = "run"
LEASE_SECONDS = 10.0


def config(
    *,
    outer: OuterConfig | None = None,
    kind: str = HYPERGRADIENT,
    max_versions: int = 0,
    bounds: tuple[float, float] | None = None,
    compression: CompressionConfig | None = None,
    size: int = 2,
    memory: MemoryConfig | None = None,
    **rounds: Any,
) -> RunConfig:
    """One float64 vector and one float32 scalar, SGD with rate 1 unless told otherwise."""
    lower, upper = bounds if bounds is not None else (None, None)
    return RunConfig(
        parameters=(
            OuterSpec(name="vector", shape=(size,), dtype="float64", lower=lower, upper=upper),
            OuterSpec(name="scalar", shape=(), dtype="float32"),
        ),
        outer=outer if outer is not None else OuterConfig(name="sgd", learning_rate=1.0),
        rounds=RoundConfig(**rounds),
        leases=LeaseConfig(initial_seconds=LEASE_SECONDS),
        work=WorkSpec(kind=kind),
        compression=CompressionConfig() if compression is None else compression,
        max_versions=max_versions,
        memory=memory,
    )


def arrays(value: float, size: int = 2) -> dict[str, np.ndarray[Any, Any]]:
    """Of a vector with more entries, every one has another magnitude."""
    signs = np.array([value, -value]) if size == 2 else value * np.cos(np.arange(size) * (1.0 + abs(value)))
    return {"vector": signs, "scalar": np.asarray(value, dtype=np.float32)}


def created(run_config: RunConfig, value: float = 0.0) -> Created:
    size = run_config.parameters[0].shape[0]
    return Created(config=run_config.to_json(), payload=encode("identity", arrays(value, size)))


def compressed(down: str = "topk10+int8", up: str = "topk10+int8", **more: Any) -> CompressionConfig:
    """Both directions compressed, however small the arrays."""
    return CompressionConfig(
        up=PipelineConfig(name=up, dense_below_elements=0),
        down=PipelineConfig(name=down, dense_below_elements=0),
        **more,
    )


class Client:
    """An engine, the events it produced, and commands with defaults."""

    def __init__(self, run_config: RunConfig) -> None:
        first = created(run_config)
        self.engine = RunEngine(RUN, start(first))
        self.events: list[Event] = [first]
        self.now = 0.0

    @property
    def version(self) -> int:
        return self.engine.state.version

    def take(self) -> tuple[Event, ...]:
        events = self.engine.take_events()
        self.events += events
        return events

    def checkout(self, worker: str, **query: Any) -> CheckoutAnswer | MustWait:
        answer = self.engine.checkout(CheckoutQuery(run_id=RUN, worker_id=worker, **query), self.now)
        self.take()
        return answer

    def commit(
        self,
        worker: str,
        value: float | Mapping[str, Any] | bytes | None = 1.0,
        *,
        base: int | None = None,
        current: int = 0,
        **query: Any,
    ) -> CommitAnswer:
        chain = self.engine.state.rounds.chains.get(worker)
        last = chain.last_applied if chain is not None else 0
        if isinstance(value, int | float):
            value = arrays(float(value), self.engine.config.parameters[0].shape[0])
        fields: dict[str, Any] = {
            "worker_id": worker,
            "incarnation": 0,
            "seq": last + 1,
            "prev_applied": last,
            "base": self.version if base is None else base,
            "kind": self.engine.config.work.kind,
            "work": 1.0,
            "payload": encode("identity", value) if isinstance(value, Mapping) else value,
            **query,
        }
        answer = self.engine.commit(CommitQuery(**fields), current, self.now)
        self.take()
        return answer
