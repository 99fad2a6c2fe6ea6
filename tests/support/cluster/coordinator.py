"""The coordinator of the simulated cluster: engine, fleet, journal, and what is not durable yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chronos_common.codec import encode
from chronos_common.engine import (
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
    RunState,
    VersionHistory,
    from_parts,
    from_snapshot,
    replay,
    start,
    state_digest,
    to_parts,
    to_snapshot,
)
from chronos_common.errors import ChronosError, PayloadError, RefusalError, StoreWriteError
from chronos_common.fleet import Fleet, Registration
from chronos_common.versions import MustWait
from tests.support.cluster.config import FLEET, RUN
from tests.support.cluster.message import Message
from tests.support.cluster.process import Process
from tests.support.round_model import Model, PresenceModel, vector
from tests.support.states import bits


def refusal_of(command: Callable[[], object]) -> ChronosError | None:
    try:
        command()
    except ChronosError as error:
        return error
    return None


@dataclass
class Parked:
    process: Process
    query: CheckoutQuery
    deadline: float


class Coordinator:
    """The coordinator's state and rules; what it answers appears on ``wire`` when it is durable."""

    def __init__(self, config: RunConfig, names: list[str], first: dict[str, np.ndarray]) -> None:
        self.now = 0.0
        self.names = names
        self.wire: list[Message] = []
        created = Created(config=config.to_json(), payload=encode("identity", first))
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
        assert bits(self._from_snapshot(len(self.journal) * self.crashes // (self.crashes + 1))) == bits(
            state
        )
        if durable is not None:
            assert state_digest(state) == state_digest(durable)
        self.engine = RunEngine(RUN, state)
        self.engine.restarted(self.now, [2.0, 3.0])
        self.fleet = Fleet(FLEET, self.registrations.values())
        self.presence.restarted(
            set(state.rounds.chains), self.now + self.engine.presence.timer.lease_seconds()
        )

    def _from_snapshot(self, seq: int) -> RunState:
        """The state at the journal's end, if a snapshot was kept after so many entries (at least one)."""
        seq, history = max(1, seq), VersionHistory()
        events = [from_parts(*parts) for parts in self.journal]
        for event in events[:seq]:
            history.observe(event, self.now)
        kept = to_snapshot(RUN, seq, replay(events[:seq]), history)
        return replay(events[seq:], state=from_snapshot(RUN, kept)[0])

    def _report_failure(self, process: Process, seq: int) -> None:
        if seq:
            error = StoreWriteError("the store did not confirm")
            self.wire.append(Message(False, process, lambda: process.got_refusal(seq, error)))
        else:
            self.wire.append(Message(False, process, process.got_no_checkout))

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
            self.answer(process, process.got_superseded)
            return
        [registration] = found
        self.registrations[process.worker] = registration
        if self.fleet.register(registration, self.now):
            self.presence.forget(process.worker)
            self.engine.leave(process.worker, self.now)
            self._drain()
        chain = self.engine.state.rounds.chains.get(process.worker)
        last = chain.last_applied if chain is not None else 0
        self.answer(process, lambda: self._registered(process, registration.incarnation, last))

    def _registered(self, process: Process, incarnation: int, last: int) -> None:
        process.got_registration(incarnation, last, restarted=self.crashes > 0)

    def is_current(self, process: Process) -> bool:
        registration = self.registrations.get(process.worker)
        return registration is not None and registration.instance_id == process.instance

    def on_checkout(self, process: Process, query: CheckoutQuery) -> None:
        error = refusal_of(lambda: self.fleet.seen(query.worker_id, query.incarnation, self.now))
        if error is not None:
            self.answer(process, process.got_superseded)
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
            self.answer(process, process.got_no_checkout)
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
            self.answer(process, lambda: process.got_version(answer, query.known))
            return True
        if entry.deadline <= self.now:
            self.engine.stop_waiting(query.worker_id, self.now)
            self.answer(process, process.got_no_checkout)
            return True
        return False

    def on_commit(self, process: Process, query: CommitQuery) -> None:
        refusal_of(lambda: self.fleet.seen(query.worker_id, query.incarnation, self.now))
        found: list[CommitAnswer] = []
        current = self.fleet.current_incarnation(query.worker_id)
        error = self._unchanged(lambda: found.append(self.engine.commit(query, current, self.now)))
        if error is not None:
            self.answer(process, lambda: process.got_refusal(query.seq, error), query.seq)
            return
        [answer] = found
        events = self.engine.take_events()
        assert answer.duplicate == (not any(isinstance(event, CommitRecord) for event in events))
        if not answer.duplicate:
            assert query.incarnation == current, "a superseded process was applied"
            self.presence.committed(query.worker_id, query.base, self.now)
        self.engine._events = [*events]
        self._drain()
        self.answer(process, lambda: process.got_answer(query.seq, answer), query.seq)

    def on_heartbeat(self, process: Process, base: int | None) -> None:
        error = refusal_of(lambda: self.fleet.seen(process.worker, process.incarnation, self.now))
        if error is None and base is not None:
            version = self.engine.state.version
            self.engine.announce(process.worker, base, self.now)
            if process.worker in self.engine.state.rounds.chains:
                self.presence.announced(process.worker, base, version, self.now)
            self._drain()

    def on_goodbye(self, process: Process) -> None:
        error = refusal_of(lambda: self.fleet.left(process.worker, process.incarnation))
        if error is None:
            self.presence.forget(process.worker)
            self.engine.leave(process.worker, self.now)
            self._drain()
