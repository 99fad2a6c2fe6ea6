"""The rules that Chronos is compared with: a synchronous barrier, and a version per quorum whoever is left behind."""

from __future__ import annotations

import dataclasses

import pytest

from chronos_common.errors import ConfigurationError, StaleCommitError
from chronos_common.versions import (
    Accepted,
    Commit,
    LeaseConfig,
    MustWait,
    Presence,
    RoundConfig,
    RoundState,
    advance,
    join,
    judge,
    record,
)

LEASE = 100.0


class Run:
    """A presence, the round state next to it, and a clock that stands still."""

    def __init__(self, rounds: RoundConfig, *workers: str) -> None:
        self.rounds = rounds
        self.presence = Presence(
            rounds, LeaseConfig(initial_seconds=LEASE, min_seconds=LEASE, max_seconds=LEASE)
        )
        self.state: RoundState[str] = RoundState()
        for worker in workers:
            assert not self.waits(worker)

    def waits(self, worker: str) -> bool:
        """Checks out; whether it has to wait."""
        self.state = join(self.state, worker)
        waits = isinstance(self.presence.admit(worker, self.state, 0.0), MustWait)
        if waits:
            self.presence.waits(worker)
        return waits

    def commit(self, worker: str, base: int) -> None:
        last = self.state.chains[worker].last_applied
        commit = Commit(
            worker_id=worker, incarnation=1, seq=last + 1, prev_applied=last, base=base, update="u"
        )
        decision = judge(self.state, commit, self.rounds, current_incarnation=1)
        assert isinstance(decision, Accepted)
        self.state = record(self.state, decision)
        self.presence.settle(worker, base, 1.0, 0.0)

    def publish_if_due(self) -> bool:
        due = self.presence.due(self.state, 0.0)
        if due:
            self.state = advance(self.state)
            self.presence.published(0.0)
        return due


BARRIER = RoundConfig(max_staleness=0, max_in_flight=1, quorum=3, once_per_version=True)
EACH_COMMIT = RoundConfig(quorum=1, immediate_publish=True)


def test_a_barrier_takes_one_commit_of_everybody_and_lets_the_quick_wait() -> None:
    run = Run(BARRIER, "a", "b", "c")
    for worker in ("a", "b"):
        run.commit(worker, 0)
        assert run.waits(worker)
        assert not run.publish_if_due()
    run.commit("c", 0)
    assert run.publish_if_due()
    assert not any(run.waits(worker) for worker in ("a", "b", "c"))
    assert run.state.version == 1


def test_a_barrier_does_not_wait_for_who_has_left() -> None:
    run = Run(BARRIER, "a", "b", "c")
    run.commit("a", 0)
    assert run.waits("a")
    run.commit("b", 0)
    assert run.waits("b")
    run.presence.leave("c")
    assert run.publish_if_due()


def test_without_the_barrier_a_contributor_works_again_at_the_same_version() -> None:
    run = Run(dataclasses.replace(BARRIER, once_per_version=False), "a", "b", "c")
    run.commit("a", 0)
    assert not run.waits("a")


def test_immediate_publish_leaves_the_slow_behind_and_refuses_them() -> None:
    run = Run(EACH_COMMIT, "slow", "quick")
    for base in range(3):
        run.commit("quick", base)
        assert run.publish_if_due()
        assert not run.waits("quick")
    with pytest.raises(StaleCommitError, match="3 behind 3"):
        run.commit("slow", 0)


def test_a_deferred_version_waits_for_the_slow_and_refuses_nothing() -> None:
    run = Run(dataclasses.replace(EACH_COMMIT, immediate_publish=False), "slow", "quick")
    for base in range(2):
        run.commit("quick", base)
        assert run.publish_if_due()
        assert not run.waits("quick")
    run.commit("quick", 2)
    assert not run.publish_if_due()
    run.commit("slow", 0)
    assert run.publish_if_due()


def test_rules_that_contradict_each_other_or_are_no_truth_values_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="waits for nobody"):
        RoundConfig(immediate_publish=True, grace_seconds=1.0)
    for name in ("immediate_publish", "once_per_version"):
        with pytest.raises(ConfigurationError, match=f"{name} is 'yes'"):
            RoundConfig(**{name: "yes"})  # type: ignore[arg-type]  # what a command line may hold
