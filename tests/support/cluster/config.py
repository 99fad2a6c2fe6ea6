"""The run that every simulated cluster works on: a few numbers, plain gradient descent, short leases."""

from __future__ import annotations

from chronos_common.compression import IDENTITY, GuardConfig, PipelineConfig
from chronos_common.engine import CompressionConfig, RunConfig, WorkSpec
from chronos_common.fleet import FleetConfig
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.versions import HYPERGRADIENT, LeaseConfig, RoundConfig
from tests.support.round_model import RATE

RUN = "run"
LEASES = LeaseConfig(initial_seconds=4.0, min_seconds=2.0, max_seconds=6.0, window=4)
FLEET = FleetConfig(heartbeat_seconds=1.0, timeout_seconds=3.0)
COMPRESSED_SIZE = 16
"""Enough numbers that a delta of them is smaller than a snapshot; two, otherwise."""

GUARD = GuardConfig(limit=0.5, patience_versions=1, max_density=0.5, calm_versions=2)
"""One that acts within a short history."""


def run_config(
    *,
    rounds: RoundConfig,
    kind: str = HYPERGRADIENT,
    max_versions: int = 0,
    up: str = IDENTITY,
    down: str = IDENTITY,
) -> RunConfig:
    size = 2 if up == down == IDENTITY else COMPRESSED_SIZE
    return RunConfig(
        parameters=(OuterSpec(name="vector", shape=(size,), dtype="float64"),),
        outer=OuterConfig(name="sgd", learning_rate=RATE),
        rounds=rounds,
        leases=LEASES,
        work=WorkSpec(kind=kind),
        compression=CompressionConfig(
            up=PipelineConfig(name=up, dense_below_elements=0),
            down=PipelineConfig(name=down, dense_below_elements=0),
            guard=GUARD,
            keep_versions=3,
        ),
        max_versions=max_versions,
    )
