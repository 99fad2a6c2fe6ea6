"""What is collected of predicted and actual times, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chronos_common.cli.paces import Loop, PaceRecorder, Prediction, accuracy_line
from tests.support.fake_client import run_view, worker_view


def look(recorder: PaceRecorder, accepted: int, actual: float, predicted: float, band: float) -> None:
    """One worker, whose next median is what it was and whose next p95 is ``band`` times that."""
    worker = replace(
        worker_view("w1"),
        accepted=accepted,
        actual_seconds=actual,
        predicted_seconds=predicted,
        next_seconds=(4.0, 4.0 * band),
    )
    recorder.look(run_view(version=accepted, workers=(worker,)))


def test_a_piece_of_work_is_judged_by_the_band_that_was_seen_before_it() -> None:
    recorder = PaceRecorder()
    look(recorder, 1, 3.0, 0.0, 2.0)
    look(recorder, 1, 3.0, 0.0, 2.0)
    look(recorder, 2, 3.9, 2.0, 9.0)
    first, second = recorder.prediction.loops
    assert (first.p50, first.p95) == (0.0, 0.0)
    assert (second.version, second.actual, second.p50, second.p95) == (2, 3.9, 2.0, 4.0)
    assert second.p5 == 1.0
    assert second.covered


def test_what_lies_between_two_looks_is_counted_and_gives_no_band() -> None:
    recorder = PaceRecorder()
    look(recorder, 6, 1.0, 1.0, 2.0)
    look(recorder, 9, 2.0, 1.0, 2.0)
    found = recorder.prediction
    assert [(loop.actual, loop.p95) for loop in found.loops] == [(2.0, 0.0)]
    assert found.unseen == 2


def test_coverage_and_errors_are_of_what_was_predicted() -> None:
    prediction = Prediction(
        loops=(
            Loop(worker_id="b", version=1, actual=9.0),
            Loop(worker_id="b", version=2, actual=2.0, p50=1.0, p95=2.0),
            Loop(worker_id="a", version=2, actual=4.0, p50=1.0, p95=2.0),
            Loop(worker_id="a", version=3, actual=0.25, p50=1.0, p95=2.0),
        ),
        unseen=5,
    )
    found = prediction.to_json()
    assert (found["loops"], found["with_band"], found["unseen"]) == (4, 3, 5)
    assert found["coverage"] == pytest.approx(1 / 3)
    assert found["above_p95"] == pytest.approx(1 / 3)
    assert found["mape_percent"] == pytest.approx(100 * (0.5 + 0.75 + 3.0) / 3)
    assert found["median_ape_percent"] == pytest.approx(75.0)
    assert list(found["workers"]) == ["a", "b"]
    assert found["workers"]["a"]["coverage"] == 0.0
    assert found["workers"]["b"]["coverage"] == 1.0
    assert accuracy_line(prediction).startswith("33% of 3 pieces of work")


def test_without_predictions_nothing_is_claimed() -> None:
    found = Prediction(loops=(Loop(worker_id="a", version=1, actual=1.0),)).to_json()
    assert found["coverage"] is None
    assert found["mape_percent"] is None
    assert accuracy_line(Prediction()) == "of no piece of work"
