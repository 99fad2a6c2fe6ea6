"""Grace windows: a version with its quorum waits a little for those who are nearly ready, and for nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    record,
)
from tests.support.throughput import simulate

LEASE, GRACE = 10.0, 2.0


class Run:
    """A presence with a grace, the round state next to it, and a clock."""

    def __init__(self, *, quorum: int | None = 1, staleness: int = 2, grace: float = GRACE) -> None:
        rounds = RoundConfig(
            quorum=quorum, max_staleness=staleness, max_in_flight=staleness + 1, grace_seconds=grace
        )
        self.presence = Presence(
            rounds, LeaseConfig(initial_seconds=LEASE, min_seconds=LEASE, max_seconds=LEASE)
        )
        self.state: RoundState[str] = RoundState()
        self.now = 0.0

    def checkout(self, *workers: str) -> None:
        for worker in workers:
            self.state = join(self.state, worker)
            if isinstance(self.presence.admit(worker, self.state, self.now), MustWait):
                self.presence.waits(worker)

    def commit(self, worker: str, base: int | None = None) -> None:
        at = self.state.version if base is None else base
        last = self.state.chains[worker].last_applied
        commit = Commit(worker_id=worker, incarnation=1, seq=last + 1, prev_applied=last, base=at, update="u")
        accepted = Accepted(commit=commit, staleness=self.state.version - at, weight=1.0)
        self.state = record(self.state, accepted)
        self.presence.settle(worker, at, 1.0, self.now)

    def due(self, now: float | None = None) -> bool:
        self.now = self.now if now is None else now
        return self.presence.due(self.state, self.now)

    def publish(self, now: float | None = None) -> None:
        assert self.due(now)
        self.state = advance(self.state)
        self.presence.published(self.now)


def test_the_nearly_ready_get_in() -> None:
    run = Run()
    run.checkout("a", "b")
    run.commit("a")
    assert not run.due(0.0)
    assert run.presence.next_event(0.0) == GRACE
    run.now = 1.5
    run.commit("b")
    run.publish(1.5)
    assert run.presence.next_event(1.5) == 1.5 + LEASE - 1.5, "b's or a's deadline, no grace"


def test_grace_ends_after_its_time_however_often_anybody_looks() -> None:
    run = Run()
    run.checkout("a", "b")
    run.commit("a")
    for now in (0.0, 0.5, 1.0, 1.999):
        assert not run.due(now)
    run.publish(GRACE)


def test_every_version_has_a_grace_of_its_own() -> None:
    run = Run()
    run.checkout("a", "b")
    run.commit("a")
    assert not run.due(0.0)
    run.publish(GRACE)
    run.now = 5.0
    run.commit("a")
    assert not run.due(5.0)
    run.publish(5.0 + GRACE)


def test_a_quorum_that_comes_and_goes_opens_no_second_grace() -> None:
    run = Run(quorum=None)
    run.checkout("a", "b")
    run.commit("a")
    assert not run.due(0.0)
    run.now = 1.0
    run.checkout("c")
    assert not run.due(1.0), "half of three, rounded up, are two"
    run.now = 1.5
    run.commit("b")
    assert not run.due(1.5)
    run.publish(GRACE)


def test_the_dead_are_not_waited_for() -> None:
    run = Run(grace=5.0)
    run.checkout("dead")
    run.now = LEASE - 1.0
    run.checkout("a")
    run.commit("a")
    assert not run.due(LEASE - 0.5)
    assert run.presence.next_event(run.now) == LEASE
    run.publish(LEASE)


@pytest.mark.parametrize("how", ["leave", "waits"])
def test_who_leaves_or_awaits_a_version_is_not_waited_for(how: str) -> None:
    run = Run()
    run.checkout("a", "b")
    run.commit("a")
    assert not run.due(0.0)
    getattr(run.presence, how)("b")
    assert run.due(0.0)


def test_it_runs_while_the_version_is_deferred() -> None:
    run = Run(staleness=0)
    run.checkout("a", "b", "c")
    run.commit("a")
    assert not run.due(0.0)
    run.now = 1.0
    run.commit("b")
    assert not run.due(GRACE + 1.0), "c would be left behind"
    run.commit("c")
    run.publish()


def test_after_the_deferral_the_rest_of_the_grace_is_left() -> None:
    run = Run(staleness=1)
    run.checkout("slow")
    run.checkout("fast")
    run.commit("fast")
    run.publish(GRACE) if run.due(GRACE) else run.publish(2 * GRACE)
    run.checkout("fast", "other")
    began = run.now
    run.commit("fast")
    assert not run.due(began)
    run.now = began + 1.0
    run.commit("slow", base=0)
    assert not run.due(began + 1.0), "nothing is deferred, other may be nearly ready"
    run.publish(began + GRACE)


def test_a_restart_that_waits_for_announcements_adds_no_grace_to_it() -> None:
    run = Run()
    run.checkout("a", "b")
    run.commit("a")
    run.presence.restarted("ab", 0.0)
    assert not run.due(0.0)
    run.presence.announce("a", 0, run.state, 1.0)
    assert not run.due(GRACE + 1.0)
    run.presence.announce("b", 0, run.state, GRACE + 1.0)
    assert run.due(GRACE + 1.0)


def test_without_grace_nothing_waits() -> None:
    run = Run(grace=0.0)
    run.checkout("a", "b")
    run.commit("a")
    assert run.due(0.0)
    assert run.due(0.0)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["commit", "leave", "tick"]), st.sampled_from("abc"), st.floats(0.0, 3.0)),
        max_size=30,
    ),
    quorum=st.sampled_from([None, 1, 2, 3]),
    staleness=st.integers(0, 2),
)
def test_grace_only_ever_delays_and_never_longer_than_its_time(
    steps: list[tuple[str, str, float]], quorum: int | None, staleness: int
) -> None:
    """Beside a run without grace that sees the same: due there since ``GRACE`` means due here."""
    with_, without = (Run(quorum=quorum, staleness=staleness, grace=grace) for grace in (GRACE, 0.0))
    for run in (with_, without):
        run.checkout(*"abc")
    since: float | None = None
    now = 0.0
    for what, worker, seconds in steps:
        for run in (with_, without):
            run.now = now
            if what == "commit":
                run.commit(worker)
            elif what == "leave":
                run.presence.leave(worker)
        plain, graced = without.due(now), with_.due(now)
        assert not (graced and not plain)
        if plain and since is None:
            since = now
        if plain and since is not None and now - since >= GRACE:
            assert graced
        now += seconds


@pytest.mark.parametrize("quorum", [None, 1])
def test_grace_costs_versions_and_no_work(quorum: int | None) -> None:
    plain, graced = (
        simulate(RoundConfig(grace_seconds=grace, quorum=quorum), workers=8, seconds=1200.0)
        for grace in (0.0, 5.0)
    )
    assert min(plain.of_ideal, graced.of_ideal) >= 0.97
    assert plain.refused == graced.refused == 0
    assert graced.accepted / graced.versions > 1.2 * plain.accepted / plain.versions
