"""Retention: what no version needs any more is dropped from the journal, and nobody who goes on notices."""

from __future__ import annotations

import dataclasses

import pytest

from chronos_common.errors import ConfigurationError, RunExistsError
from chronos_coordinator.app import StoreConfig
from chronos_coordinator.config import ActorConfig
from chronos_coordinator.journal import entry_before, entry_of
from tests.support.polling import poll_async
from tests.support.serving import RUN, Clock, Disk, Member, payload, run_config
from tests.support.snapshotting import EVERY, STREAM, seen, seqs, serving, work, work_and_keep, writing


async def test_entries_beyond_retention_are_dropped_and_everything_goes_on(disk: Disk, clock: Clock) -> None:
    first = serving(disk, clock, retain_versions=5)
    await first.start()
    definition = run_config()
    await first.create_run(RUN, definition, payload())
    member = await Member(first).register()
    await work_and_keep(member, disk, 30)
    await poll_async(lambda: not writing(first), "the last trim")
    trimmed = disk.database.trimmed[STREAM]
    store = disk.database
    newest = (await first.run_view(RUN)).version
    # Entry 2·v + 2 published version v; what leads to the newest five, and to the older snapshot, is there.
    assert 2 * (newest - 5) + 2 - 2 * EVERY <= trimmed <= min(2 * (newest - 5) + 2, seqs(disk)[0])
    assert store.journals[STREAM][0].kind == "accepted"
    report = await first.verify_run(RUN)
    assert (report.clean, report.from_entry, report.snapshots) == (True, seqs(disk)[0], 1)
    digest = (await first.run_view(RUN)).digest
    await first.stop()

    second = serving(disk, clock, retain_versions=5)
    await second.start()
    assert (await second.run_view(RUN)).digest == digest
    watched = await seen(second)
    assert [record.version for record in watched] == list(range((trimmed - 2) // 2 + 1, newest + 1))
    assert all(len(record.commits) == 1 for record in watched)
    assert (await second.create_run(RUN, definition, payload())).digest == digest
    for other in ((definition, payload(1.0)), (run_config(learning_rate=2.0), payload())):
        with pytest.raises(RunExistsError, match="another definition or other initial values"):
            await second.create_run(RUN, *other)
    await work_and_keep(dataclasses.replace(member, coordinator=second), disk, 6)
    assert (await second.verify_run(RUN)).clean
    await second.stop()


async def test_nothing_is_dropped_before_two_snapshots_cover_it(disk: Disk, clock: Clock) -> None:
    coordinator = serving(disk, clock, retain_versions=1)
    await coordinator.start()
    await coordinator.create_run(RUN, run_config(), payload())
    member = await Member(coordinator).register()
    await work_and_keep(member, disk, 4)
    assert (seqs(disk), disk.database.trimmed.get(STREAM)) == ([6], None)
    await work_and_keep(member, disk, 2)
    await poll_async(lambda: STREAM in disk.database.trimmed, "the trim")
    assert disk.database.trimmed[STREAM] == seqs(disk)[0] == 6
    await coordinator.stop()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"snapshot_entries": -1}, "snapshot_entries is -1"),
        ({"retain_versions": -1}, "retain_versions is -1"),
        ({"retain_versions": 10, "snapshot_entries": 0}, "without snapshots"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, int], problem: str) -> None:
    for made in (ActorConfig, StoreConfig):
        with pytest.raises(ConfigurationError, match=problem):
            made(**fields)  # type: ignore[arg-type]


async def test_the_place_of_a_version_is_found_in_the_journal(disk: Disk, clock: Clock) -> None:
    coordinator = serving(disk, clock, snapshot_entries=0)
    await coordinator.start()
    await coordinator.create_run(RUN, run_config(), payload())
    await work(await Member(coordinator).register(), 60)
    store = coordinator._owner.store
    for version in range(1, 61):
        assert entry_of(store, RUN, version) == 2 * version + 2
        assert entry_before(store, RUN, version) <= 2 * version + 2
        assert 2 * version + 2 - entry_before(store, RUN, version) <= 20 or version < 10
    assert entry_of(store, RUN, 0) == entry_of(store, RUN, 61) == 0
    await coordinator.stop()
