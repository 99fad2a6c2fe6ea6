"""The significance filter: what waits, for how long, and that the threshold adapts."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.compression import SignificanceConfig, SignificanceFilter, SignificanceState
from chronos_common.errors import CorruptStateError, NonFiniteError


def of_norm(value: float) -> dict[str, Any]:
    return {"x": np.array([0.6 * value, 0.8 * value])}


def fixed(threshold: float, **fields: Any) -> SignificanceFilter:
    return SignificanceFilter(SignificanceConfig(minimum=threshold, maximum=threshold, **fields))


def test_by_default_everything_is_sent() -> None:
    found = SignificanceFilter(SignificanceConfig())
    state = found.start()
    for norm in (1.0, 0.0, 1e-30):
        verdict = found.judge(state, of_norm(norm))
        assert verdict.send
        state = verdict.state


def test_parameter_deltas_are_relative_to_the_parameters() -> None:
    found = fixed(0.1)
    state = found.start()
    assert found.judge(state, of_norm(1.0), parameters=of_norm(9.0)).send
    verdict = found.judge(state, of_norm(1.0), parameters=of_norm(11.0))
    assert not verdict.send
    assert verdict.significance == pytest.approx(1 / 11)


def test_parameters_at_zero_have_a_floor() -> None:
    found = fixed(0.1, floor=1e-3)
    zero = of_norm(0.0)
    assert found.judge(found.start(), of_norm(2e-4), parameters=zero).send
    assert not found.judge(found.start(), of_norm(0.5e-4), parameters=zero).send


def test_hypergradients_are_relative_to_what_was_sent() -> None:
    found = fixed(0.5, memory=0.5)
    first = found.judge(found.start(), of_norm(4.0))
    assert (first.send, first.significance, first.state.sent_norm) == (True, math.inf, 4.0)
    small = found.judge(first.state, of_norm(1.9))
    assert (small.send, small.state.sent_norm) == (False, 4.0)
    large = found.judge(first.state, of_norm(8.0))
    assert (large.send, large.state.sent_norm) == (True, pytest.approx(6.0))


def test_nothing_waits_longer_than_the_bound() -> None:
    found = fixed(10.0, max_skips=3)
    state = found.judge(found.start(), of_norm(1.0)).state
    sent = []
    for _ in range(12):
        verdict = found.judge(state, of_norm(1.0))
        state = verdict.state
        sent.append(verdict.send)
        assert state.skips <= 3
    assert sent == [False, False, False, True] * 3


def test_a_round_without_an_update_counts_as_waiting_where_something_waits() -> None:
    found = fixed(10.0, max_skips=2)
    state = found.judge(found.start(), of_norm(1.0)).state
    assert found.waited(state) == state
    held = found.judge(state, of_norm(1.0)).state
    late = found.waited(found.waited(held))
    assert (held.skips, late.skips) == (1, 2)
    assert found.judge(late, of_norm(1.0)).send


@given(st.lists(st.floats(0, 1e6), max_size=60), st.integers(1, 5))
def test_the_threshold_keeps_its_bounds_and_skips_theirs(norms: list[float], max_skips: int) -> None:
    config = SignificanceConfig(minimum=1e-3, maximum=0.5, max_skips=max_skips, gain=1.0)
    found = SignificanceFilter(config)
    state = found.start()
    for norm in norms:
        state = found.judge(state, of_norm(norm)).state
        assert 1e-3 <= state.threshold <= 0.5
        assert state.skips <= max_skips


def test_the_threshold_finds_the_share_that_should_wait() -> None:
    config = SignificanceConfig(minimum=1e-3, maximum=1e3, target_skips=0.3, max_skips=100)
    found = SignificanceFilter(config)
    rng = np.random.default_rng(0)
    state, skipped = found.start(), []
    for _ in range(4000):
        verdict = found.judge(state, of_norm(math.exp(rng.normal())), parameters=of_norm(1.0))
        skipped.append(not verdict.send)
        state = verdict.state
    assert np.mean(skipped[1000:]) == pytest.approx(0.3, abs=0.02)


def test_what_has_no_norm_is_refused() -> None:
    found = fixed(0.1)
    with pytest.raises(NonFiniteError):
        found.judge(found.start(), of_norm(math.nan))


def test_the_state_survives_storage() -> None:
    state = SignificanceState(threshold=0.1, skips=2, sent_norm=1 / 3)
    assert SignificanceState.from_json(json.loads(json.dumps(state.to_json()))) == state
    good = state.to_json()
    for broken in ({}, {**good, "threshold": None}, {**good, "skips": -1}, {**good, "sent_norm": math.inf}):
        with pytest.raises(CorruptStateError):
            SignificanceState.from_json(broken)
