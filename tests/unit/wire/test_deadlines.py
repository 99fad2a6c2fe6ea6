from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.errors import ConfigurationError
from chronos_common.wire.deadlines import MAX_BUDGET_SECONDS, MIN_BUDGET_SECONDS, DeadlineConfig


@given(st.floats(MIN_BUDGET_SECONDS, MAX_BUDGET_SECONDS))
def test_what_is_derived_fits_together(budget: float) -> None:
    config = DeadlineConfig(budget_seconds=budget)
    assert config.drain_seconds >= config.call_seconds, "a drain outlasts the calls it waits for"
    assert config.max_wait_seconds > config.call_seconds
    assert config.scan_seconds > config.call_seconds
    assert config.watch_seconds > config.idle_seconds
    assert config.keepalive_timeout_seconds <= config.keepalive_seconds
    assert 0.0 < config.reconnect_initial_seconds <= config.reconnect_max_seconds <= 0.5
    assert config.reconnect_initial_seconds <= config.connect_seconds <= config.call_seconds
    assert config.transfer_seconds(0) == config.call_seconds


def test_transfers_get_time_by_size() -> None:
    config = DeadlineConfig(budget_seconds=10.0, min_bytes_per_second=2e6)
    assert config.transfer_seconds(100_000_000) == 60.0


@pytest.mark.parametrize("budget", [0.0, -1.0, 0.1, 301.0, math.nan, math.inf])
def test_a_budget_out_of_range(budget: float) -> None:
    with pytest.raises(ConfigurationError, match="budget_seconds"):
        DeadlineConfig(budget_seconds=budget)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_out_of_range(rate: float) -> None:
    with pytest.raises(ConfigurationError, match="min_bytes_per_second"):
        DeadlineConfig(min_bytes_per_second=rate)
