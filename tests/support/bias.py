"""Workers of different speed whose losses differ: how far from the common optimum does a run settle?

Worker ``i`` has the loss ‖u − aᵢ‖² / 2, and the run is to minimise the mean of all: its optimum is the mean of
the aᵢ. A run that hears the fast more often settles nearer to theirs.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chronos_common.codec import decode, encode
from chronos_common.engine import (
    CheckoutAnswer,
    CheckoutQuery,
    CommitQuery,
    Created,
    Event,
    RunConfig,
    RunEngine,
    WorkSpec,
    start,
)
from chronos_common.errors import StaleCommitError
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.versions import HYPERGRADIENT, RoundConfig

SIZE = 8
INNER_SECONDS = 10.0
JITTER = 0.05


@dataclass(frozen=True, kw_only=True)
class Settled:
    """``tail_error``: mean distance to the optimum over the last half, in units of the workers' mean distance to it.

    ``weights``: effective weight of every worker, per version.
    """

    tail_error: float
    weights: tuple[float, ...]
    versions: int
    refused: int
    engine: RunEngine
    events: tuple[Event, ...]


class Fleet:
    """An engine on a simulated clock, and the workers of it."""

    def __init__(
        self, rounds: RoundConfig, paces: Sequence[float], *, rate: float, noise: float, seed: int
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.paces, self.noise = paces, noise
        self.optima = self.random.standard_normal((len(paces), SIZE))
        self.goal = self.optima.mean(axis=0)
        config = RunConfig(
            parameters=(OuterSpec(name="u", shape=(SIZE,), dtype="float64"),),
            outer=OuterConfig(name="sgd", learning_rate=rate),
            rounds=rounds,
            work=WorkSpec(kind=HYPERGRADIENT),
        )
        created = Created(config=config.to_json(), payload=encode("identity", {"u": np.zeros(SIZE)}))
        self.engine = RunEngine("run", start(created))
        self.events: list[Event] = [created]
        self.ready: list[tuple[float, int, int, float, np.ndarray]] = []
        self.idle = list(range(len(paces)))
        self.now, self.refused = 0.0, 0

    def begin(self) -> None:
        """Checkouts of all who have nothing to do; a worker stops in time for its deadline."""
        for worker in list(self.idle):
            answer = self.engine.checkout(CheckoutQuery(run_id="run", worker_id=f"w{worker}"), self.now)
            if not isinstance(answer, CheckoutAnswer):
                continue
            self.idle.remove(worker)
            need = INNER_SECONDS * self.paces[worker] * self.random.uniform(1.0 - JITTER, 1.0 + JITTER)
            spent = min(need, 0.98 * answer.work_seconds)
            assert answer.snapshot is not None
            gradient = decode(answer.snapshot)["u"] - self.optima[worker]
            gradient = gradient + self.noise * self.random.standard_normal(SIZE)
            heapq.heappush(self.ready, (self.now + spent, worker, answer.version, spent / need, gradient))

    def commit(self) -> None:
        """The next worker to be ready commits."""
        self.now, worker, base, work, gradient = heapq.heappop(self.ready)
        last = self.engine.state.rounds.chains[f"w{worker}"].last_applied
        query = CommitQuery(
            worker_id=f"w{worker}",
            incarnation=0,
            seq=last + 1,
            prev_applied=last,
            base=base,
            kind=HYPERGRADIENT,
            work=work,
            payload=encode("identity", {"u": gradient}),
        )
        try:
            self.engine.commit(query, 0, self.now)
        except StaleCommitError:
            self.refused += 1
        self.idle.append(worker)

    def step(self) -> None:
        """What comes next: a commit, or a time at which the engine wants to look."""
        timer = self.engine.presence.next_event(self.now)
        if timer is not None and timer < self.ready[0][0]:
            self.now = timer
            self.engine.tick(self.now)
        else:
            self.commit()
        self.begin()
        self.events += self.engine.take_events()

    def error(self) -> float:
        """Distance of the master to the optimum, in units of the workers' mean distance to it."""
        spread = np.linalg.norm(self.optima - self.goal, axis=1).mean()
        return float(np.linalg.norm(self.engine.state.master["u"] - self.goal) / spread)


def settle(
    rounds: RoundConfig,
    *,
    paces: Sequence[float],
    seconds: float = 6000.0,
    rate: float = 0.1,
    noise: float = 0.2,
    seed: int = 0,
) -> Settled:
    """Runs one worker per pace (its inner loop's length over ``INNER_SECONDS``); gradients have ``noise`` added."""
    fleet = Fleet(rounds, paces, rate=rate, noise=noise, seed=seed)
    errors: list[float] = []
    fleet.begin()
    while fleet.now < seconds:
        fleet.step()
        if fleet.now > seconds / 2:
            errors.append(fleet.error())
    state = fleet.engine.state
    weights = [state.rounds.chains[f"w{i}"].effective_weight / state.version for i in range(len(paces))]
    return Settled(
        tail_error=float(np.mean(errors)),
        weights=tuple(weights),
        versions=state.version,
        refused=fleet.refused,
        engine=fleet.engine,
        events=tuple(fleet.events),
    )
