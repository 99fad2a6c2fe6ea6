"""Intervals, calibration, one worker's pace, and curves of runs that have begun."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chronos_common.errors import BadWorkloadError
from chronos_common.prediction.calibration import Calibration, Online, design
from chronos_common.prediction.curves import Stopping, extrapolate
from chronos_common.prediction.gaussian import Process
from chronos_common.prediction.intervals import half_width, interval, quantiles


def test_conformal_widths_cover_as_often_as_promised() -> None:
    random = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        width = half_width(quantiles(random.standard_t(3, 99)), 0.9)
        covered.append(np.mean(np.abs(random.standard_t(3, 200)) <= width))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.01)
    found = interval(2.0, quantiles(np.array([0.1, -0.2, 0.3])))
    assert found.low == pytest.approx(2.0 * math.exp(-0.3))


def test_a_process_goes_through_its_points_and_doubts_far_from_them() -> None:
    points = np.linspace(0, 5, 12)[:, None]
    process = Process.condition(points, np.sin(points[:, 0]), (1.0, 1.0, 1e-6))
    mean, doubt = process.predict(points)
    np.testing.assert_allclose(mean, np.sin(points[:, 0]), atol=1e-3)
    assert process.predict(np.array([[50.0]]))[1][0] > 10 * doubt.max()


def test_a_calibration_learns_a_factor_and_its_trend() -> None:
    places = np.random.default_rng(1).uniform(-2, 2, (40, 4))
    truth = 0.4 + 0.2 * places[:, 0]
    chosen = design(places, 10)
    assert len(set(chosen.tolist())) == 10
    moved, spread = Calibration(places=places[chosen], residuals=truth[chosen]).correction(places)
    assert np.abs(moved - truth).mean() < 0.1
    assert np.abs(truth).mean() > 0.35
    assert (spread < 0.5).all()
    with pytest.raises(BadWorkloadError, match="at least one"):
        Calibration(places=np.zeros((0, 4)), residuals=np.zeros(0))


def test_a_worker_s_pace_is_found_and_one_slow_step_does_not_move_it() -> None:
    random = np.random.default_rng(2)
    pace = Online.begin(interval(1.0, quantiles(np.full(9, 0.5))))
    for _ in range(60):
        pace = pace.observe(3.0 * math.exp(0.05 * random.standard_normal()))
    found = pace.interval()
    assert found.p50 == pytest.approx(3.0, rel=0.05)
    assert found.high / found.low < 1.6
    assert pace.observe(3000.0).interval().p50 == pytest.approx(found.p50, rel=0.05)
    assert pace.interval(count=100).p50 == pytest.approx(100 * found.p50)
    assert pace.interval(count=100).high / pace.interval(count=100).low < found.high / found.low


def test_a_pace_follows_a_machine_that_slows_down() -> None:
    pace = Online.begin(interval(1.0, quantiles(np.full(9, 0.1))))
    for _ in range(50):
        pace = pace.observe(1.0)
    for _ in range(300):
        pace = pace.observe(2.0)
    assert pace.interval().p50 == pytest.approx(2.0, rel=0.1)
    with pytest.raises(BadWorkloadError, match="above zero"):
        pace.observe(0.0)


def test_early_stopping_is_replayed() -> None:
    rule = Stopping(patience=2, min_delta=0.1, max_epochs=6)
    assert rule.epoch(np.array([3.0, 2.0, 1.95, 1.99])) == 4
    assert rule.epoch(np.array([3.0, 2.0, 1.0])) is None
    assert rule.epoch(np.arange(9.0, 0.0, -1.0)) == 6


def test_first_epochs_tell_when_a_run_stops() -> None:
    rule, errors = Stopping(patience=5, min_delta=1e-3, max_epochs=150), []
    for seed in range(6):
        random = np.random.default_rng(seed)
        epochs = np.arange(1, 151)
        losses = 0.5 + 2.0 * (epochs + 1.0) ** -1.0 + 0.004 * random.standard_normal(150)
        stopped = rule.epoch(losses)
        assert stopped is not None
        found = extrapolate(losses[:12].tolist(), rule)
        errors.append(abs(math.log(found.p50 / stopped)))
        assert found.low <= found.p10 <= found.p50 <= found.p90 <= found.high
    assert float(np.median(errors)) < 0.5


def test_a_prior_draws_the_extrapolation_and_a_stop_ends_it() -> None:
    rule = Stopping(patience=3, min_delta=1e-3, max_epochs=100)
    losses = (1.0 + 1.0 / np.arange(2, 8)).tolist()
    late = interval(80.0, quantiles(np.full(9, 0.1)))
    assert extrapolate(losses, rule, late).p50 > extrapolate(losses, rule).p50
    assert extrapolate([1.0, 1.0, 1.0, 1.0], rule).p50 == 4
    with pytest.raises(BadWorkloadError, match="at least 3"):
        extrapolate([1.0, math.nan], rule)
