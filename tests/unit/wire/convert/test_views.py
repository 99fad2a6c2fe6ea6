from __future__ import annotations

from typing import Any

import pytest

from chronos_common.engine import MetricSample, VerifyReport
from chronos_common.wire.convert import views
from tests.support.fake_facade import run_view, version_record


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "stopped", "reason": "enough"},
        {"status": "finished", "workers": (), "metrics": {}, "staleness": {}},
    ],
)
def test_runs_come_back_equal(changes: dict[str, Any]) -> None:
    view = run_view(**changes)
    assert views.run_from_pb(views.run_to_pb(view)) == view


def test_versions_come_back_equal() -> None:
    assert views.event_from_pb(views.event_to_pb(version_record(3))) == version_record(3)


def test_reports_come_back_equal() -> None:
    report = VerifyReport(
        clean=True, versions=3, entries=9, problem="", from_version=1, from_entry=4, snapshots=2
    )
    assert views.report_from_pb(views.report_to_pb(report)) == report


def test_samples_come_back_equal() -> None:
    samples = [
        MetricSample(name="outer_loss", value=-0.5, version=3, worker_id="w", time=1.7e9),
        MetricSample(name="accuracy", value=1.0),
    ]
    assert views.samples_from_pb([views.sample_to_pb(sample) for sample in samples]) == samples
