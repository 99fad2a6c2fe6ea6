"""A data plan and a clan that are kept busy, beside whatever else a coordinator does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from chronos_common.clan import ClanConfig, FanOutConfig, LogFloatAllele
from chronos_common.clan.definition import ClanDefinition
from chronos_common.data import PlanConfig
from chronos_common.data.definition import DataPlanConfig
from chronos_common.wire import CoordinatorSource, SyncCoordinatorClient, join_plan
from chronos_common.wire.clan_rounds import CoordinatorRounds

PLACES = 4
MEMBERS = 2 + PLACES
"""Workers that take part, while all goes on."""

PACE_SECONDS = 0.1
PLAN = DataPlanConfig(samples=400, plan=PlanConfig(batch_size=10, workers=2), lookahead=2)
CLAN = ClanDefinition(
    config=ClanConfig(population_size=PLACES, round_length=30, total_steps=10**6, fan_out=FanOutConfig()),
    genes={"lr": LogFloatAllele(value=1e-2, domain=(1e-6, 1.0))},
    seed=3,
)


@contextmanager
def busy_jobs(address: str) -> Iterator[None]:
    """Both go on in threads of this process until the block ends."""
    stop = threading.Event()
    with SyncCoordinatorClient(address) as client:
        leave_early(client)
        sources = [joined(client, rank) for rank in range(2)]
        work: list[Callable[[], None]] = [lambda s=source: deal(s, stop) for source in sources]  # type: ignore[misc]
        CoordinatorRounds.connect(address, "clan", CLAN, "m0", member=0).leave()
        rounds = [CoordinatorRounds.connect(address, "clan", CLAN, f"m{i}", member=i) for i in range(PLACES)]
        work += [lambda r=seat, i=i: compete(r, i, stop) for i, seat in enumerate(rounds)]  # type: ignore[misc]
        threads = [threading.Thread(target=one, daemon=True) for one in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)


def joined(client: SyncCoordinatorClient, rank: int) -> CoordinatorSource:
    """A member of the data plan."""
    sizes = np.arange(1.0, PLAN.samples + 1.0)
    return join_plan(client, "plan", f"d{rank}", config=PLAN, sizes=sizes, rank=rank)


def leave_early(client: SyncCoordinatorClient) -> None:
    """Two members come, are given shares, and go without having finished."""
    for source in [joined(client, rank) for rank in range(2)]:
        source.begin(0)
        source.next_share()
        source.close()


def deal(source: CoordinatorSource, stop: threading.Event) -> None:
    """Takes shares and reports them, epoch after epoch."""
    epoch = source.first_epoch
    while not stop.is_set():
        source.begin(epoch)
        while not stop.is_set() and (share := source.next_share()) is not None:
            source.finish(share, 0.01 + 1e-4 * share.cost)
            stop.wait(PACE_SECONDS)
        epoch += 1
    source.close()


def compete(rounds: CoordinatorRounds, place: int, stop: threading.Event) -> None:
    """Reports a fitness in every round, the worse the higher its place."""
    while not stop.is_set():
        plan = rounds.begin()
        rounds.close(2.0 + 0.1 * place + 1.0 / (1 + plan.round))
        stop.wait(PACE_SECONDS)
    rounds.leave()
