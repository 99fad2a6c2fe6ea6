"""The speed table finds each worker's line through noise, outliers, changes, and loads that say little."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from chronos_common.errors import ConfigurationError, CorruptStateError, InvalidRequestError
from chronos_common.fleet import SpeedConfig, SpeedTable


def feed(
    table: SpeedTable,
    steps: int,
    line: Callable[[int], tuple[float, float]],
    *,
    spread: float = 0.3,
    noise: float = 0.03,
    seed: int = 0,
    worker: str = "a",
) -> None:
    random = np.random.default_rng(seed)
    for step in range(steps):
        cost = 1000.0 * (1.0 + spread * random.uniform(-1.0, 1.0))
        alpha, beta = line(step)
        table.observe(worker, cost, (alpha + beta * cost) * (1.0 + noise * random.standard_normal()))


def expected(table: SpeedTable, cost: float = 1000.0, worker: str = "a") -> float:
    alpha, beta, _ = table.speeds([worker])
    return float(alpha[0] + beta[0] * cost)


def test_a_line_is_recovered_exactly_where_there_is_no_noise() -> None:
    table = SpeedTable(SpeedConfig(publish_change=0.0))
    feed(table, 400, lambda _: (0.2, 0.001), noise=0.0, spread=0.8)
    alpha, beta, _ = table.speeds(["a"])
    assert alpha[0] == pytest.approx(0.2, rel=0.03)
    assert beta[0] == pytest.approx(0.001, rel=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_a_line_is_recovered_through_three_percent_of_noise(seed: int) -> None:
    table = SpeedTable()
    feed(table, 300, lambda _: (0.2, 0.001), spread=0.8, seed=seed)
    alpha, beta, _ = table.speeds(["a"])
    assert alpha[0] == pytest.approx(0.2, abs=0.06)
    assert beta[0] == pytest.approx(0.001, rel=0.07)
    assert expected(table) == pytest.approx(1.2, rel=0.02)


@pytest.mark.parametrize("factor", [2.0, 0.5, 1.25])
@pytest.mark.parametrize("seed", range(5))
def test_a_change_of_speed_is_followed_within_a_few_steps(factor: float, seed: int) -> None:
    table = SpeedTable()
    change, steps = 60, 3 if factor != 1.25 else 6
    feed(
        table,
        change + steps,
        lambda step: (0.2 * factor, 0.001 * factor) if step >= change else (0.2, 0.001),
        seed=seed,
    )
    assert expected(table) == pytest.approx(1.2 * factor, rel=0.06)


def test_alpha_and_beta_change_together_when_a_machine_slows_down() -> None:
    table = SpeedTable()
    feed(table, 120, lambda step: (0.6, 0.003) if step >= 115 else (0.2, 0.001), spread=0.8)
    assert expected(table, 250.0) == pytest.approx(0.6 + 0.75, rel=0.1)


def test_single_outliers_change_nothing() -> None:
    table = SpeedTable()
    feed(table, 50, lambda _: (0.2, 0.001))
    before, version = expected(table), table.version
    for seconds in (30.0, 0.001):
        table.observe("a", 1000.0, seconds)
        assert (expected(table), table.version) == (before, version)
        feed(table, 6, lambda _: (0.2, 0.001), seed=1)
        version, before = table.version, expected(table)
    assert before == pytest.approx(1.2, rel=0.02)


def test_a_slow_first_step_is_forgotten() -> None:
    table = SpeedTable()
    table.observe("a", 1000.0, 40.0)
    feed(table, 4, lambda _: (0.0, 0.001))
    assert expected(table) == pytest.approx(1.0, rel=0.06)


@pytest.mark.parametrize("cost", [1.0, 1e-9, 1e12])
def test_equal_costs_leave_alpha_at_zero(cost: float) -> None:
    table = SpeedTable()
    for _ in range(50):
        table.observe("a", cost, 3.0)
    alpha, beta, _ = table.speeds(["a"])
    assert alpha[0] == pytest.approx(0.0, abs=1e-6)
    assert beta[0] * cost == pytest.approx(3.0)


def test_a_cost_that_does_not_matter_leaves_a_beta_above_zero() -> None:
    table = SpeedTable()
    feed(table, 200, lambda _: (1.0, 0.0), noise=0.0, spread=0.9)
    alpha, beta, _ = table.speeds(["a"])
    assert alpha[0] == pytest.approx(1.0, rel=0.15)
    assert beta[0] > 0.0


def test_empty_shares_tell_the_fixed_time() -> None:
    table = SpeedTable()
    for _ in range(20):
        table.observe("a", 0.0, 0.3)
        table.observe("a", 1000.0, 1.3)
        table.observe("a", 0.0, 0.0)
    alpha, beta, _ = table.speeds(["a"])
    assert alpha[0] == pytest.approx(0.3, rel=0.05)
    assert beta[0] == pytest.approx(0.001, rel=0.05)


def test_a_worker_with_empty_shares_only_takes_beta_from_the_others() -> None:
    table = SpeedTable()
    table.observe("idle", 0.0, 0.5)
    assert table.speeds(["idle"]).beta[0] == 1.0
    table.observe("a", 10.0, 20.0)
    alpha, beta, _ = table.speeds(["idle"])
    assert (alpha[0], beta[0]) == (0.5, pytest.approx(2.0))


def test_workers_that_never_reported_get_the_medians() -> None:
    table = SpeedTable()
    assert [list(values) for values in table.speeds(["x", "y"])[:2]] == [[0.0, 0.0], [1.0, 1.0]]
    for worker, beta in (("a", 1.0), ("b", 2.0), ("c", 8.0)):
        table.observe(worker, 100.0, 100.0 * beta)
    assert list(table.speeds(["new", "c"]).beta) == pytest.approx([2.0, 8.0])


def test_the_version_grows_only_when_estimates_moved() -> None:
    table = SpeedTable(SpeedConfig(publish_change=0.01))
    for _ in range(30):
        table.observe("a", 100.0, 1.0)
    assert table.version == 1
    assert not table.observe("a", 100.0, 1.001)
    shown = table.speeds(["a"])
    for _ in range(3):
        table.observe("a", 100.0, 2.0)
    assert table.version > shown.version
    assert expected(table, 100.0) == pytest.approx(2.0, rel=0.02)


def test_a_forgotten_worker_starts_anew() -> None:
    table = SpeedTable()
    table.observe("a", 1.0, 5.0)
    version = table.version
    table.forget("a")
    table.forget("never seen")
    assert table.version == version + 1
    assert table.workers == ()
    assert table.speeds(["a"]).beta[0] == 1.0


def test_a_restored_table_goes_on_with_the_same_bits() -> None:
    first = SpeedTable()
    feed(first, 37, lambda step: (0.2, 0.001 * (1 + (step > 35))))
    second = SpeedTable.restore(json.loads(json.dumps(first.state())))
    for table in (first, second):
        feed(table, 20, lambda _: (0.4, 0.002), seed=3)
        feed(table, 5, lambda _: (0.4, 0.002), seed=4, worker="b")
    assert first.state() == second.state()
    assert list(first.speeds(["a", "b", "c"]).beta) == list(second.speeds(["a", "b", "c"]).beta)


@pytest.mark.parametrize("state", [{}, {"version": 1, "paces": {"a": {}}, "published": {}}, {"version": "x"}])
def test_a_damaged_state_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(CorruptStateError, match="speed table"):
        SpeedTable.restore(state)


@pytest.mark.parametrize("bad", [math.nan, -1.0, math.inf])
@pytest.mark.parametrize("field", ["cost", "seconds"])
def test_impossible_reports_are_refused_and_change_nothing(bad: float, field: str) -> None:
    table = SpeedTable()
    report = {"cost": 1.0, "seconds": 1.0, field: bad}
    with pytest.raises(InvalidRequestError, match=field):
        table.observe("a", **report)
    assert table.workers == ()


def test_work_in_no_time_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="0 seconds"):
        SpeedTable().observe("a", 1.0, 0.0)


@pytest.mark.parametrize("change", [-0.1, 1.0, math.nan, "x"])
def test_a_bad_threshold_is_refused(change: object) -> None:
    with pytest.raises(ConfigurationError, match="publish_change"):
        SpeedConfig(publish_change=change)  # type: ignore[arg-type]


@pytest.mark.slow
def test_steady_noise_raises_few_alarms() -> None:
    table = SpeedTable()
    errors = []
    random = np.random.default_rng(5)
    for step in range(3000):
        cost = 1000.0 * (1.0 + 0.01 * random.standard_normal())
        table.observe("a", cost, 0.001 * cost * (1.0 + 0.03 * random.standard_normal()))
        if step > 20:
            errors.append(abs(expected(table) - 1.0))
    assert max(errors) < 0.05
    assert float(np.mean(errors)) < 0.01
