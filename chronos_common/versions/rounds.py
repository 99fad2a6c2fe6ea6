"""The round state machine: which commits count, and what a version is made of.

Everything here is a pure function of immutable values. A *round* collects commits; publishing consumes
the whole buffer and makes the next version. The order of the checks in :func:`judge` is part of the
protocol: stored answer, incarnation, chain, base, content. Whoever breaks it loses exactly-once delivery
when answers get lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from chronos_common.errors import (
    ChainBrokenError,
    IncarnationSupersededError,
    InvalidRequestError,
    StaleCommitError,
    UnknownVersionError,
    WorkerNotMemberError,
)
from chronos_common.versions.config import RoundConfig

U = TypeVar("U")

HYPERGRADIENT = "hypergradient"
PARAMETER_DELTA = "parameter_delta"
KINDS = (HYPERGRADIENT, PARAMETER_DELTA)


@dataclass(frozen=True, kw_only=True)
class Commit(Generic[U]):
    """An update as a worker sends it.

    Attributes:
        worker_id: stable name of the worker.
        incarnation: which process of that worker.
        seq: place in the worker's chain, from 1, growing.
        prev_applied: the last seq that the worker knows to be applied; 0 for none.
        base: version that the update was computed at.
        work: share of the assigned inner loop that was done, in (0, 1].
        update: the update; ``None`` is a skip: it counts for the quorum with zero mass.
    """

    worker_id: str
    incarnation: int
    seq: int
    prev_applied: int
    base: int
    work: float = 1.0
    update: U | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a worker is told about an applied commit; stored so that a repeat gets the same."""

    staleness: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class Accepted(Generic[U]):
    """A commit with the decision on it: the content of the journal's *accepted* record."""

    commit: Commit[U]
    staleness: int
    weight: float
    level_weights: Mapping[str, float] = field(default_factory=dict)

    def weight_of(self, level: str | None) -> float:
        """The weight of the update's part in a level of the outer parameters; ``None`` where there are no levels."""
        return self.weight if level is None else self.level_weights.get(level, self.weight)


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """The commit was applied before; this is the stored answer."""

    answer: Answer


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The idempotency row of one worker in one run.

    ``incarnation`` is the one whose commit was applied last; 0 before the first. ``joined`` is the version at
    which the worker became a member; ``effective_weight`` is its influence on the versions since.
    """

    incarnation: int = 0
    last_applied: int = 0
    answer: Answer | None = None
    accepted: int = 0
    effective_weight: float = 0.0
    joined: int = 0


@dataclass(frozen=True, kw_only=True)
class RoundState(Generic[U]):
    """Version, chains and the buffer of the round that is open.

    ``recent`` says who contributed how much to the newest versions, oldest first, where that matters.
    """

    version: int = 0
    chains: Mapping[str, Chain] = field(default_factory=lambda: MappingProxyType({}))
    buffer: tuple[Accepted[U], ...] = ()
    recent: tuple[Mapping[str, float], ...] = ()

    def contributors(self) -> frozenset[str]:
        """Distinct workers with a commit in the open round."""
        return frozenset(accepted.commit.worker_id for accepted in self.buffer)


def stored_answer(state: RoundState[Any], commit: Commit[Any]) -> Duplicate | None:
    """The answer given before, if this very commit was the last one applied for its worker."""
    chain = state.chains.get(commit.worker_id)
    if chain is None or chain.answer is None:
        return None
    if (commit.incarnation, commit.seq) != (chain.incarnation, chain.last_applied):
        return None
    return Duplicate(answer=chain.answer)


def judge(
    state: RoundState[Any],
    commit: Commit[U],
    config: RoundConfig,
    *,
    current_incarnation: int,
    kind: str = HYPERGRADIENT,
    check: Callable[[U], None] | None = None,
    level_staleness: Mapping[str, int] | None = None,
) -> Accepted[U] | Duplicate:
    """Decides on a commit without changing anything.

    Args:
        state: the run as it stands.
        commit: what arrived.
        config: the run's rules.
        current_incarnation: newest incarnation registered for the worker.
        kind: kind of the run's updates.
        check: examines the update itself and raises a ``PayloadError``.
        level_staleness: of each level of the outer parameters, its flushes since the commit's base.

    Raises:
        WorkerNotMemberError: the worker never checked out a version of this run.
        IncarnationSupersededError: a newer process of the worker exists.
        ChainBrokenError: ``prev_applied`` is not the last applied seq; ``details`` holds that one and the
            incarnation that it belongs to.
        UnknownVersionError: the base is in the future or negative.
        StaleCommitError: the base is too far behind; ``details['weight']`` is the rule's weight all the same.
        InvalidRequestError: ``work`` out of range.
        PayloadError: raised by ``check``.
    """
    chain = state.chains.get(commit.worker_id)
    if chain is None:
        raise WorkerNotMemberError(
            f"worker {commit.worker_id!r} has never checked out a version of this run; check one out first",
            worker_id=commit.worker_id,
        )
    stored = stored_answer(state, commit)
    if stored is not None:
        return stored
    _require_chain(commit, chain, current_incarnation)
    staleness = _require_base(state, commit, config)
    if not (math.isfinite(commit.work) and 0.0 < commit.work <= 1.0):
        raise InvalidRequestError(
            f"work is {commit.work}; it is the share of the assigned inner loop that was done, above 0 and at most 1",
            field="work",
        )
    if commit.update is not None and check is not None:
        check(commit.update)
    share = _share_below_cap(state, commit, config) if kind == PARAMETER_DELTA else 1.0
    return Accepted(
        commit=commit,
        staleness=staleness,
        weight=config.staleness_weight(staleness) * share,
        level_weights={
            level: config.staleness_weight(flushes) * share
            for level, flushes in (level_staleness or {}).items()
        },
    )


def _require_chain(commit: Commit[Any], chain: Chain, current_incarnation: int) -> None:
    if commit.incarnation != current_incarnation:
        raise IncarnationSupersededError(
            f"incarnation {commit.incarnation} of worker {commit.worker_id!r} is not the current one, "
            f"{current_incarnation}; a newer process owns this worker id: stop this one or rename it",
            worker_id=commit.worker_id,
            incarnation=commit.incarnation,
            current=current_incarnation,
        )
    if commit.prev_applied != chain.last_applied or commit.seq <= chain.last_applied:
        raise ChainBrokenError(
            f"commit {commit.seq} of worker {commit.worker_id!r} follows {commit.prev_applied}, but the last "
            f"applied one is {chain.last_applied}; resolve what is pending with that number and send again",
            last_applied=chain.last_applied,
            incarnation=chain.incarnation,
            seq=commit.seq,
        )


def _require_base(state: RoundState[Any], commit: Commit[Any], config: RoundConfig) -> int:
    if not 0 <= commit.base <= state.version:
        raise UnknownVersionError(
            f"base version {commit.base} does not exist; the newest is {state.version}",
            base=commit.base,
            version=state.version,
        )
    staleness = state.version - commit.base
    if staleness > config.max_staleness:
        raise StaleCommitError(
            f"base version {commit.base} is {staleness} behind {state.version}, more than max_staleness = "
            f"{config.max_staleness}; check out the newest version and commit against it",
            base=commit.base,
            version=state.version,
            staleness=staleness,
            weight=config.staleness_weight(staleness),
        )
    return staleness


def _share_below_cap(state: RoundState[Any], commit: Commit[Any], config: RoundConfig) -> float:
    """Share of a parameter delta that fits under ``max_local_work`` in the open round."""
    done = sum(a.commit.work for a in state.buffer if a.commit.worker_id == commit.worker_id)
    return max(0.0, min(1.0, (config.max_local_work - done) / commit.work))


def join(state: RoundState[U], worker_id: str) -> RoundState[U]:
    """The state after a worker became a member; a member stays what it is."""
    if worker_id in state.chains:
        return state
    return replace(state, chains=MappingProxyType({**state.chains, worker_id: Chain(joined=state.version)}))


def record(state: RoundState[U], accepted: Accepted[U]) -> RoundState[U]:
    """The state after an accepted commit."""
    commit = accepted.commit
    old = state.chains[commit.worker_id]
    chain = replace(
        old,
        incarnation=commit.incarnation,
        last_applied=commit.seq,
        answer=Answer(staleness=accepted.staleness, weight=accepted.weight),
        accepted=old.accepted + 1,
    )
    return replace(
        state,
        chains=MappingProxyType({**state.chains, commit.worker_id: chain}),
        buffer=(*state.buffer, accepted),
    )
