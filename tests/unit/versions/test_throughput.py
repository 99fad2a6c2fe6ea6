"""One slow worker among many: the rules must not cost what the workers could do."""

from __future__ import annotations

import pytest

from chronos_common.versions import RoundConfig
from tests.support.throughput import simulate


@pytest.mark.parametrize("workers", [8, 16, 64])
@pytest.mark.parametrize("seed", [0, 1])
def test_deferred_publish_reaches_the_ideal_with_nothing_refused(workers: int, seed: int) -> None:
    result = simulate(RoundConfig(), workers=workers, seconds=1200.0, seed=seed)
    assert result.of_ideal >= 0.97
    assert result.refused == 0
    assert result.versions * 10.0 >= 1.0, "a version per inner loop of the fast"


@pytest.mark.parametrize("workers", [3, 16])
def test_leases_do_not_shrink_to_scraps_of_work(workers: int) -> None:
    result = simulate(RoundConfig(quorum=1), workers=workers, seconds=1200.0)
    assert result.of_ideal >= 0.97
    assert result.refused == 0
    assert result.lease_seconds >= 10.0
    assert result.partial <= 0.3 * result.accepted


def test_a_barrier_of_equals_loses_only_the_jitter() -> None:
    config = RoundConfig(max_staleness=0, max_in_flight=1, quorum=8)
    result = simulate(config, workers=8, slowdown=1.0, seconds=1200.0)
    assert result.of_ideal >= 0.9
    assert result.refused == 0


def test_who_ignores_its_deadline_is_refused_and_holds_nobody_up() -> None:
    result = simulate(RoundConfig(), workers=8, seconds=1200.0, stops_at_deadline=False)
    fast = 7 / 7.25
    assert result.of_ideal == pytest.approx(fast, abs=0.02)
    assert 0 < result.refused <= 1200 / 40 + 1
