"""The state of a run and the fold that makes it: ``state' = fold(state, event)``.

The fold is a pure function of immutable values, the same in the coordinator, after a restart, in
``verify`` and in one process. It recomputes every master from the commits, applies what was published of it
as it was recorded, and requires the digests that the journal has, so a replay proves what it restores. What
was published was a decision (which values travel, how dense); a replay repeats none.

Per fragment the state is ``(x, p, optimiser)``: the master that the optimiser steps, the published value
that workers see, and the optimiser's own state, all in stored coordinates; and the density guard, if the
downlink is compressed. Where it is not, the published value is the master, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_common.codec import decode, dense_bytes, encode
from chronos_common.compression import GuardState, NextVersion, apply_version
from chronos_common.engine.accepting import accepted_of, require_continuation, update_of
from chronos_common.engine.account import Account
from chronos_common.engine.config import RunConfig
from chronos_common.engine.digests import chained, state_digest
from chronos_common.engine.downlink import (
    decide_version,
    first_guard,
    require_guard,
    shares_of,
    step_master,
)
from chronos_common.engine.events import (
    ACTIVE,
    FINISHED,
    STOPPED,
    CommitRecord,
    Created,
    Ended,
    Event,
    Joined,
    Published,
    Remembered,
    WarmStarted,
)
from chronos_common.engine.levels import Flushes, after_flushes, applied_mass, first_flushes, levels_of
from chronos_common.engine.merge import left_out, merge
from chronos_common.engine.relay import Relay
from chronos_common.engine.remembering import (
    Measured,
    observe_commit,
    observe_remembered,
    observe_round,
    steered,
)
from chronos_common.engine.totals import Totals, count
from chronos_common.engine.warm_start import taken_over
from chronos_common.errors import ConfigurationError, CorruptStateError, DivergenceError, PayloadError
from chronos_common.outer import OptimizerState, OuterOptimizer, Step, clip, make_optimizer
from chronos_common.outer.memory import ContinuumMemory
from chronos_common.tensors import Arrays, digest, require_finite
from chronos_common.versions import RoundState, advance, join, record

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class RunState:
    """One run after some number of events. Arrays in it are never written to.

    Attributes:
        config: the run's definition.
        optimizer: its outer optimiser.
        rounds: versions, chains and the open round.
        master: x, which the optimiser steps.
        published: p, which workers see.
        optimizer_state: what the optimiser remembers.
        snapshot: p as it was published, if it was published whole.
        digest: of p.
        journal: a hash over all events so far, each chained to the ones before.
        guard: what the density guard has decided; ``None`` where the downlink is lossless.
        relay: the newest deltas.
        account: the run's ledger.
        status: ``"active"``, or how it ended.
        reason: why it ended.
        totals: counts.
        flushes: of each level of the optimiser, the newest versions at which it stepped.
        origin: digest of the values it was created with, which with the config tells two creations apart.
        memory: what was measured where; ``None`` where the run has none.
        losses: outer losses in the open round, for the memory.
        warm_from: the run that it was warm-started from.
    """

    config: RunConfig
    optimizer: OuterOptimizer
    rounds: RoundState[Arrays]
    master: Mapping[str, Array]
    published: Mapping[str, Array]
    optimizer_state: OptimizerState
    snapshot: bytes | None
    digest: str
    journal: str
    guard: GuardState | None = None
    relay: Relay = field(default_factory=Relay)
    account: Account = field(default_factory=Account)
    status: str = ACTIVE
    reason: str = ""
    totals: Totals = field(default_factory=Totals)
    flushes: Flushes = field(default_factory=lambda: MappingProxyType({}))
    origin: str = ""
    memory: ContinuumMemory | None = None
    losses: tuple[Measured, ...] = ()
    warm_from: str = ""

    @property
    def levels(self) -> Mapping[str, str]:
        """The level of every parameter; empty where the optimiser has none."""
        return levels_of(self.optimizer, self.master) if self.flushes else {}

    @property
    def version(self) -> int:
        """Newest published version."""
        return self.rounds.version


def start(event: Created) -> RunState:
    """The state at version 0.

    Raises:
        ConfigurationError: the configuration cannot be read, or a value lies outside its bounds.
        PayloadError: the initial values do not match the configuration or are not finite.
    """
    config = RunConfig.from_json(event.config)
    values = decode(event.payload, specs=config.specs)
    require_finite(values, "the initial outer parameters")
    values = {spec.name: values[spec.name] for spec in config.specs}
    clipped = clip(values, config.parameters)
    outside = [name for name, value in values.items() if not np.array_equal(value, clipped[name])]
    if outside:
        raise ConfigurationError(f"initial values lie outside their bounds: {', '.join(outside)}")
    optimizer = make_optimizer(config.outer)
    return RunState(
        config=config,
        optimizer=optimizer,
        rounds=RoundState(),
        master=values,
        published=values,
        optimizer_state=optimizer.init(values),
        snapshot=encode("identity", values),
        digest=digest(values),
        origin=digest(values),
        journal=chained("", event),
        guard=first_guard(config.compression),
        flushes=first_flushes(optimizer, values),
        memory=None if config.memory is None else ContinuumMemory.empty(config.memory, config.specs),
    )


def fold(state: RunState, event: Event) -> RunState:
    """The state after one more event.

    Raises:
        CorruptStateError: the event contradicts the state or its own digests.
    """
    if state.status != ACTIVE:
        raise CorruptStateError(f"the journal goes on after the run has {state.status}")
    match event:
        case Joined():
            if event.worker_id in state.rounds.chains:
                raise CorruptStateError(f"worker {event.worker_id!r} joins twice")
            rounds = join(state.rounds, event.worker_id)
            return replace(state, rounds=rounds, journal=chained(state.journal, event))
        case CommitRecord():
            return accept(state, event, update_of(event, state.config.specs))
        case Published():
            return _published(state, event)
        case Ended():
            return _ended(state, event)
        case WarmStarted() | Remembered():
            return _told(state, event)
        case Created():
            raise CorruptStateError("a run is created twice in its journal")


def publish(state: RunState) -> tuple[Published, RunState]:
    """Makes the next version out of the open round: the decision to record, and the state after it.

    Raises:
        DivergenceError: the step left the finite numbers; the state before it stays valid.
    """
    compression, specs = state.config.compression, state.config.parameters
    after, step = _stepped(state)
    version = None
    if step.moved:
        version, guard = decide_version(
            compression,
            specs,
            before=state.master,
            master=after.master,
            published=state.published,
            guard=state.guard,
            shares=shares_of(state.optimizer, state.optimizer_state, step),
        )
        after = _with_version(replace(after, guard=guard), version)
    event = Published(
        version=after.version,
        commits=_commits(state),
        payload=None if version is None else version.payload,
        digest=after.digest,
        state_digest=state_digest(after),
        is_delta=version is not None and version.is_delta,
        guard=None if after.guard is None else after.guard.to_json(),
    )
    return event, replace(after, journal=chained(after.journal, event))


def accept(state: RunState, event: CommitRecord, update: Arrays | None) -> RunState:
    """The state after an accepted commit whose payload is already decoded.

    Raises:
        CorruptStateError: it does not continue its worker's chain, or contradicts itself.
    """
    require_continuation(state.rounds, state.flushes, event)
    applied = 0.0
    if update is not None:
        applied = applied_mass(update, event.weight, event.level_weights, state.levels)
    memory, losses = state.memory, state.losses
    if memory is not None:
        memory, losses = observe_commit(memory, losses, state.published, event, state.version)
    return replace(
        state,
        memory=memory,
        losses=losses,
        rounds=record(state.rounds, accepted_of(event, update)),
        totals=count(state.totals, event),
        account=state.account.accepted(update, applied, residual_lost=event.residual_lost),
        journal=chained(state.journal, event),
    )


def _published(state: RunState, event: Published) -> RunState:
    """The state after a recorded version: the step is repeated, what was published of it is applied."""
    try:
        after, step = _stepped(state)
        changed = bool(step.moved)
        _require(event, "version", event.version == after.version)
        _require(event, "commits", event.commits == _commits(state))
        _require(event, "payload", changed == (event.payload is not None))
        _require(event, "is_delta", not event.is_delta or (changed and state.guard is not None))
        guard = None if event.guard is None else GuardState.from_json(event.guard)
        require_guard(state.config.compression, guard)
        after = replace(after, guard=guard)
        if event.payload is not None:
            after = _with_version(after, _recorded(after, event, event.payload))
    except (DivergenceError, PayloadError) as error:
        raise CorruptStateError(f"version {event.version}: {error}", version=event.version) from error
    _require(event, "digest", event.digest == after.digest)
    _require(event, "state_digest", event.state_digest == state_digest(after))
    return replace(after, journal=chained(after.journal, event))


def _stepped(state: RunState) -> tuple[RunState, Step]:
    """The state with its round closed, and what stepped: in a round of skips nothing, unless a level is due."""
    kind, rules, levels = state.config.work.kind, state.config.rounds, state.levels
    rounds = advance(state.rounds, rules, kind)
    step = step_master(
        state.optimizer,
        state.config.parameters,
        state.master,
        merge(state.rounds, kind, rules, levels),
        state.optimizer_state,
        guard=state.guard,
        version=rounds.version,
    )
    memory = state.memory
    if memory is not None:
        memory = observe_round(memory, state.losses, state.published, state.rounds, kind, rules, levels)
        step, memory = steered(memory, state.config.parameters, state.master, step)
    after = replace(
        state,
        rounds=rounds,
        account=state.account.published(left_out(state.rounds, kind, rules, levels)),
        master=step.params if step.moved else state.master,
        optimizer_state=step.state,
        flushes=after_flushes(
            state.flushes, step.flushed, version=rounds.version, keep_versions=rules.max_staleness
        ),
        memory=memory,
        losses=(),
    )
    return after, step


def _recorded(state: RunState, event: Published, payload: bytes) -> NextVersion:
    published = apply_version(
        state.published,
        payload,
        lambda arrays: clip(arrays, state.config.parameters),
        is_delta=event.is_delta,
    )
    whole = not event.is_delta
    _require(event, "payload", not whole or _equal(published, state.master))
    return NextVersion(payload=payload, is_delta=event.is_delta, published=published)


def _with_version(state: RunState, version: NextVersion) -> RunState:
    """The state in which ``version`` has been published of its master."""
    if version.is_delta:
        relay = state.relay.after_delta(
            state.version,
            version.payload,
            keep_versions=state.config.compression.keep_versions,
            snapshot_bytes=dense_bytes(state.config.specs),
        )
    else:
        relay = Relay(base=state.version)
    published = version.published if version.is_delta else state.master
    return replace(
        state,
        published=published,
        snapshot=None if version.is_delta else version.payload,
        relay=relay,
        digest=digest(published),
    )


def _commits(state: RunState) -> tuple[tuple[str, int], ...]:
    return tuple((accepted.commit.worker_id, accepted.commit.seq) for accepted in state.rounds.buffer)


def _ended(state: RunState, event: Ended) -> RunState:
    if event.status not in (FINISHED, STOPPED):
        raise CorruptStateError(f"the run ends as {event.status!r}, which is no way to end")
    journal = chained(state.journal, event)
    return replace(
        state, status=event.status, reason=event.reason, journal=journal, account=state.account.ended()
    )


def _told(state: RunState, event: WarmStarted | Remembered) -> RunState:
    """The state with what came from outside of the run's own commits."""
    if isinstance(event, Remembered):
        memory = observe_remembered(state.memory, event)
        return replace(state, memory=memory, journal=chained(state.journal, event))
    values, optimizer_state = taken_over(state, event)
    return replace(
        state,
        master=values,
        published=values,
        optimizer_state=optimizer_state,
        snapshot=encode("identity", values),
        digest=digest(values),
        journal=chained(state.journal, event),
        warm_from=event.run_id,
    )


def _equal(left: Arrays, right: Arrays) -> bool:
    return all(np.array_equal(left[name], right[name]) for name in right)


def _require(event: Published, name: str, holds: bool) -> None:
    if not holds:
        raise CorruptStateError(
            f"version {event.version}: the replay's {name} differs from the journal's", version=event.version
        )
