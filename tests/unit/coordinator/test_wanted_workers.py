"""How many workers the active runs ask for: what an autoscaler follows."""

from __future__ import annotations

from chronos_coordinator.coordinator import Coordinator
from chronos_coordinator.observer import Observer
from tests.support.polling import poll_async
from tests.support.serving import CONFIG, Clock, Disk, payload, run_config


async def wanted(said: list[int], workers: int) -> None:
    async def is_said() -> bool:
        return said[-1:] == [workers]

    await poll_async(is_said, f"{workers} wanted workers", timeout_seconds=5.0)


async def test_every_active_run_asks_for_its_quorum(
    coordinator: Coordinator, observer: Observer, disk: Disk, clock: Clock
) -> None:
    said: list[int] = []
    observer.wanted = said.append
    await wanted(said, 0)
    await coordinator.create_run("three", run_config(quorum=3), payload())
    await wanted(said, 3)
    await coordinator.create_run("any", run_config(quorum=None), payload())
    await wanted(said, 4)
    await coordinator.stop_run("three", "")
    await wanted(said, 1)


async def test_a_restarted_coordinator_says_it_before_anything_else(
    coordinator: Coordinator, disk: Disk, clock: Clock
) -> None:
    """A zero in between would let an autoscaler take the workers away."""
    await coordinator.create_run("three", run_config(quorum=3), payload())
    await coordinator.stop()
    said: list[int] = []
    again = Coordinator(
        disk.open, config=CONFIG, observer=Observer(wanted=said.append), clock=clock, wall_clock=clock
    )
    await again.start()
    await wanted(said, 3)
    await again.stop()
    assert set(said) == {3}
