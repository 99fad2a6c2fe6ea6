"""SIGTERM and SIGINT as an event: the first asks the program to stop, the second stops it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from chronos_common.runtime.logs import get_logger

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_log = get_logger(__name__)


@contextmanager
def stop_on_signals(*, leave: Callable[[int], object] = os._exit) -> Iterator[asyncio.Event]:
    """An event that the first SIGTERM or SIGINT sets; to be entered inside a running event loop.

    A second signal ends the process at once with the shell's code, 128 + its number, without clean-up:
    whoever sends it has lost patience.

    Args:
        leave: ends the process with an exit code.
    """
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def received(number: signal.Signals) -> None:
        if event.is_set():
            leave(128 + number)
            return
        _log.info("stop requested; a second signal stops at once", signal=number.name)
        event.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, received, number)
    try:
        yield event
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
