"""A data plan over a disk that fails: what was not acknowledged may be sent again, and counts once."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from chronos_common.data import PlanConfig
from chronos_common.data.definition import DataPlanConfig
from chronos_common.errors import StoreError, UnavailableError
from chronos_coordinator.coordinator import Coordinator
from tests.support.polling import poll_async
from tests.support.serving import CONFIG, Disk

PLAN = DataPlanConfig(samples=20, plan=PlanConfig(batch_size=4), lookahead=2)


async def test_a_report_that_the_disk_lost_is_repeated_and_counts_once() -> None:
    disk = Disk()
    coordinator = Coordinator(disk.open, config=CONFIG)
    await coordinator.start()
    try:
        desk = coordinator.data
        await desk.create("plan", PLAN)
        await desk.add_sizes("plan", 0, np.ones(20).tobytes(), "<f8", 0)
        incarnation = (await coordinator.register("w", "i", "cpu")).incarnation
        await desk.join("plan", "w", incarnation, 0, 0)
        await poll_async(lambda: desk.describe("plan").turns == 2, "two turns are dealt")
        disk.full = True
        with pytest.raises((StoreError, UnavailableError)):
            await desk.finish("plan", "w", incarnation, [(1, 0.5)])
        disk.full = False

        async def repeated() -> bool:
            try:
                return await desk.finish("plan", "w", incarnation, [(1, 0.5)]) == []
            except (StoreError, UnavailableError):
                return False

        await poll_async(repeated, "the report is taken")
        assert await desk.finish("plan", "w", incarnation, [(1, 0.5)]) == []
        view = desk.describe("plan")
        assert (view.finished, view.turns, view.members[0].finished) == (4, 3, 4)
    finally:
        await coordinator.stop()


async def test_slices_that_the_disk_lost_are_told_again_beside_others_and_every_sample_is_dealt() -> None:
    disk = Disk()
    coordinator = Coordinator(disk.open, config=CONFIG)
    await coordinator.start()
    try:
        desk = coordinator.data
        await desk.create("plan", PLAN)
        incarnation = (await coordinator.register("w", "i", "cpu")).incarnation
        await desk.join("plan", "w", incarnation, 0, 0)

        async def told(begin: int) -> None:
            async def once() -> bool:
                try:
                    await desk.add_sizes("plan", begin, np.ones(5).tobytes(), "<f8", 0)
                except (StoreError, UnavailableError):
                    disk.full = False
                    return False
                return True

            await poll_async(once, f"the slice from {begin} on is taken")

        await told(0)
        disk.full = True
        await asyncio.gather(told(5), told(10), told(15))
        await poll_async(lambda: desk.describe("plan").turns == 2, "two turns are dealt")
        assert (desk.describe("plan").sized, desk.describe("plan").first_missing) == (20, 20)
    finally:
        await coordinator.stop()
