"""A synchronous run of uneven workers: the engine is the real one, time and the workers are simulated."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field

import numpy as np

from chronos_common.codec import encode
from chronos_common.engine import CheckoutQuery, CommitQuery, Created, RunConfig, RunEngine, start
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.versions import LeaseConfig, MustWait, RoundConfig

HEAVY_TAIL = 0.02
"""Share of pieces that take half as long again, for no reason of the worker's own."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Who works.

    Attributes:
        seconds: of each worker's whole inner loop, without noise.
        overhead: share of them that the steps do not determine (hypergradient, commit).
        noise: standard deviation of the log of a piece's seconds.
        steps: of the whole inner loop; shares are rounded to them.
    """

    seconds: tuple[float, ...]
    overhead: float = 0.1
    noise: float = 0.05
    steps: int = 50


@dataclass(kw_only=True)
class Outcome:
    """What happened, after the first versions.

    Attributes:
        busy: worker-seconds at work.
        idle: worker-seconds between a commit and the version that it waited for.
        work: inner loops done.
        seconds: that all of it took.
        pieces: of work.
        flagged: pieces after which their worker, which had not changed, was called a straggler.
        detected: pieces after a worker's slow-down until it was called one; ``None`` if it never was.
        ratios: actual over predicted seconds of every piece that was predicted.
        covered: pieces that took no longer than their predicted p95.
    """

    busy: float = 0.0
    idle: float = 0.0
    work: float = 0.0
    seconds: float = 0.0
    pieces: int = 0
    flagged: int = 0
    detected: int | None = None
    ratios: list[float] = field(default_factory=list)
    covered: int = 0

    @property
    def idle_share(self) -> float:
        """Of all worker-seconds."""
        return self.idle / (self.idle + self.busy)


@dataclass(frozen=True, kw_only=True)
class Slowdown:
    """One worker gets slower at a version."""

    worker: int
    version: int
    factor: float


def simulate(
    cluster: Cluster, *, pacing: str, versions: int, warm_up: int, seed: int, slowdown: Slowdown | None = None
) -> Outcome:
    """A barrier run: every version needs every worker, and whoever has contributed waits."""
    return _Simulation(cluster, pacing, versions, warm_up, seed, slowdown).run()


class _Simulation:
    def __init__(
        self,
        cluster: Cluster,
        pacing: str,
        versions: int,
        warm_up: int,
        seed: int,
        slowdown: Slowdown | None,
    ) -> None:
        count = len(cluster.seconds)
        config = RunConfig(
            parameters=(OuterSpec(name="x", shape=(), dtype="float64"),),
            outer=OuterConfig(name="sgd", learning_rate=0.1),
            rounds=RoundConfig(
                quorum=count, max_staleness=0, max_in_flight=1, once_per_version=True, pacing=pacing
            ),
            leases=LeaseConfig(initial_seconds=1e4, min_seconds=1e3, max_seconds=1e4),
            max_versions=versions,
        )
        self._payload = encode("identity", {"x": np.asarray(1.0)})
        self._engine = RunEngine("run", start(Created(config=config.to_json(), payload=self._payload)))
        self._cluster, self._warm_up, self._versions = cluster, warm_up, versions
        self._random, self._slowdown = random.Random(seed), slowdown
        self._events: list[tuple[float, int, float, float]] = []
        self._since = [0.0] * count
        self._waiting = set(range(count))
        self._after = 0
        self.found = Outcome()

    def run(self) -> Outcome:
        now, began = 0.0, 0.0
        while True:
            self._check_out(now)
            if not self._events:
                break
            now, worker, share, seconds = heapq.heappop(self._events)
            if self._engine.state.version < self._warm_up:
                began = now
            self._commit(worker, share, seconds, now)
        self.found.seconds = now - began
        return self.found

    @property
    def _counts(self) -> bool:
        return self._engine.state.version >= self._warm_up

    def _check_out(self, now: float) -> None:
        for worker in sorted(self._waiting):
            if self._engine.state.version >= self._versions:
                return
            answer = self._engine.checkout(CheckoutQuery(run_id="run", worker_id=_name(worker)), now)
            if isinstance(answer, MustWait):
                continue
            self._waiting.discard(worker)
            if self._counts:
                self.found.idle += now - self._since[worker]
            steps = max(1, round(answer.work_share * self._cluster.steps))
            share = steps / self._cluster.steps
            seconds = self._seconds(worker, share)
            heapq.heappush(self._events, (now + seconds, worker, share, seconds))

    def _seconds(self, worker: int, share: float) -> float:
        whole, fixed = self._cluster.seconds[worker], self._cluster.overhead
        slow = self._slowdown
        if slow is not None and slow.worker == worker and self._engine.state.version >= slow.version:
            whole *= slow.factor
        tail = 1.5 if self._random.random() < HEAVY_TAIL else 1.0
        return (
            whole
            * (fixed + (1 - fixed) * share)
            * math.exp(self._random.gauss(0.0, self._cluster.noise))
            * tail
        )

    def _commit(self, worker: int, share: float, seconds: float, now: float) -> None:
        counts, version = self._counts, self._engine.state.version
        expected = self._engine.pacer.expect(_name(worker), share)
        chain = self._engine.state.rounds.chains[_name(worker)]
        query = CommitQuery(
            worker_id=_name(worker),
            incarnation=0,
            seq=chain.last_applied + 1,
            prev_applied=chain.last_applied,
            base=version,
            kind=self._engine.config.work.kind,
            work=share,
            payload=self._payload,
        )
        self._engine.commit(query, 0, now)
        self._engine.take_events()
        self._since[worker] = now
        self._waiting.add(worker)
        changed = (
            self._slowdown is not None
            and self._slowdown.worker == worker
            and version >= self._slowdown.version
        )
        straggling = self._engine.pacer.straggling(_name(worker))
        if changed:
            self._after += 1
            if straggling and self.found.detected is None:
                self.found.detected = self._after
        if not counts:
            return
        self.found.busy += seconds
        self.found.work += share
        self.found.pieces += 1
        self.found.flagged += straggling and not changed
        if expected is not None and not changed:
            self.found.ratios.append(seconds / expected.p50)
            self.found.covered += seconds <= expected.p95


def _name(worker: int) -> str:
    return f"w{worker}"
