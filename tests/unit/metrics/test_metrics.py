"""Series: declared once, bounded labels, documented, served."""

from __future__ import annotations

import math
import re
import runpy
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from chronos_common.compression import Ledger
from chronos_common.errors import ConfigurationError
from chronos_common.metrics import (
    COORDINATOR_SERIES,
    PROCESS_SERIES,
    WORKER_SERIES,
    CoordinatorMetrics,
    MetricsConfig,
    Series,
    WorkerMetrics,
    metrics_table,
    serve_metrics,
    show_process,
)
from chronos_common.metrics.coordinator import MAX_ENDED_RUNS, SHOWN_ENDED_RUNS

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


def exercise_coordinator(metrics: CoordinatorMetrics, run: str = "r") -> None:
    timing = {"compute_seconds": 2.0, "wait": 1.0, "made up": 9.0}
    metrics.serving(run, version=0, max_staleness=4, lag_limit=1.5, published_at=5.0)
    metrics.ledger(run, {"produced": -1.5, "open": 0.0})
    metrics.downlink(run, residual_norm=0.5, lag_ratio=2.0, density=0.1, rate_scale=1.0)
    metrics.memory(run, entries=3, size_bytes=400, cosine=0.5, events={"stored": 4, "evicted": 1})
    metrics.published(run, 1, 0.5)
    metrics.published(run, 2)
    metrics.accepted(run, "w", staleness=1, skipped=False, timing=timing)
    metrics.accepted(run, "w", staleness=0, skipped=True, timing={}, residual_lost=True)
    metrics.influence(run, {"w": 0.25})
    metrics.influence(run, {"w": 0.5, "idle": 0.0})
    metrics.paced(run, "w", predicted=2.0, actual=3.0, straggling=True, share=0.5)
    metrics.refused(run, "STALE_COMMIT")
    metrics.duplicate(run)
    metrics.in_flight(run, 2)
    metrics.lease(run, 8.0)
    metrics.waiting(run, 1)
    metrics.live_workers(3)
    metrics.worker_lost()
    metrics.traffic(run, 10, 20, 40)
    metrics.store_write("append", 0.01)
    metrics.snapshot(run, True)
    metrics.wanted_workers(4)
    metrics.rpc("CommitUpdate", "OK", 0.02)
    exercise_data(metrics)
    exercise_clans(metrics)


def exercise_clans(metrics: CoordinatorMetrics) -> None:
    metrics.clans.reported("c")
    metrics.clans.departed("c", "silent")
    metrics.clans.cloned("c", 2)
    metrics.clans.changed(
        "c",
        number=3,
        step=30,
        members={"living": 2, "awaited": 0, "empty": 1},
        fitness=[2.0, math.inf],
        genes={"lr": [0.1, 0.2]},
    )


def exercise_data(metrics: CoordinatorMetrics) -> None:
    metrics.data.dealt("p", shares=2, samples=7, part=0, seconds=0.001)
    metrics.data.dealt("p", shares=2, samples=3, part=1, seconds=0.001)
    metrics.data.changed(
        "p", epoch=1, finished=5, imbalance=None, speeds={"w": (0.1, 0.2), "gone": (1.0, 1.0)}
    )
    metrics.data.changed("p", epoch=1, finished=6, imbalance=1.25, speeds={"w": (0.1, 0.2)})


def exercise_worker(metrics: WorkerMetrics) -> None:
    metrics.ledger(Ledger(produced=-1.0, lost=0.5), residual=0.25, pending=0.0)
    metrics.spent("compute", 1.5)
    metrics.committed("accepted")
    metrics.retried("UNAVAILABLE")
    metrics.diverged()
    metrics.updated(1.5, work=0.5)
    metrics.updated(1.0, work=1.0)
    metrics.traffic(5, 6)
    metrics.working_on(7)
    metrics.residual(0.25)
    metrics.state_written(0.001)
    metrics.state_failed("write")


def test_every_declared_series_of_the_coordinator_is_reported() -> None:
    registry = CollectorRegistry()
    exercise_coordinator(CoordinatorMetrics(registry))
    assert_all_reported(registry, COORDINATOR_SERIES)


def test_every_declared_series_of_the_worker_is_reported() -> None:
    registry = CollectorRegistry()
    exercise_worker(WorkerMetrics(registry))
    assert_all_reported(registry, WORKER_SERIES)


def assert_all_reported(registry: CollectorRegistry, table: tuple[Series, ...]) -> None:
    families = {family.name: family for family in registry.collect()}
    for series in table:
        family = families.pop(series.name.removesuffix("_total"))
        assert family.samples, f"nobody reports {series.name}"
        assert family.documentation == series.help
        assert family.type == series.kind
    assert not families


def test_values_of_the_coordinator() -> None:
    registry = CollectorRegistry()
    exercise_coordinator(CoordinatorMetrics(registry))
    value = registry.get_sample_value
    assert value("chronos_versions_total", {"run": "r"}) == 2
    assert value("chronos_version", {"run": "r"}) == 2
    assert value("chronos_outer_loss", {"run": "r"}) == 0.5
    for outcome in ("accepted", "skipped", "duplicate", "refused"):
        assert value("chronos_commits_total", {"run": "r", "outcome": outcome}) == 1
    assert value("chronos_refusals_total", {"run": "r", "reason": "STALE_COMMIT"}) == 1
    assert value("chronos_worker_effective_weight_total", {"run": "r", "worker": "w"}) == 0.5
    reported = {"run": "r", "worker": "w"}
    assert value("chronos_reported_worker_seconds_total", {**reported, "activity": "compute"}) == 2
    assert value("chronos_reported_worker_seconds_total", {**reported, "activity": "wait"}) == 1
    assert value("chronos_commit_staleness_versions_bucket", {"run": "r", "le": "0.0"}) == 1
    assert value("chronos_dense_equivalent_bytes_total", {"run": "r"}) == 40
    assert value("chronos_worker_actual_seconds", {"run": "r", "worker": "w"}) == 3.0
    assert value("chronos_prediction_error_seconds_sum", {"run": "r"}) == 1.0
    assert value("chronos_worker_straggling", {"run": "r", "worker": "w"}) == 1.0


def test_values_of_the_worker() -> None:
    registry = CollectorRegistry()
    exercise_worker(WorkerMetrics(registry))
    assert registry.get_sample_value("chronos_worker_cut_short_total") == 1
    assert registry.get_sample_value("chronos_worker_seconds_total", {"activity": "compute"}) == 1.5
    assert registry.get_sample_value("chronos_worker_version") == 7


def test_a_run_that_is_served_says_when_its_newest_version_was_made_until_it_ends() -> None:
    registry = CollectorRegistry()
    metrics = CoordinatorMetrics(registry, clock=lambda: 100.0)

    def value(name: str, run: str) -> float | None:
        return registry.get_sample_value(f"chronos_{name}", {"run": run})

    metrics.serving("new", version=0, max_staleness=4)
    metrics.serving("old", version=7, max_staleness=2, lag_limit=1.5, published_at=40.0)
    assert [value("last_version_timestamp_seconds", run) for run in ("new", "old")] == [100.0, 40.0]
    assert [value("version", run) for run in ("new", "old")] == [0.0, 7.0]
    assert [value("max_staleness_versions", run) for run in ("new", "old")] == [4.0, 2.0]
    assert [value("downlink_lag_limit", run) for run in ("new", "old")] == [None, 1.5]
    metrics.published("old", 8)
    assert value("last_version_timestamp_seconds", "old") == 100.0
    metrics.run_ended("old")
    assert [value("run_active", run) for run in ("new", "old")] == [1.0, 0.0]


def test_a_run_whose_end_nobody_was_told_about_ends_when_it_is_read_back() -> None:
    registry = CollectorRegistry()
    metrics = CoordinatorMetrics(registry)
    metrics.serving("r", version=1, max_staleness=2)
    metrics.found_ended("r")
    metrics.found_ended("looked at long after its end")
    assert registry.get_sample_value("chronos_run_active", {"run": "r"}) == 0.0
    assert runs_in(registry) == {"r"}


def test_the_room_of_the_store_is_looked_at_on_every_scrape(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics = CoordinatorMetrics(registry)

    def room() -> tuple[float, float]:
        free, capacity = (
            registry.get_sample_value(f"chronos_store_{name}_bytes") for name in ("free", "capacity")
        )
        assert free is not None
        assert capacity is not None
        return free, capacity

    assert all(map(math.isnan, room())), (
        "a store that nobody knows has no room of zero: that would be an alarm"
    )
    metrics.store_on(tmp_path / "later")
    assert all(map(math.isnan, room()))
    (tmp_path / "later").mkdir()
    free, capacity = room()
    assert 0 < free <= capacity


def test_the_series_of_a_process_are_those_of_the_client() -> None:
    registry = CollectorRegistry()
    show_process(registry)
    found = {family.name: family for family in registry.collect()}
    declared = {series.name.removesuffix("_total"): series for series in PROCESS_SERIES}
    assert found.keys() == declared.keys()
    for name, family in found.items():
        assert (family.type, family.documentation) == (declared[name].kind, declared[name].help)


def runs_in(registry: CollectorRegistry) -> set[str]:
    return {s.labels["run"] for family in registry.collect() for s in family.samples if "run" in s.labels}


def test_an_ended_run_stays_to_be_read_until_enough_others_have_ended() -> None:
    registry = CollectorRegistry()
    metrics = CoordinatorMetrics(registry)
    exercise_coordinator(metrics, "ended")
    exercise_coordinator(metrics, "other")
    metrics.run_ended("ended")
    assert runs_in(registry) == {"ended", "other"}
    for number in range(SHOWN_ENDED_RUNS):
        metrics.run_ended(f"later {number}")
    assert runs_in(registry) == {"other"}
    exercise_coordinator(metrics, "ended")
    assert runs_in(registry) == {"other", ""}
    labels = {"run": "", "reason": "STALE_COMMIT"}
    assert registry.get_sample_value("chronos_refusals_total", labels) == 1


def test_influence_is_what_the_run_says_also_after_a_restart() -> None:
    registry = CollectorRegistry()
    metrics = CoordinatorMetrics(registry)
    for total in (7.5, 7.5, 8.0):
        metrics.influence("r", {"w": total})
    assert (
        registry.get_sample_value("chronos_worker_effective_weight_total", {"run": "r", "worker": "w"}) == 8.0
    )


def test_the_memory_of_ended_runs_is_bounded() -> None:
    metrics = CoordinatorMetrics(CollectorRegistry())
    for number in range(MAX_ENDED_RUNS + SHOWN_ENDED_RUNS + 1):
        metrics.run_ended(str(number))
    assert "0" not in metrics._ended
    assert len(metrics._ended) == MAX_ENDED_RUNS


@pytest.mark.parametrize("series", [*COORDINATOR_SERIES, *WORKER_SERIES], ids=lambda series: series.name)
def test_names_carry_their_unit(series: Series) -> None:
    assert re.fullmatch(r"chronos_[a-z_]+", series.name)
    assert series.name.endswith("_total") == (series.kind == "counter")
    assert series.help.endswith(".")
    if series.kind == "histogram":
        assert series.name.endswith(("_seconds", "_bytes", "_versions"))
        assert series.buckets


def test_the_document_is_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("chronos_common.metrics", run_name="__main__")
    assert capsys.readouterr().out == metrics_table()
    assert DOCUMENT.read_text() == metrics_table(), "run: python -m chronos_common.metrics > docs/metrics.md"


def test_a_registry_is_served_over_http() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry).working_on(4)
    with serve_metrics(registry, "127.0.0.1", 0) as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer:
            assert "chronos_worker_version 4.0" in answer.read().decode()
        with pytest.raises(ConfigurationError, match=str(server.port)):
            serve_metrics(registry, "127.0.0.1", server.port)


def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="65536"):
        MetricsConfig(port=65536)
    assert MetricsConfig(port=None).port is None


def test_data_plans_show_their_members_only() -> None:
    registry = CollectorRegistry()
    exercise_data(CoordinatorMetrics(registry))
    value = registry.get_sample_value
    assert value("chronos_data_imbalance_ratio", {"plan": "p"}) == 1.25
    assert value("chronos_data_members", {"plan": "p"}) == 1
    assert value("chronos_data_worker_cost_seconds", {"plan": "p", "worker": "w"}) == 0.2
    assert value("chronos_data_worker_cost_seconds", {"plan": "p", "worker": "gone"}) is None
    assert value("chronos_data_shares_total", {"plan": "p", "outcome": "redelivered"}) == 2
    assert value("chronos_data_returned_samples_total", {"plan": "p"}) == 3
