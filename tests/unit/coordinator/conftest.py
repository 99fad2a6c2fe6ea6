"""A coordinator on a disk in memory, with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from chronos_coordinator.coordinator import Coordinator
from chronos_coordinator.observer import Observer
from tests.support.serving import CONFIG, RUN, Clock, Disk, Member, payload, run_config


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
async def coordinator(disk: Disk, clock: Clock, observer: Observer) -> AsyncIterator[Coordinator]:
    served = Coordinator(disk.open, config=CONFIG, observer=observer, clock=clock, wall_clock=clock)
    await served.start()
    yield served
    disk.hold, disk.full = frozenset(), False
    await served.stop()


@pytest.fixture
async def member(coordinator: Coordinator) -> Member:
    """A registered worker of a run that publishes with every commit."""
    await coordinator.create_run(RUN, run_config(), payload())
    return await Member(coordinator).register()
