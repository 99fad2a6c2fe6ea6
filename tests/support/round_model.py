"""A small model of the protocol, written from its text and not from the engine's code.

It is fed the journal's events, in order, and what the coordinator granted and was told; it complains as soon
as they contradict the rules. Vectors are tuples of floats; updates are small integers and decays powers of
two, so that their sums are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

from chronos_common.codec import decode
from chronos_common.engine import CommitRecord, Ended, Event, Joined, Published, RunConfig
from chronos_common.tensors import Arrays
from chronos_common.versions import HYPERGRADIENT

Vector = tuple[float, ...]
TOLERANCE = 1e-9
RATE = 0.125


def flat(arrays: Arrays) -> Vector:
    return tuple(x for name in sorted(arrays) for x in arrays[name].reshape(-1).tolist())


@lru_cache(maxsize=10_000)
def vector(payload: bytes) -> Vector:
    return flat(decode(payload))


def add(left: Vector, right: Vector, scale: float = 1.0) -> Vector:
    return tuple(a + scale * b for a, b in zip(left, right, strict=True))


def close(left: Vector, right: Vector) -> bool:
    return all(abs(a - b) < TOLERANCE for a, b in zip(left, right, strict=True))


@dataclass
class Held:
    base: int
    deadline: float


@dataclass
class Model:
    """What the journal says, by the rules; plus the leases that the living coordinator has given."""

    config: RunConfig
    value: Vector
    """The master; what is published of it is in ``values``, by version."""
    version: int = 0
    ended: str = ""
    members: set[str] = field(default_factory=set)
    chains: dict[str, list[int]] = field(default_factory=dict)
    applied: dict[tuple[str, int, int], CommitRecord] = field(default_factory=dict)
    incarnations: dict[str, int] = field(default_factory=dict)
    round: list[CommitRecord] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)
    values: dict[int, Vector] = field(default_factory=dict)
    rate_scale: float = 1.0

    def __post_init__(self) -> None:
        self.values[0] = self.value

    # --- the journal -----------------------------------------------------------------------------

    def observe(self, event: Event) -> None:
        assert not self.ended, "the journal goes on after the end"
        if isinstance(event, Joined):
            assert event.worker_id not in self.members
            self.members.add(event.worker_id)
            self.chains[event.worker_id] = [0]
        elif isinstance(event, CommitRecord):
            self._accepted(event)
        elif isinstance(event, Published):
            self._published(event)
        elif isinstance(event, Ended):
            self.ended = event.status
            if event.status == "finished":
                assert self.version == self.config.max_versions

    def _accepted(self, event: CommitRecord) -> None:
        worker = event.worker_id
        assert worker in self.members
        assert (worker, event.incarnation, event.seq) not in self.applied, "applied twice"
        assert event.incarnation >= self.incarnations.get(worker, 0), "a superseded process was applied"
        assert event.prev_applied == self.chains[worker][-1] < event.seq, "the chain broke"
        staleness = self.version - event.base
        assert event.staleness == staleness
        assert 0 <= staleness <= self.config.rounds.max_staleness
        expected = self.config.rounds.decay**staleness
        if self.config.work.kind != HYPERGRADIENT:
            done = sum(c.work for c in self.round if c.worker_id == worker)
            left = max(0.0, self.config.rounds.max_local_work - done)
            expected *= min(1.0, left / event.work)
        assert abs(expected - event.weight) < TOLERANCE
        self.applied[worker, event.incarnation, event.seq] = event
        self.incarnations[worker] = event.incarnation
        self.chains[worker].append(event.seq)
        self.round.append(event)

    def _published(self, event: Published) -> None:
        assert not 0 < self.config.max_versions <= self.version, "a version beyond the last"
        assert event.version == self.version + 1, "versions are a total order"
        assert self.round, "a version out of nothing"
        assert event.commits == tuple((c.worker_id, c.seq) for c in self.round), (
            "a publish takes the whole buffer"
        )
        before = self.values[self.version]
        if all(c.payload is None for c in self.round):
            assert event.payload is None
            assert event.digest == self.digests.get(self.version, event.digest)
            after = before
        else:
            assert event.payload is not None
            self.value = add(self.value, self._merged(), -RATE * self.rate_scale)
            sent = vector(event.payload)
            after = add(before, sent) if event.is_delta else sent
            if not event.is_delta:
                assert close(self.value, after), "the published value is not the merge"
                self.value = after
            self._follows(before, after)
        if event.guard is not None:
            self.rate_scale = event.guard["rate_scale"] or 0.0
        self.version += 1
        self.values[self.version] = after
        self.digests[self.version] = event.digest
        self.round = []

    def _follows(self, before: Vector, after: Vector) -> None:
        """What is published moves towards the master in every number, or not at all."""
        for master, old, new in zip(self.value, before, after, strict=True):
            assert abs(master - new) <= abs(master - old) * (1 + TOLERANCE) + TOLERANCE

    def _merged(self) -> Vector:
        zero: Vector = (0.0,) * len(self.value)
        decay = self.config.rounds.decay
        hyper = self.config.work.kind == HYPERGRADIENT
        total, mass = zero, 0.0
        for worker in {c.worker_id for c in self.round}:
            mine = [c for c in self.round if c.worker_id == worker]
            work = sum(c.work for c in mine)
            inner = zero
            for c in mine:
                if c.payload is not None:
                    scale = decay**c.staleness * c.work / work if hyper else -c.weight
                    inner = add(inner, vector(c.payload), scale)
            share = min(1.0, work) if hyper else 1.0
            total, mass = add(total, inner, share), mass + share
        return tuple(x / mass for x in total)


class PresenceModel:
    """Bounds on who may be counted on: leases that the coordinator gave and that nothing has ended since."""

    def __init__(self, config: RunConfig) -> None:
        self._rounds = config.rounds
        self._least_seconds = config.leases.min_seconds
        self.last_commit: dict[str, float] = {}
        self.leases: dict[str, Held] = {}
        self.late: set[str] = set()
        self.unannounced: set[str] = set()
        self.hold_until = -math.inf

    def granted(self, worker: str, base: int, deadline: float, now: float) -> None:
        before = self.leases.get(worker)
        if before is not None and before.deadline <= now:
            self.late.add(worker)
        elif before is not None and before.base == base:
            assert deadline <= before.deadline, "a repeated checkout extended a lease"
        self.leases[worker] = Held(base, deadline)
        self.unannounced.discard(worker)

    def committed(self, worker: str, base: int, now: float) -> None:
        self.last_commit[worker] = now
        held = self.leases.get(worker)
        if held is not None and held.base == base:
            del self.leases[worker]
        self.late.discard(worker)
        self.unannounced.discard(worker)

    def forget(self, worker: str) -> None:
        self.leases.pop(worker, None)
        self.last_commit.pop(worker, None)
        self.late.discard(worker)
        self.unannounced.discard(worker)

    def announced(self, worker: str, base: int, version: int, now: float) -> None:
        """A worker says what it holds: right after a restart that restores its lease, for the time of the wait."""
        within = version - self._rounds.max_staleness <= base <= version
        if within and worker in self.unannounced and now < self.hold_until:
            self.leases[worker] = Held(base, self.hold_until)
        self.unannounced.discard(worker)

    def waits(self, worker: str) -> None:
        self.leases.pop(worker, None)
        self.unannounced.discard(worker)

    def restarted(self, known: set[str], until: float) -> None:
        self.leases.clear()
        self.last_commit.clear()
        self.late.clear()
        self.unannounced, self.hold_until = set(known), until

    def may_publish(self, version: int, contributors: set[str], now: float) -> None:
        """Complains if the version after ``version`` must not be published yet."""
        working = {w for w, held in self.leases.items() if now < held.deadline}
        recent = {w for w in contributors if now - self.last_commit.get(w, -math.inf) < self._least_seconds}
        sure = (working - self.late) | recent
        quorum = self._rounds.quorum if self._rounds.quorum is not None else math.ceil(len(sure) / 2)
        assert len(contributors) >= min(quorum, len(sure)), "published before the quorum"
        assert len(contributors) >= 1
        for worker in working:
            assert self.leases[worker].base != version - self._rounds.max_staleness, "left a lease behind"
        assert not (self.unannounced and now < self.hold_until), "published before known workers spoke"
