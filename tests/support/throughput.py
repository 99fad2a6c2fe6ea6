"""Workers of different speed on a simulated clock: how much of the ideal throughput do the rules allow?"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from chronos_common.errors import StaleCommitError
from chronos_common.versions import BoundedVersionQueue, Checkout, LeaseConfig, RoundConfig


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """``work`` in inner loops per second; ``ideal`` is what the workers could do if nobody ever waited."""

    work: float
    ideal: float
    versions: float
    accepted: int
    refused: int
    partial: int
    lease_seconds: float

    @property
    def of_ideal(self) -> float:
        return self.work / self.ideal


def counting_queue(rounds: RoundConfig, clock: Callable[[], float]) -> BoundedVersionQueue[int, int]:
    return BoundedVersionQueue(
        0, lambda value, commits: value + len(commits), rounds=rounds, leases=LeaseConfig(), clock=clock
    )


def simulate(
    rounds: RoundConfig,
    *,
    workers: int,
    slowdown: float = 4.0,
    inner_seconds: float = 10.0,
    jitter: float = 0.05,
    seconds: float = 4000.0,
    stops_at_deadline: bool = True,
    seed: int = 0,
) -> Throughput:
    """Runs ``workers`` of which the first is slow. A worker that must wait asks again at the next event."""
    random_ = random.Random(seed)
    clock = [0.0]
    queue = counting_queue(rounds, lambda: clock[0])
    names = [f"w{i:02}" for i in range(workers)]
    pace = {name: inner_seconds * (slowdown if i == 0 else 1.0) for i, name in enumerate(names)}
    events: list[tuple[float, str, int, float]] = []
    idle = list(names)
    done, accepted, refused, partial = 0.0, 0, 0, 0

    def start_idle() -> None:
        waiting = []
        for name in idle:
            checkout = queue.checkout(name)
            if not isinstance(checkout, Checkout):
                waiting.append(name)
                continue
            need = pace[name] * random_.uniform(1.0 - jitter, 1.0 + jitter)
            spent = min(need, (checkout.deadline - clock[0]) * 0.98) if stops_at_deadline else need
            heapq.heappush(events, (clock[0] + spent, name, checkout.version, spent / need))
        idle[:] = waiting

    start_idle()
    while clock[0] < seconds:
        if (timer := queue.next_event() or events[0][0]) < events[0][0]:
            clock[0] = timer
            queue.tick()
            start_idle()
            continue
        clock[0], name, base, work = heapq.heappop(events)
        try:
            queue.commit(name, base, 1, work=work)
        except StaleCommitError:
            refused += 1
        else:
            accepted, done, partial = accepted + 1, done + work, partial + (work < 1.0)
        idle.append(name)
        start_idle()
    ideal = sum(1.0 / seconds_each for seconds_each in pace.values())
    return Throughput(
        work=done / clock[0],
        ideal=ideal,
        versions=queue.version / clock[0],
        accepted=accepted,
        refused=refused,
        partial=partial,
        lease_seconds=queue._presence.timer.lease_seconds(),
    )
