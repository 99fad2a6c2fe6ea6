"""The composition root: start, serve, drain, stop, and starts that cannot work."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import time
import urllib.request
from pathlib import Path

import pytest

from chronos_common.engine import MetricSample
from chronos_common.errors import (
    ConfigurationError,
    DrainingError,
    LeadershipHeldError,
    RunNotActiveError,
    StoreError,
    UnavailableError,
)
from chronos_common.store import open_store
from chronos_common.wire import CoordinatorClient
from chronos_coordinator.app import FENCED, CoordinatorApp, serve
from tests.support.clients import BUDGET, Committer, app_settings, committers, running
from tests.support.polling import poll_async
from tests.support.serving import RUN, payload, run_config, value_of


async def test_a_run_from_creation_to_its_end(app: CoordinatorApp, client: CoordinatorClient) -> None:
    await client.create_run(run_config(quorum=2, max_versions=5), payload(), run_id=RUN)
    async with committers(app.address, ["w1", "w2", "w3"]) as workers:
        await asyncio.gather(*(worker.work_until_the_end() for worker in workers))
    view = await client.get_run(RUN)
    assert (view.status, view.version) == ("finished", 5)
    assert view.accepted == sum(view.staleness.values()) >= 10
    assert view.bytes_received > 0
    assert view.bytes_sent > 0
    assert view.bytes_dense > 0
    assert [worker.worker_id for worker in view.workers] == ["w1", "w2", "w3"]
    watched = [u.record.version async for u in client.watch_run(RUN) if u.record is not None]
    assert watched == [1, 2, 3, 4, 5]
    report = await client.verify_run(RUN)
    assert (report.clean, report.versions) == (True, 5)


async def test_metrics_show_what_happened(tmp_path: Path) -> None:
    async with (
        running(app_settings(tmp_path, metrics_port=0)) as app,
        CoordinatorClient(app.address, deadlines=BUDGET) as client,
    ):
        await _measure(app, client)


def scrape(app: CoordinatorApp) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{app.metrics_port}/metrics", timeout=5.0) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    }


async def _measure(app: CoordinatorApp, client: CoordinatorClient) -> None:
    await client.create_run(run_config(), payload(), run_id=RUN)
    worker = await Committer(client).register()
    await worker.checkout()
    await worker.commit(0, metrics={"outer_loss": 0.5}, timing={"compute": 2.0})
    await worker.commit(1, payload=None)
    await worker.commit(2, seq=2, prev_applied=1)
    with pytest.raises(Exception, match="does not exist"):
        await worker.commit(9)

    series = await asyncio.to_thread(scrape, app)
    run = f'run="{RUN}"'
    for name, value in {
        f"chronos_versions_total{{{run}}}": 2,
        f"chronos_version{{{run}}}": 2,
        f'chronos_commits_total{{outcome="accepted",{run}}}': 1,
        f'chronos_commits_total{{outcome="skipped",{run}}}': 1,
        f'chronos_commits_total{{outcome="duplicate",{run}}}': 1,
        f'chronos_commits_total{{outcome="refused",{run}}}': 1,
        f'chronos_refusals_total{{reason="UNKNOWN_VERSION",{run}}}': 1,
        f'chronos_commit_staleness_versions_bucket{{le="0.0",{run}}}': 2,
        f'chronos_worker_effective_weight_total{{{run},worker="w1"}}': 1,
        f'chronos_reported_worker_seconds_total{{activity="compute",{run},worker="w1"}}': 2,
        f"chronos_outer_loss{{{run}}}": 0.5,
        f"chronos_checkouts_waiting{{{run}}}": 0,
        f"chronos_run_active{{{run}}}": 1,
        f"chronos_max_staleness_versions{{{run}}}": run_config().rounds.max_staleness,
        f'chronos_snapshots_total{{outcome="failed",{run}}}': 0,
        "chronos_workers_lost_total": 0,
        "chronos_live_workers": 1,
    }.items():
        assert series[name] == value, name
    assert series['chronos_store_write_seconds_count{operation="append"}'] >= 3
    assert series['chronos_rpc_seconds_count{code="OK",method="CommitUpdate"}'] == 3
    assert series['chronos_rpc_seconds_count{code="OUT_OF_RANGE",method="CommitUpdate"}'] == 1
    assert series[f"chronos_received_bytes_total{{{run}}}"] == (await client.get_run(RUN)).bytes_received > 0
    late = await worker.commit(1, work=0.5)
    [member] = (await client.get_run(RUN)).workers
    series = await asyncio.to_thread(scrape, app)
    assert (late.staleness, late.version) == (1, 3)
    influence = series[f'chronos_worker_effective_weight_total{{{run},worker="w1"}}']
    assert influence == member.effective_weight == 1.25
    await client.stop_run(RUN)
    with pytest.raises(RunNotActiveError):
        await worker.commit(2)
    series = await asyncio.to_thread(scrape, app)
    assert series[f"chronos_version{{{run}}}"] == 3
    assert series[f"chronos_run_active{{{run}}}"] == 0
    assert 0 < series["chronos_store_free_bytes"] <= series["chronos_store_capacity_bytes"]
    assert series[f"chronos_lease_seconds{{{run}}}"] >= run_config().leases.min_seconds
    assert series[f'chronos_commits_total{{outcome="late",{run}}}'] == 1
    assert (
        (await client.get_run(RUN)).refused
        == series[f'chronos_commits_total{{outcome="refused",{run}}}']
        == 1
    )


async def test_after_a_restart_an_active_run_shows_where_it_is_and_since_when(tmp_path: Path) -> None:
    async with (
        running(app_settings(tmp_path)) as first,
        CoordinatorClient(first.address, deadlines=BUDGET) as client,
    ):
        await client.create_run(run_config(), payload(), run_id=RUN)
        await client.create_run(run_config(), payload(), run_id="over")
        worker = await Committer(client).register()
        await worker.checkout()
        await worker.commit(0)
        await client.stop_run("over")
        written = time.time()
    async with (
        running(app_settings(tmp_path)) as second,
        CoordinatorClient(second.address, deadlines=BUDGET) as client,
    ):

        def value(name: str, run: str = RUN, **labels: str) -> float | None:
            return second.registry.get_sample_value(f"chronos_{name}", {"run": run, **labels})

        assert (value("version"), value("run_active")) == (1, 1)
        since = value("last_version_timestamp_seconds")
        assert since is not None
        assert written - 60.0 < since <= written, "the restart was no progress"
        assert value("ledger_mass", term="gross") == 2.0, "two values of 1"
        assert value("lease_seconds") == run_config().leases.initial_seconds
        await client.get_run("over")
        assert value("run_active", run="over") is None, "looked at, not worked on"


async def test_a_worker_that_falls_silent_is_counted_and_one_that_leaves_is_not(tmp_path: Path) -> None:
    async with (
        running(app_settings(tmp_path)) as app,
        CoordinatorClient(app.address, deadlines=BUDGET) as client,
    ):
        polite = await Committer(client, worker_id="polite").register()
        await Committer(client, worker_id="silent").register()
        await client.deregister("polite", polite.incarnation)

        def lost() -> float | None:
            return app.registry.get_sample_value("chronos_workers_lost_total")

        await poll_async(lost, "a lost worker")
        assert lost() == 1
        assert app.registry.get_sample_value("chronos_live_workers") == 0


async def test_reported_metrics_come_back(client: CoordinatorClient) -> None:
    await client.create_run(run_config(), payload(), run_id=RUN)
    samples = [
        MetricSample(name=name, value=float(v), version=v, worker_id="w1", time=100.0 + v)
        for v in range(4)
        for name in ("loss", "accuracy")
    ]
    await client.report_metrics(RUN, samples)
    assert await client.query_metrics(RUN) == samples
    assert await client.query_metrics(RUN, ["loss"], after_version=1) == samples[4::2]
    assert await client.query_metrics(RUN, limit=3) == samples[:3]
    assert await client.query_metrics(RUN, ["unheard of"]) == []


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    settings = app_settings(tmp_path)
    async with running(settings) as first, CoordinatorClient(first.address, deadlines=BUDGET) as client:
        await client.create_run(run_config(), payload(), run_id=RUN)
        worker = await Committer(client).register()
        await worker.checkout()
        await worker.commit(0, 2.0)
        before = await client.get_run(RUN)
    async with running(settings) as second, CoordinatorClient(second.address, deadlines=BUDGET) as client:
        after = await client.get_run(RUN)
        assert (after.version, after.digest, after.accepted) == (1, before.digest, 1)
        worker.client = client
        assert (await worker.commit(1, 3.0)).version >= 1  # known: no registration, no checkout
        await client.heartbeat("w1", 1, holding=[(RUN, 1)])
        answer = await client.checkout(RUN, min_version=2, wait_seconds=5.0)
        assert value_of(answer.snapshot) == -5.0


async def test_drain_answers_who_waits_and_a_watcher_resumes_without_gap_or_repeat(tmp_path: Path) -> None:
    first = CoordinatorApp(settings=app_settings(tmp_path))
    await first.start()
    port = int(first.address.rpartition(":")[2])
    async with CoordinatorClient(first.address, deadlines=BUDGET) as client:
        await client.create_run(run_config(max_versions=6), payload(), run_id=RUN)
        seen: list[int] = []

        async def watch() -> None:
            async with CoordinatorClient(first.address, deadlines=BUDGET) as watching:
                async for update in watching.watch_run(RUN):
                    seen.extend([update.record.version] if update.record is not None else [])

        watcher = asyncio.create_task(watch())
        worker = await Committer(client).register()
        await worker.checkout()
        for base in range(3):
            await worker.commit(base)
        await poll_async(lambda: len(seen) == 3, "three versions watched")
        waiting = asyncio.create_task(client.checkout(RUN, min_version=9, wait_seconds=60.0))
        await poll_async(lambda: _waits(first), "a parked checkout")
        await first.stop()
        with pytest.raises(DrainingError):
            await waiting
    async with (
        running(app_settings(tmp_path, port=port)) as second,
        CoordinatorClient(second.address, deadlines=BUDGET) as client,
    ):
        worker.client = client
        await worker.checkout()
        for base in range(3, 6):
            await worker.commit(base)
        async with asyncio.timeout(10.0):
            await watcher
    assert seen == [1, 2, 3, 4, 5, 6]


def _waits(app: CoordinatorApp) -> bool:
    return app.registry.get_sample_value("chronos_checkouts_waiting", {"run": RUN}) == 1.0


async def test_a_client_that_goes_away_leaves_no_waiting_checkout(
    app: CoordinatorApp, client: CoordinatorClient
) -> None:
    await client.create_run(run_config(), payload(), run_id=RUN)
    async with committers(app.address, ["gone"]) as [worker]:
        waiting = asyncio.create_task(worker.checkout(min_version=5, wait_seconds=60.0))
        await poll_async(lambda: _waits(app), "a parked checkout")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await poll_async(lambda: not _waits(app), "nothing parked", timeout_seconds=5.0)


async def test_64_clients_share_fsyncs(app: CoordinatorApp, client: CoordinatorClient) -> None:
    await client.create_run(run_config(quorum=64, max_staleness=0), payload(), run_id=RUN)
    names = [f"w{i:02}" for i in range(64)]
    workers = []
    for name in names:
        workers.append(await Committer(client, worker_id=name).register())
        await workers[-1].checkout()

    def transactions() -> float:
        return (
            app.registry.get_sample_value("chronos_store_write_seconds_count", {"operation": "commit"}) or 0.0
        )

    before = transactions()
    answers = await asyncio.gather(*(worker.commit(0) for worker in workers))
    assert max(answer.version for answer in answers) == 1
    assert transactions() - before <= 48, "how many wait for an fsync is up to the machine; some always do"


async def test_a_store_in_use_is_refused_by_name(app: CoordinatorApp, tmp_path: Path) -> None:
    second = CoordinatorApp(settings=app_settings(tmp_path / "store"))
    with pytest.raises(LeadershipHeldError, match=rf"in use by .*{os.getpid()}"):
        await second.start()


async def test_a_failed_start_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(app_settings(tmp_path / "store", metrics_port=0)) as app:
        for broken in (
            app_settings(tmp_path / "other", port=int(app.address.rpartition(":")[2])),
            app_settings(tmp_path / "other", metrics_port=app.metrics_port),
        ):
            with pytest.raises(ConfigurationError, match="another process uses this port|in use"):
                await CoordinatorApp(settings=broken).start()
            store = open_store(tmp_path / "other")
            store.acquire("the test: nobody else leads")
            store.close()


@pytest.mark.parametrize("path", ["file", "file/below", "/proc/nowhere"])
async def test_a_path_that_can_hold_no_store_is_one_typed_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        await CoordinatorApp(settings=app_settings(tmp_path / path)).start()


async def test_serve_ends_on_a_signal_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serving = asyncio.create_task(serve(app_settings(tmp_path)))
    await poll_async(lambda: "listening" in capsys.readouterr().out, "the readiness line")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await serving == 0


async def test_serve_ends_with_its_own_code_when_it_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serving = asyncio.create_task(serve(app_settings(tmp_path)))
    line = await poll_async(lambda: capsys.readouterr().out, "the readiness line")
    address = next(json.loads(text)["address"] for text in line.splitlines() if text.startswith("{"))
    with sqlite3.connect(tmp_path / "chronos.db") as database:
        database.execute("UPDATE leadership SET epoch = epoch + 1")
        database.execute("UPDATE streams SET epoch = epoch + 1")
    database.close()
    async with CoordinatorClient(address, deadlines=BUDGET) as client:
        # The call is repeated once it failed, and by then the coordinator may have gone.
        with pytest.raises((StoreError, UnavailableError)):
            await client.register("w1", "i")
    async with asyncio.timeout(10.0):
        assert await serving == FENCED
