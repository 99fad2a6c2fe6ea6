"""SQLite says that the disk is full, in the middle of a run; later there is room again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from chronos_common.errors import StoreError, StoreWriteError, UnavailableError
from chronos_common.store import Store
from chronos_common.store.dialect import sqlite_database
from chronos_common.store.opening import open_database
from chronos_coordinator.coordinator import Coordinator
from tests.support.polling import poll_async
from tests.support.serving import CONFIG, RUN, Clock, Member, payload, run_config


class SmallDisk:
    """Opens a store whose database may not grow while ``full``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full = False

    def open(self) -> Store:
        return open_database(sqlite_database(self.path / "chronos.db", on_connect=self._limit))

    def _limit(self, connection: sqlite3.Connection) -> None:
        if self.full:
            connection.execute("PRAGMA max_page_count = 1")  # never below what there is


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
