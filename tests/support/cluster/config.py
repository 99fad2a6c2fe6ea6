"""The run that every simulated cluster works on: two numbers, plain gradient descent, short leases."""

from __future__ import annotations

from chronos_common.engine import RunConfig, WorkSpec
from chronos_common.fleet import FleetConfig
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.versions import HYPERGRADIENT, LeaseConfig, RoundConfig
from tests.support.round_model import RATE

RUN = "run"
LEASES = LeaseConfig(initial_seconds=4.0, min_seconds=2.0, max_seconds=6.0, window=4)
FLEET = FleetConfig(heartbeat_seconds=1.0, timeout_seconds=3.0)
SPECS = (OuterSpec(name="vector", shape=(2,), dtype="float64"),)


def run_config(*, rounds: RoundConfig, kind: str = HYPERGRADIENT, max_versions: int = 0) -> RunConfig:
    return RunConfig(
        parameters=SPECS,
        outer=OuterConfig(name="sgd", learning_rate=RATE),
        rounds=rounds,
        leases=LEASES,
        work=WorkSpec(kind=kind),
        max_versions=max_versions,
    )
