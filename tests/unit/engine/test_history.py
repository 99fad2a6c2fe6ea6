from __future__ import annotations

import pytest

from chronos_common.engine import VersionHistory
from chronos_common.engine.history import mean_metrics
from tests.support.runs import Client, config


def test_versions_come_with_their_commits_and_mean_metrics() -> None:
    client = Client(config(quorum=2))
    client.checkout("b")
    client.checkout("a")
    client.commit("b", metrics={"loss": 1.0})
    client.commit("a", None, metrics={"loss": 3.0, "other": 5.0})
    client.commit("a", base=0)
    history = VersionHistory()
    records = [history.observe(event, float(time)) for time, event in enumerate(client.events)]
    [version] = [record for record in records if record is not None]
    assert (version.version, version.time) == (1, 5.0)
    assert [(c.worker_id, c.seq, c.skipped) for c in version.commits] == [("b", 1, False), ("a", 1, True)]
    assert dict(version.metrics) == {"loss": 2.0, "other": 5.0}


def test_metrics_that_nobody_reports_have_no_mean() -> None:
    assert mean_metrics([]) == {}
    assert mean_metrics([{}, {"x": 0.1}])["x"] == pytest.approx(0.1)
