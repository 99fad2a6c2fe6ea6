"""The first signal asks, the second one ends the process."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from chronos_common.runtime import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_sets_the_event_and_the_second_leaves(number: signal.Signals) -> None:
    left: list[int] = []
    second = asyncio.Event()

    def leave(code: int) -> None:
        left.append(code)
        second.set()

    with stop_on_signals(leave=leave) as stop:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 5)
        assert left == []
        os.kill(os.getpid(), number)
        await asyncio.wait_for(second.wait(), 5)
    assert left == [128 + number]


async def test_the_handlers_are_removed_at_the_end() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
