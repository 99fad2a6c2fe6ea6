"""A worker process of the simulated cluster: its outbox, and its ledger of what became of each commit."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from chronos_common.codec import encode
from chronos_common.compression import Pipeline, compressor
from chronos_common.engine import CheckoutAnswer, CommitAnswer, CommitQuery, Replica, RunConfig
from chronos_common.errors import ChronosError, IncarnationSupersededError, StaleCommitError
from chronos_common.tensors import Arrays
from chronos_common.versions import HYPERGRADIENT, Commit, Outbox, Resolution
from tests.support.round_model import Model, Vector, add, close, flat, vector


def update_of(number: int, config: RunConfig) -> dict[str, np.ndarray]:
    """The n-th update: whole numbers, every one told apart, and of many magnitudes where there is room."""
    (size,) = config.parameters[0].shape
    first = np.array([float(number), 1.0])
    rest = np.arange(2, size) * float(number % 7 - 3)
    return {"vector": np.concatenate([first, rest])}


@dataclass(eq=False)
class Process:
    """One worker process, with its view of what became of its work."""

    worker: str
    instance: str
    config: RunConfig
    model: Model
    incarnation: int = 0
    outbox: Outbox | None = None
    base: int | None = None
    alive: bool = True
    hung: bool = False
    failing: bool = False
    awaiting: bool = False
    busy: bool = False
    sent: dict[int, Vector] = field(default_factory=dict)
    queries: dict[int, CommitQuery] = field(default_factory=dict)
    told_applied: set[int] = field(default_factory=set)
    told_dropped: set[int] = field(default_factory=set)
    produced: Vector = ()
    settled: Vector = ()
    discounted: Vector = ()
    discarded: Vector = ()

    def __post_init__(self) -> None:
        self.zero: Vector = (0.0,) * self.config.parameters[0].shape[0]
        self.produced = self.settled = self.discounted = self.discarded = self.zero
        self.replica = Replica(self.config.parameters)

    def last_was_applied(self) -> bool:
        """Whether a newer version is on its way; nobody should await one without having contributed to it."""
        return bool(self.sent) and max(self.sent) in self.told_applied

    def payload(self, seq: int) -> Vector:
        return self.sent[seq]

    def residual(self) -> Vector:
        assert self.outbox is not None
        return flat(self.outbox.residual) if self.outbox.residual else self.zero

    def got_registration(self, incarnation: int, last_applied: int, *, restarted: bool) -> None:
        if self.outbox is None:
            self.incarnation = incarnation
            self.outbox = Outbox(
                self.worker,
                incarnation,
                last_applied=last_applied,
                kind=self.config.work.kind,
                decay=self.config.rounds.decay,
                compress=compressor(Pipeline(self.config.compression.up)),
            )
        elif self.incarnation != incarnation:
            assert restarted, "a superseded process came back"
            self.got_superseded()
        else:
            self._note(self.outbox.resume(last_applied))

    def got_superseded(self) -> None:
        self.alive = False

    def got_version(self, answer: CheckoutAnswer, known: int | None) -> None:
        """The answer to a checkout from version ``known``; one that was given up is not listened to."""
        assert self.outbox is not None
        self.awaiting = False
        if known == self.base and (self.base is None or answer.version >= self.base):
            values = self.replica.take(answer.version, answer.digest, answer.parts)
            self.base = answer.version
            assert close(flat(values), self.model.values[answer.version]), "not what was published"
        assert answer.version <= self.model.version, "a version was seen before it was durable"
        assert answer.digest == self.model.digests.get(answer.version, answer.digest)
        self._note(self.outbox.resume(answer.last_applied))

    def got_no_checkout(self) -> None:
        self.awaiting = False

    def got_answer(self, seq: int, answer: CommitAnswer) -> None:
        record = self.model.applied.get((self.worker, self.incarnation, seq))
        assert record is not None, "told applied, but the journal does not know"
        assert (record.staleness, record.weight) == (answer.staleness, answer.weight)
        assert self.outbox is not None
        self._note(self.outbox.accepted(seq))

    def got_refusal(self, seq: int, error: ChronosError) -> None:
        assert self.outbox is not None
        last = error.details.get("last_applied")
        assert last is None or last in self.model.chains[self.worker]
        self._note(self.outbox.refused(seq, error), error)
        if isinstance(error, IncarnationSupersededError):
            self.got_superseded()

    def _note(self, found: Resolution, error: ChronosError | None = None) -> None:
        assert not (set(found.applied) | set(found.dropped)) & (self.told_applied | self.told_dropped)
        for seq in found.applied:
            assert (self.worker, self.incarnation, seq) in self.model.applied
            self.settled = add(self.settled, self.payload(seq))
        for seq in found.discarded:
            self.discarded = add(self.discarded, self.payload(seq))
        if isinstance(error, StaleCommitError) and self.config.work.kind == HYPERGRADIENT:
            kept = self.config.rounds.decay ** int(error.details["staleness"])
            for seq in found.dropped:
                self.discounted = add(self.discounted, self.payload(seq), 1 - kept)
        self.told_applied |= set(found.applied)
        self.told_dropped |= set(found.dropped)
        self.check_ledger()

    def check_ledger(self) -> None:
        """produced = applied (its mass) + residual + discounted + discarded + unresolved, as the worker sees it."""
        if self.outbox is None:
            return
        total = add(add(self.settled, self.discounted), self.discarded)
        total = add(total, self.residual())
        for commit in self.outbox.unresolved:
            total = add(total, self.payload(commit.seq))
        assert close(total, self.produced), "the worker's ledger does not balance"

    def hold(self, update: dict[str, np.ndarray]) -> None:
        """Keeps an update back, as a significance filter does."""
        assert self.outbox is not None
        self.outbox.hold(update)
        self.produced = add(self.produced, flat(update))

    def prepare(self, update: dict[str, np.ndarray] | None, work: float) -> CommitQuery:
        """The commit of an update (None: a skip) at this process's base; a failing process garbles what it sends."""
        assert self.outbox is not None
        assert self.base is not None
        commit = self.outbox.prepare(update, self.base, work=work)
        if update is not None:
            self.produced = add(self.produced, flat(update))
        self.sent[commit.seq] = self.zero if commit.update is None else flat(commit.update)
        self.queries[commit.seq] = self._query(commit)
        self.check_ledger()
        return self.queries[commit.seq]

    def _query(self, commit: Commit[Arrays]) -> CommitQuery:
        assert self.outbox is not None
        payload = self.outbox.payload(commit.seq)
        if self.failing and commit.update is not None:
            payload = encode("identity", {"vector": np.full(len(self.zero), np.nan)})
        return CommitQuery(
            worker_id=commit.worker_id,
            incarnation=commit.incarnation,
            seq=commit.seq,
            prev_applied=commit.prev_applied,
            base=commit.base,
            kind=self.config.work.kind,
            work=commit.work,
            payload=payload,
        )

    def check_truth(self) -> None:
        """What a process was told is what the journal says, for ever."""
        if self.outbox is None:
            return
        key = (self.worker, self.incarnation)
        truth = {seq for worker, incarnation, seq in self.model.applied if (worker, incarnation) == key}
        assert self.told_applied <= truth
        assert not self.told_dropped & truth, "told that it never will be applied, but it was"
        unresolved = {commit.seq for commit in self.outbox.unresolved}
        assert truth - self.told_applied <= unresolved, "applied, and the process forgot about it"
        for seq in truth:
            payload = self.model.applied[(*key, seq)].payload
            assert (self.zero if payload is None else vector(payload)) == self.payload(seq)
        self.check_ledger()
