"""The density guard, and the quadratic that it is for."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from chronos_common.compression import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    IDENTITY,
    GuardConfig,
    GuardState,
    compress,
    lag_ratio,
    make_pipeline,
    next_version,
    watch,
)
from chronos_common.errors import CorruptStateError
from chronos_common.outer import OuterConfig, make_optimizer

CONFIG = GuardConfig(limit=2.0, patience_versions=3, calm_versions=4, max_density=0.3, min_rate_scale=0.25)


def after(ratios: list[float], state: GuardState | None = None, config: GuardConfig = CONFIG) -> GuardState:
    state = state or GuardState(density=0.1)
    for ratio in ratios:
        state = watch(config, state, ratio, base_density=0.1)
    return state


def test_it_waits_for_a_lag_that_stays() -> None:
    assert after([3, 3, 1, 3, 3, 2]).density == 0.1
    assert after([3, 3, 3]).density == 0.2
    assert after([math.inf] * 3).density == 0.2


def test_density_rises_first_and_the_rate_falls_then() -> None:
    decisions = [(s.density, s.rate_scale) for s in (after([9] * n) for n in range(0, 16, 3))]
    assert decisions == [(0.1, 1.0), (0.2, 1.0), (0.3, 1.0), (0.3, 0.5), (0.3, 0.25), (0.3, 0.25)]


def test_calm_takes_back_the_rate_first_and_never_passes_the_base() -> None:
    tight = GuardState(density=0.3, rate_scale=0.5)
    decisions = [(s.density, s.rate_scale) for s in (after([0.1] * n, tight) for n in range(0, 20, 4))]
    assert decisions == [(0.3, 0.5), (0.3, 1.0), (0.15, 1.0), (0.1, 1.0), (0.1, 1.0)]
    assert after([0.1, 0.1, 0.1, 1.0, 0.1, 0.1, 0.1], tight) == replace(tight, calm=3, ratio=0.1)


def test_a_maximum_below_the_pipelines_own_density_lowers_nothing() -> None:
    config = replace(CONFIG, max_density=0.05)
    assert after([9] * 3, config=config).density == 0.1
    assert after([9] * 3, config=config).rate_scale == 0.5


def test_the_ratio_is_lag_over_step() -> None:
    before, x = {"a": np.zeros(2)}, {"a": np.array([3.0, 4.0])}
    assert lag_ratio(before, x, {"a": np.array([3.0, 14.0])}) == 2.0
    assert lag_ratio(before, x, x) == 0.0
    assert lag_ratio(x, x, before) == math.inf
    assert lag_ratio(x, x, x) == 0.0


@pytest.mark.parametrize("ratio", [1.25, math.inf])
def test_the_state_survives_storage(ratio: float) -> None:
    state = GuardState(density=0.1, rate_scale=0.5, above=2, calm=0, ratio=ratio)
    assert GuardState.from_json(json.loads(json.dumps(state.to_json(), allow_nan=False))) == state
    for broken in ({}, {**state.to_json(), "more": 1}, {**state.to_json(), "ratio": "x"}):
        with pytest.raises(CorruptStateError):
            GuardState.from_json(broken)


@dataclass(frozen=True)
class Descent:
    """How a run on the quadratic ended."""

    rms: float
    sent_share: float
    decisions: list[tuple[float, float]]


def descend(
    pipeline_name: str, outer: OuterConfig, guard: GuardConfig | None, seed: int = 0, up: str = IDENTITY
) -> Descent:
    """Minimises ½Σ hᵢ(pᵢ - tᵢ)² over 2000 float32 values, gradients taken at p, condition number 10."""
    size, versions = 2000, 1000
    rng = np.random.default_rng(seed)
    h = rng.permutation(np.geomspace(0.1, 1, size).astype(np.float32))
    target = rng.standard_normal(size).astype(np.float32)
    optimizer = make_optimizer(outer)
    x: dict[str, Any] = {"u": np.zeros(size, np.float32)}
    p, memory = x, optimizer.init(x)
    pipeline, uplink, owed = make_pipeline(pipeline_name), make_pipeline(up), {}
    state, sent, decisions = GuardState(density=pipeline.density), 0, []
    for _ in range(versions):
        before = x
        committed = compress(uplink, {"u": h * (p["u"] - target)}, owed)
        owed = committed.residual
        stepped, memory = optimizer.step(x, committed.transmitted, memory)
        x = {"u": x["u"] + np.float32(state.rate_scale) * (stepped["u"] - x["u"])}
        if not np.isfinite(x["u"]).all() or np.abs(x["u"]).max() > 1e12:
            return Descent(math.inf, math.inf, decisions)
        version = next_version(pipeline.with_density(state.density), x, p, dict)
        p, sent = version.published, sent + len(version.payload)
        if guard is not None:
            decided = watch(guard, state, lag_ratio(before, x, p), base_density=pipeline.density)
            if (decided.density, decided.rate_scale) != (state.density, state.rate_scale):
                decisions.append((decided.density, decided.rate_scale))
            state = decided
    rms = float(np.sqrt(np.mean((p["u"] - target).astype(np.float64) ** 2)))
    return Descent(rms, sent / versions / (4 * size), decisions)


OPTIMIZERS = [
    OuterConfig(),
    OuterConfig(learning_rate=0.01),
    OuterConfig(name="sgd", learning_rate=0.1, momentum=0.9),
    OuterConfig(name="sgd", learning_rate=0.03, momentum=0.9),
]
optimizers = pytest.mark.parametrize("outer", OPTIMIZERS, ids=lambda o: f"{o.name}-{o.learning_rate}")


@pytest.mark.histories
@optimizers
@pytest.mark.parametrize("seed", [0, 1])
def test_the_defaults_converge(outer: OuterConfig, seed: int) -> None:
    found = descend(DEFAULT_DOWN, outer, GuardConfig(), seed, DEFAULT_UP)
    assert found.rms <= 1e-3
    assert found.sent_share < 0.12


@pytest.mark.histories
@pytest.mark.parametrize("outer", [OPTIMIZERS[0], OPTIMIZERS[2], OPTIMIZERS[3]], ids=["adam", "fast", "slow"])
def test_one_percent_fails_alone_and_converges_under_guard(outer: OuterConfig) -> None:
    alone = descend("topk1+int8", outer, None)
    assert alone.rms > 0.1
    guarded = descend("topk1+int8", outer, GuardConfig())
    assert guarded.rms <= 1e-3
    densities = [density for density, _ in guarded.decisions]
    assert densities[:3] == [0.02, 0.04, 0.08]
    assert all(rate == 1.0 for _, rate in guarded.decisions)
    assert guarded.sent_share < 0.12


def test_the_guard_acts_even_for_the_default_at_adams_full_rate() -> None:
    assert descend(DEFAULT_DOWN, OuterConfig(), None).rms > 0.03
    assert descend(DEFAULT_DOWN, OuterConfig(), GuardConfig()).decisions[0] == (0.2, 1.0)


def test_where_density_may_not_rise_the_rate_falls() -> None:
    found = descend(DEFAULT_DOWN, OuterConfig(), GuardConfig(max_density=0.1))
    assert found.decisions[0] == (0.1, 0.5)
    assert found.rms <= 1e-3
