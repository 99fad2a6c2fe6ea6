"""Replays on request: whoever asks for many of them, or hangs up, keeps nobody else from working."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from chronos_common.store import JournalEntry, MemoryStore
from chronos_coordinator.coordinator import Coordinator
from chronos_coordinator.verifying import AT_ONCE
from tests.support.polling import poll_async
from tests.support.serving import RUN, Member, settled


async def test_replays_take_only_a_few_threads(
    coordinator: Coordinator, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, entries = threading.Event(), MemoryStore.entries
    reading: list[str] = []

    def slowly(store: MemoryStore, *arguments: Any, **more: Any) -> Iterator[JournalEntry]:
        reading.append("")
        assert gate.wait(30.0)
        return entries(store, *arguments, **more)

    await member.checkout()
    await member.commit(0)
    monkeypatch.setattr(MemoryStore, "entries", slowly)
    asked = [asyncio.create_task(coordinator.verify_run(RUN)) for _ in range(100)]
    try:
        await poll_async(lambda: len(reading) == AT_ONCE, "the first replays", timeout_seconds=5.0)
        for task in asked[:50]:
            task.cancel()
        await settled()
        async with asyncio.timeout(5.0):
            assert (await coordinator.run_view(RUN)).version == 1
        assert len(reading) == AT_ONCE, "those who hung up still have their replays"
    finally:
        gate.set()
    reports = await asyncio.gather(*asked[50:])
    assert all(report.clean for report in reports)
    assert len(reading) == AT_ONCE + 50, "whoever hung up before it was their turn is not served"
