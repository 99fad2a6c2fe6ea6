"""SQLite says that the disk is full, in the middle of a run; later there is room again."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from chronos_common.codec import encode
from chronos_common.errors import StoreError, StoreWriteError, UnavailableError
from chronos_common.outer import OuterSpec
from chronos_common.store import Store
from chronos_common.store.dialect import sqlite_database
from chronos_common.store.opening import open_database
from chronos_coordinator.config import ActorConfig
from chronos_coordinator.coordinator import Coordinator
from chronos_coordinator.hooks import Hooks
from chronos_coordinator.observer import Observer
from tests.support.polling import poll_async
from tests.support.serving import CONFIG, RUN, Clock, Member, payload, run_config


class SmallDisk:
    """Opens a store whose database may not grow while ``full``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full = False
        self.spare_pages = 0

    def open(self) -> Store:
        return open_database(sqlite_database(self.path / "chronos.db", on_connect=self._limit))

    def _limit(self, connection: sqlite3.Connection) -> None:
        if self.full:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages + self.spare_pages}")


@pytest.mark.parametrize("first_to_notice", ["commit", "register"])
async def test_the_coordinator_goes_on_when_there_is_room_again(tmp_path: Path, first_to_notice: str) -> None:
    disk = SmallDisk(tmp_path)
    coordinator = Coordinator(disk.open, config=CONFIG, clock=Clock())
    await coordinator.start()
    await coordinator.create_run(RUN, run_config(), payload())
    member = await Member(coordinator).register()
    await member.checkout()
    disk.full = True
    await _reopen(coordinator)
    if first_to_notice == "register":
        with pytest.raises(StoreWriteError, match="disk is full"):
            await _register_many(coordinator)
    with pytest.raises(StoreWriteError, match="disk is full"):
        await _commit_many(member)
    base = member.applied
    view = await coordinator.run_view(RUN)
    assert (view.version, view.accepted) == (base, base)
    disk.full = False

    async def committed() -> bool:
        try:
            return (await member.commit(base)).version == base + 1
        except (StoreError, UnavailableError):
            return False

    await poll_async(committed, "the same commit after the disk has room")
    assert (await coordinator.run_view(RUN)).accepted == base + 1
    assert (await coordinator.verify_run(RUN)).clean
    await coordinator.stop()


async def _register_many(coordinator: Coordinator) -> None:
    for number in range(1000):
        await coordinator.register(f"worker {number:0200}", "i", "cpu")


async def _commit_many(member: Member) -> None:
    for base in range(1000):
        assert (await member.commit(base, metrics={"m" * 200: 1.0})).version == base + 1


async def _reopen(coordinator: Coordinator) -> None:
    """So that every connection has the limit."""
    owner = coordinator._owner
    await owner.repair(owner.store, StoreError("for the test"))


LARGE = 4096
"""Numbers of a run whose snapshot takes many pages, and whose skips take none."""


async def test_a_snapshot_for_which_there_is_no_room_costs_no_commit(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path)
    told: list[bool] = []
    hooks = Hooks(snapshot=lambda _run, kept: told.append(kept))
    config = dataclasses.replace(CONFIG, actor=ActorConfig(reload_seconds=0.005, snapshot_entries=6))
    coordinator = Coordinator(disk.open, config=config, observer=Observer(hooks=hooks), clock=Clock())
    await coordinator.start()
    definition = dataclasses.replace(
        run_config(), parameters=(OuterSpec(name="x", shape=(LARGE,), dtype="float64"),)
    )
    await coordinator.create_run(RUN, definition, encode("identity", {"x": np.ones(LARGE)}))
    member = await Member(coordinator).register()
    await member.checkout()
    disk.full, disk.spare_pages = True, 6
    await _reopen(coordinator)

    async def committed(base: int) -> bool:
        try:
            return (await member.commit(base, payload=None)).version == base + 1
        except (StoreError, UnavailableError):
            return False

    for base in range(2):
        await poll_async(lambda base=base: committed(base), "a commit")  # type: ignore[misc]
    await poll_async(lambda: told == [False], "the snapshot that found no room")
    disk.full = False
    await _reopen(coordinator)
    for base in range(2, 6):
        await poll_async(lambda base=base: committed(base), "a commit")  # type: ignore[misc]
    await poll_async(lambda: told == [False, True], "the snapshot that found room")
    report, view = await coordinator.verify_run(RUN), await coordinator.run_view(RUN)
    assert (view.version, view.accepted) == (6, 6)
    assert (report.clean, report.snapshots) == (True, 1)
    await coordinator.stop()
