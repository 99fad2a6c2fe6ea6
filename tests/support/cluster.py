"""A whole cluster in one thread: a coordinator with a journal, worker processes, and a network that misbehaves.

Time is a number, faults are method calls, and every message is one element of ``wire`` until something
delivers, repeats or drops it. Whoever drives it (Hypothesis, a seeded generator, a scenario) only picks what
happens next; every rule that must hold is asserted on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from chronos_common.codec import encode
from chronos_common.engine import (
    ACTIVE,
    CheckoutAnswer,
    CheckoutQuery,
    CommitAnswer,
    CommitQuery,
    CommitRecord,
    Created,
    Event,
    Published,
    RunConfig,
    RunEngine,
    WorkSpec,
    from_parts,
    replay,
    start,
    state_digest,
    to_parts,
)
from chronos_common.errors import (
    ChronosError,
    IncarnationSupersededError,
    PayloadError,
    RefusalError,
    StaleCommitError,
    StoreWriteError,
)
from chronos_common.fleet import Fleet, FleetConfig, Registration
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.tensors import Arrays
from chronos_common.versions import (
    HYPERGRADIENT,
    Commit,
    LeaseConfig,
    MustWait,
    Outbox,
    Resolution,
    RoundConfig,
)
from tests.support.round_model import RATE, Model, PresenceModel, Vector, add, close, flat, vector

RUN = "run"
LEASES = LeaseConfig(initial_seconds=4.0, min_seconds=2.0, max_seconds=6.0, window=4)
FLEET = FleetConfig(heartbeat_seconds=1.0, timeout_seconds=3.0)
ZERO: Vector = (0.0, 0.0)
SPECS = (OuterSpec(name="vector", shape=(2,), dtype="float64"),)


def run_config(*, rounds: RoundConfig, kind: str = HYPERGRADIENT, max_versions: int = 0) -> RunConfig:
    return RunConfig(
        parameters=SPECS,
        outer=OuterConfig(name="sgd", learning_rate=RATE),
        rounds=rounds,
        leases=LEASES,
        work=WorkSpec(kind=kind),
        max_versions=max_versions,
    )


def refusal_of(command: Callable[[], object]) -> ChronosError | None:
    try:
        command()
    except ChronosError as error:
        return error
    return None


def update_of(number: int) -> dict[str, np.ndarray]:
    return {"vector": np.array([float(number), 1.0])}


@dataclass(eq=False)
class Process:
    """One worker process, with its view of what became of its work."""

    worker: str
    instance: str
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
    produced: Vector = ZERO
    settled: Vector = ZERO
    discounted: Vector = ZERO
    discarded: Vector = ZERO

    def last_was_applied(self) -> bool:
        """Whether a newer version is on its way; nobody should await one without having contributed to it."""
        return bool(self.sent) and max(self.sent) in self.told_applied

    def payload(self, seq: int) -> Vector:
        return self.sent[seq]

    def residual(self) -> Vector:
        assert self.outbox is not None
        return flat(self.outbox.residual) if self.outbox.residual else ZERO


@dataclass(frozen=True)
class Message:
    """A request (``handle`` runs at the coordinator) or an answer (``handle`` runs at the process)."""

    to_coordinator: bool
    process: Process
    handle: Callable[[], None]
    seq: int = 0


@dataclass
class Parked:
    process: Process
    query: CheckoutQuery
    deadline: float


class Cluster:
    """See the module. ``workers`` are the names that exist."""

    def __init__(self, config: RunConfig, workers: int = 4) -> None:
        self.config = config
        self.now = 0.0
        self.names = [f"w{i}" for i in range(workers)]
        self.processes: list[Process] = []
        self.wire: list[Message] = []
        self.counter = 0
        created = Created(config=config.to_json(), payload=encode("identity", update_of(0)))
        self.journal = [to_parts(created)]
        self.engine = RunEngine(RUN, start(created))
        self.registrations: dict[str, Registration] = {}
        self.fleet = Fleet(FLEET)
        self.model = Model(config, vector(created.payload))
        self.ahead: list[Event] = []
        self.held: list[Message] = []
        self.parked: list[Parked] = []
        self.presence = PresenceModel(config)
        self.crashes = 0

    # --- the coordinator -----------------------------------------------------------------------------

    def answer(self, process: Process, handle: Callable[[], None], seq: int = 0) -> None:
        """An answer (to commit ``seq``) that leaves when what it rests on is durable."""
        self.held.append(Message(False, process, handle, seq))

    def flush(self) -> None:
        """Makes the batch durable and lets its answers out."""
        for event in self.ahead:
            self.model.observe(event)
            self.journal.append(to_parts(event))
        self.ahead = []
        self.wire += self.held
        self.held = []

    def crash(self, *, ambiguous: bool = False) -> None:
        """Loses what is not durable, and starts again from the journal.

        ``ambiguous``: the batch became durable, but nobody was told; its callers hear of a failed store.
        """
        durable = None if self.ahead and not ambiguous else self.engine.state
        if ambiguous:
            held, self.held = self.held, []
            self.flush()
            for message in held:
                self._report_failure(message.process, message.seq)
        self.ahead, self.held, self.parked = [], [], []
        self.crashes += 1
        state = replay(from_parts(*parts) for parts in self.journal)
        if durable is not None:
            assert state_digest(state) == state_digest(durable)
        self.engine = RunEngine(RUN, state)
        self.engine.restarted(self.now, [2.0, 3.0])
        self.fleet = Fleet(FLEET, self.registrations.values())
        self.presence.restarted(
            set(state.rounds.chains), self.now + self.engine.presence.timer.lease_seconds()
        )

    def _report_failure(self, process: Process, seq: int) -> None:
        if seq:
            error = StoreWriteError("the store did not confirm")
            self.wire.append(Message(False, process, lambda: self.got_refusal(process, seq, error)))
        else:
            self.wire.append(Message(False, process, lambda: self.got_no_checkout(process)))

    def _drain(self) -> None:
        """Takes the engine's events; a version among them must be allowed by what was granted."""
        for event in self.engine.take_events():
            if isinstance(event, Published):
                contributors = {worker for worker, _ in event.commits}
                self.presence.may_publish(event.version - 1, contributors, self.now)
            self.ahead.append(event)

    def settle_time(self) -> None:
        """What passes with time alone: expiries, and parked checkouts that may go on."""
        self.engine.tick(self.now)
        self._drain()
        for worker in self.fleet.expire(self.now):
            self.presence.forget(worker)
            self.engine.leave(worker, self.now)
            self._drain()
        parked, self.parked = self.parked, []
        for entry in parked:
            if not self._try_checkout(entry):
                self.parked.append(entry)

    def _unchanged(self, command: Callable[[], object]) -> ChronosError | None:
        """Runs a command; a refusal must leave everything as it was."""
        self.engine.tick(self.now)
        self._drain()
        state, presence = self.engine.state, self._presence_now()
        error = refusal_of(command)
        if error is not None:
            assert isinstance(error, RefusalError | PayloadError), f"not a typed refusal: {error!r}"
            assert self.engine.state is state
            assert self._presence_now() == presence
            assert not self.engine.take_events()
        return error

    def _presence_now(self) -> object:
        presence = self.engine.presence
        leases = {worker: presence.lease(worker) for worker in self.names}
        return (
            presence.live,
            presence.active(self.now),
            leases,
            presence.effective_quorum(self.engine.state.rounds, self.now),
        )

    def on_register(self, process: Process) -> None:
        found: list[Registration] = []
        error = refusal_of(
            lambda: found.append(self.fleet.decide_registration(process.worker, process.instance))
        )
        if error is not None:
            self.answer(process, lambda: self.got_superseded(process))
            return
        [registration] = found
        self.registrations[process.worker] = registration
        if self.fleet.register(registration, self.now):
            self.presence.forget(process.worker)
            self.engine.leave(process.worker, self.now)
            self._drain()
        chain = self.engine.state.rounds.chains.get(process.worker)
        last = chain.last_applied if chain is not None else 0
        self.answer(process, lambda: self.got_registration(process, registration.incarnation, last))

    def on_checkout(self, process: Process, query: CheckoutQuery) -> None:
        error = refusal_of(lambda: self.fleet.seen(query.worker_id, query.incarnation, self.now))
        if error is not None:
            self.answer(process, lambda: self.got_superseded(process))
            return
        entry = Parked(process, query, self.now + query.wait_seconds)
        if not self._try_checkout(entry):
            self.parked.append(entry)

    def _try_checkout(self, entry: Parked) -> bool:
        """Whether the checkout was answered."""
        process, query = entry.process, entry.query
        found: list[CheckoutAnswer | MustWait] = []
        error = self._unchanged(lambda: found.append(self.engine.checkout(query, self.now)))
        if error is not None:
            self.answer(process, lambda: self.got_no_checkout(process))
            return True
        [answer] = found
        events = self.engine.take_events()
        if isinstance(answer, MustWait) or any(isinstance(event, Published) for event in events):
            self.presence.waits(query.worker_id)
        self.engine._events = [*events]
        self._drain()
        if isinstance(answer, CheckoutAnswer):
            lease = self.engine.presence.lease(query.worker_id)
            assert lease is not None
            assert lease.base == answer.version
            assert answer.work_seconds == lease.deadline - self.now > 0
            self.presence.granted(query.worker_id, lease.base, lease.deadline, self.now)
            self.answer(process, lambda: self.got_version(process, answer))
            return True
        if entry.deadline <= self.now:
            self.engine.stop_waiting(query.worker_id, self.now)
            self.answer(process, lambda: self.got_no_checkout(process))
            return True
        return False

    def on_commit(self, process: Process, query: CommitQuery) -> None:
        refusal_of(lambda: self.fleet.seen(query.worker_id, query.incarnation, self.now))
        found: list[CommitAnswer] = []
        current = self.fleet.current_incarnation(query.worker_id)
        error = self._unchanged(lambda: found.append(self.engine.commit(query, current, self.now)))
        if error is not None:
            self.answer(process, lambda: self.got_refusal(process, query.seq, error), query.seq)
            return
        [answer] = found
        events = self.engine.take_events()
        assert answer.duplicate == (not any(isinstance(event, CommitRecord) for event in events))
        if not answer.duplicate:
            assert query.incarnation == current, "a superseded process was applied"
            self.presence.committed(query.worker_id, query.base, self.now)
        self.engine._events = [*events]
        self._drain()
        self.answer(process, lambda: self.got_answer(process, query.seq, answer), query.seq)

    def on_heartbeat(self, process: Process, base: int | None) -> None:
        error = refusal_of(lambda: self.fleet.seen(process.worker, process.incarnation, self.now))
        if error is None and base is not None:
            self.engine.announce(process.worker, base, self.now)
            self.presence.unannounced.discard(process.worker)
            self._drain()

    def on_goodbye(self, process: Process) -> None:
        error = refusal_of(lambda: self.fleet.left(process.worker, process.incarnation))
        if error is None:
            self.presence.forget(process.worker)
            self.engine.leave(process.worker, self.now)
            self._drain()

    # --- the processes -------------------------------------------------------------------------------

    def got_registration(self, process: Process, incarnation: int, last_applied: int) -> None:
        if process.outbox is None:
            process.incarnation = incarnation
            process.outbox = Outbox(
                process.worker,
                incarnation,
                last_applied=last_applied,
                kind=self.config.work.kind,
                decay=self.config.rounds.decay,
            )
        elif process.incarnation != incarnation:
            assert self.crashes, "a superseded process came back"
            self.got_superseded(process)
        else:
            self._note(process, process.outbox.resume(last_applied))

    def got_superseded(self, process: Process) -> None:
        process.alive = False

    def got_version(self, process: Process, answer: CheckoutAnswer) -> None:
        assert process.outbox is not None
        process.awaiting = False
        if process.base is None or answer.version >= process.base:
            process.base = answer.version
        assert answer.version <= self.model.version, "a version was seen before it was durable"
        assert answer.digest == self.model.digests.get(answer.version, answer.digest)
        self._note(process, process.outbox.resume(answer.last_applied))

    def got_no_checkout(self, process: Process) -> None:
        process.awaiting = False

    def got_answer(self, process: Process, seq: int, answer: CommitAnswer) -> None:
        record = self.model.applied.get((process.worker, process.incarnation, seq))
        assert record is not None, "told applied, but the journal does not know"
        assert (record.staleness, record.weight) == (answer.staleness, answer.weight)
        assert process.outbox is not None
        self._note(process, process.outbox.accepted(seq))

    def got_refusal(self, process: Process, seq: int, error: ChronosError) -> None:
        assert process.outbox is not None
        last = error.details.get("last_applied")
        assert last is None or last in self.model.chains[process.worker]
        self._note(process, process.outbox.refused(seq, error), error)
        if isinstance(error, IncarnationSupersededError):
            self.got_superseded(process)

    def _note(self, process: Process, found: Resolution, error: ChronosError | None = None) -> None:
        assert not (set(found.applied) | set(found.dropped)) & (process.told_applied | process.told_dropped)
        for seq in found.applied:
            assert (process.worker, process.incarnation, seq) in self.model.applied
            process.settled = add(process.settled, process.payload(seq))
        for seq in found.discarded:
            process.discarded = add(process.discarded, process.payload(seq))
        if isinstance(error, StaleCommitError) and self.config.work.kind == HYPERGRADIENT:
            kept = self.config.rounds.decay ** int(error.details["staleness"])
            for seq in found.dropped:
                process.discounted = add(process.discounted, process.payload(seq), 1 - kept)
        process.told_applied |= set(found.applied)
        process.told_dropped |= set(found.dropped)
        self.check_ledger(process)

    def check_ledger(self, process: Process) -> None:
        """produced = applied (its mass) + residual + discounted + discarded + unresolved, as the worker sees it."""
        if process.outbox is None:
            return
        total = add(add(process.settled, process.discounted), process.discarded)
        total = add(total, process.residual())
        for commit in process.outbox.unresolved:
            total = add(total, process.payload(commit.seq))
        assert close(total, process.produced), "the worker's ledger does not balance"

    # --- what may happen -----------------------------------------------------------------------------

    def able(self) -> list[Process]:
        return [p for p in self.processes if p.alive and not p.hung and p.outbox is not None]

    def _send(self, process: Process, handle: Callable[[], None]) -> None:
        self.wire.append(Message(True, process, handle))

    def spawn(self, index: int) -> Process:
        """Starts a process; an older one of that name may live on, as after a partition."""
        self.counter += 1
        process = Process(self.names[index % len(self.names)], f"instance-{self.counter}")
        self.processes.append(process)
        self.register(process)
        return process

    def register(self, process: Process) -> None:
        self._send(process, lambda: self.on_register(process))

    def checkout(self, process: Process, *, newer: bool = False, wait: float = 5.0) -> None:
        known = process.base
        minimum = known + 1 if newer and known is not None else 0
        query = CheckoutQuery(
            run_id=RUN,
            worker_id=process.worker,
            incarnation=process.incarnation,
            known=known,
            min_version=minimum,
            wait_seconds=wait,
        )
        process.awaiting = True
        self._send(process, lambda: self.on_checkout(process, query))

    def commit(self, process: Process, *, work: float = 1.0, skip: bool = False) -> None:
        """Prepares and sends a commit; a failing process garbles what it sends."""
        assert process.outbox is not None
        if process.base is None:
            return
        self.counter += 1
        update = None if skip else update_of(self.counter)
        commit = process.outbox.prepare(update, process.base, work=work)
        if update is not None:
            process.produced = add(process.produced, flat(update))
        process.sent[commit.seq] = ZERO if commit.update is None else flat(commit.update)
        process.queries[commit.seq] = self._query(process, commit)
        self.check_ledger(process)
        self.resend(process, commit.seq)

    def resend(self, process: Process, seq: int) -> None:
        query = process.queries[seq]
        self._send(process, lambda: self.on_commit(process, query))

    def _query(self, process: Process, commit: Commit[Arrays]) -> CommitQuery:
        payload = None if commit.update is None else encode("identity", commit.update)
        if process.failing and commit.update is not None:
            payload = encode("identity", {"vector": np.full(2, np.nan)})
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

    def heartbeat(self, process: Process) -> None:
        base = process.base
        self._send(process, lambda: self.on_heartbeat(process, base))

    def say_goodbye(self, process: Process) -> None:
        """A process deregisters and ends; what it had not been told about is lost with it."""
        process.alive = False
        self._send(process, lambda: self.on_goodbye(process))

    def deliver(self, index: int, *, repeat: bool = False, flush: bool = True) -> None:
        """Delivers the message at a place in the wire, which need not be the oldest; a dead process hears nothing."""
        message = self.wire[index % len(self.wire)]
        if not repeat:
            self.wire.remove(message)
        if message.to_coordinator:
            message.handle()
            if flush:
                self.flush()
        elif message.process.alive and not message.process.hung:
            message.handle()

    def drop(self, index: int) -> None:
        self.wire.pop(index % len(self.wire))

    def pass_time(self, seconds: float) -> None:
        """The clock moves on, or jumps."""
        self.now += seconds
        self.settle_time()
        self.flush()

    # --- the end -------------------------------------------------------------------------------------

    def heal(self) -> None:
        """From here on nothing is lost and everything arrives in order; the hung stay hung, the failing fail."""
        self.flush()
        while self.wire:
            self.deliver(0)
        for process in self.processes:
            process.awaiting = False  # its call has timed out by now
        if not any(not p.failing and self._is_current(p) for p in self.able()):
            self.spawn(0)
            while self.wire:
                self.deliver(0)

    def _is_current(self, process: Process) -> bool:
        registration = self.registrations.get(process.worker)
        return registration is not None and registration.instance_id == process.instance

    def run_healthy(self, seconds: int) -> list[int]:
        """Lets every process work, a second for an inner loop; returns the version after each second."""
        versions: list[int] = []
        for second in range(seconds):
            for process in self.processes:
                if (
                    process.alive
                    and process.outbox is not None
                    and second % 2 == 0
                    and self._is_current(process)
                ):
                    self.heartbeat(process)
            for process in [p for p in self.able() if self._is_current(p)]:
                late = second == 0 and self.names.index(process.worker) % 2 == 1  # nobody works in step
                if process.awaiting or late:
                    continue
                if process.busy:
                    process.busy = False
                    self.commit(process)
                else:
                    process.busy = True
                    newer = process.worker == self.names[1] and process.last_was_applied()
                    self.checkout(process, newer=newer)
            while self.wire:
                self.deliver(0)
            self.pass_time(1.0)
            versions.append(self.engine.state.version)
        return versions

    def finish(self) -> None:
        """Faults stop: versions advance, every commit is resolved to one side, every ledger balances."""
        self.heal()
        self.run_healthy(10)
        versions = self.run_healthy(8)
        if self.engine.state.status == ACTIVE:
            # Somebody who fails again and again may hold each version back by one lease, but no longer.
            least = 1 if any(p.failing for p in self.able()) else 2
            assert versions[-1] - versions[0] >= least, "the living wait for the dead"
            assert not [p for p in self.parked if p.deadline <= self.now]
        for process in [p for p in self.able() if self._is_current(p)]:
            assert process.outbox is not None
            for commit in process.outbox.unresolved:
                self.resend(process, commit.seq)
            while self.wire:
                self.deliver(0)
            assert not process.outbox.unresolved, "a commit was never resolved"
        for process in self.processes:
            self._check_truth(process)
        state = replay(from_parts(*parts) for parts in self.journal)
        assert state_digest(state) == state_digest(self.engine.state)
        assert state.version == self.model.version

    def _check_truth(self, process: Process) -> None:
        """What a process was told is what the journal says, for ever."""
        if process.outbox is None:
            return
        key = (process.worker, process.incarnation)
        truth = {seq for worker, incarnation, seq in self.model.applied if (worker, incarnation) == key}
        assert process.told_applied <= truth
        assert not process.told_dropped & truth, "told that it never will be applied, but it was"
        unresolved = {commit.seq for commit in process.outbox.unresolved}
        assert truth - process.told_applied <= unresolved, "applied, and the process forgot about it"
        for seq in truth:
            payload = self.model.applied[(*key, seq)].payload
            assert (ZERO if payload is None else vector(payload)) == process.payload(seq)
        self.check_ledger(process)
