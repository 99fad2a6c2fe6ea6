"""A clan over a disk that fails, and over a journal that was shortened or damaged."""

from __future__ import annotations

import math

import pytest

from chronos_common.clan import ClanConfig, LogFloatAllele
from chronos_common.clan.definition import ClanDefinition
from chronos_common.errors import ClanNotFoundError, StoreError, UnavailableError
from chronos_common.store import JournalEntry, StreamKey
from chronos_coordinator.clan_journal import load_clan, verify_clan
from chronos_coordinator.config import ActorConfig, CoordinatorConfig
from chronos_coordinator.coordinator import Coordinator
from tests.support.polling import poll_async
from tests.support.serving import CONFIG, Disk

CLAN = ClanDefinition(
    config=ClanConfig(population_size=2, round_length=5),
    genes={"lr": LogFloatAllele(value=1e-2, domain=(1e-6, 1.0))},
)


async def started(disk: Disk, config: CoordinatorConfig = CONFIG) -> Coordinator:
    coordinator = Coordinator(disk.open, config=config)
    await coordinator.start()
    return coordinator


async def gathered(coordinator: Coordinator) -> None:
    await coordinator.clans.create("clan", CLAN)
    for worker in "ab":
        incarnation = (await coordinator.register(worker, f"i-{worker}", "cpu")).incarnation
        await coordinator.clans.join("clan", worker, incarnation, None, "")


async def play(coordinator: Coordinator, rounds: int) -> None:
    desk = coordinator.clans
    for _ in range(rounds):
        number = (await desk.fetch("clan", "a", 1, 0.0)).plan.round
        for place, worker in enumerate("ab"):
            await desk.report("clan", worker, 1, number, 2.0 + math.sin(number + place), "")


async def test_a_report_that_the_disk_lost_is_repeated_and_closes_the_round_once() -> None:
    disk = Disk()
    coordinator = await started(disk)
    try:
        desk = coordinator.clans
        await gathered(coordinator)
        await desk.fetch("clan", "a", 1, 0.0)
        await desk.report("clan", "a", 1, 0, 1.0, "")
        disk.full = True
        with pytest.raises((StoreError, UnavailableError)):
            await desk.report("clan", "b", 1, 0, 0.5, "")
        assert desk.describe("clan").members[1].reported is None
        disk.full = False

        async def repeated() -> bool:
            try:
                return await desk.report("clan", "b", 1, 0, 0.5, "")
            except (StoreError, UnavailableError):
                return False

        await poll_async(repeated, "the report is taken")
        decision = await desk.close("clan", "a", 1, 0, 0.0)
        assert decision.ranking == (1, 0)
        assert await desk.close("clan", "b", 1, 0, 0.0) == decision
        assert (await desk.verify("clan")).clean
    finally:
        await coordinator.stop()


async def test_snapshots_shorten_the_journal_and_are_proved_on_the_way() -> None:
    disk = Disk()
    config = CoordinatorConfig(actor=ActorConfig(snapshot_entries=2), fleet=CONFIG.fleet)
    coordinator = await started(disk, config)
    await gathered(coordinator)
    await play(coordinator, 12)
    store = disk.open()
    assert len(store.snapshot_seqs(StreamKey.of_clan("clan"))) == 2
    before = coordinator.clans.describe("clan")
    report = await coordinator.clans.verify("clan")
    assert (report.clean, report.problem) == (True, "")
    assert report.from_entry > 0
    assert load_clan(store, "clan").job.clan.round == 12
    await coordinator.stop()
    coordinator = await started(disk, config)
    try:
        assert coordinator.clans.describe("clan") == before
        assert len(await coordinator.clans.history("clan", 0)) == 12
    finally:
        await coordinator.stop()


async def test_a_clan_that_cannot_be_read_is_left_alone_and_the_others_are_served() -> None:
    disk = Disk()
    coordinator = await started(disk)
    await gathered(coordinator)
    damaged = JournalEntry(seq=1, kind="nothing", time=0.0, meta="{}")
    await coordinator.clans._owner.write(
        lambda store: store.create_stream(StreamKey.of_clan("damaged"), [damaged])
    )
    await coordinator.stop()
    assert not verify_clan(disk.open(), "damaged").clean
    coordinator = await started(disk)
    try:
        assert coordinator.clans.clans() == ["clan"]
        with pytest.raises(ClanNotFoundError):
            coordinator.clans.describe("damaged")
    finally:
        await coordinator.stop()
