"""When a version is due: quorum of the living, deferral, deadlines, restarts, waits."""

from __future__ import annotations

import pytest

from chronos_common.versions import (
    Accepted,
    Commit,
    Lease,
    LeaseConfig,
    MustWait,
    Presence,
    RoundConfig,
    RoundState,
    advance,
    join,
    record,
)

LEASE = 10.0
LEASES = LeaseConfig(initial_seconds=LEASE, min_seconds=1.0, max_seconds=100.0)


class Run:
    """A presence and the round state next to it."""

    def __init__(self, *, quorum: int | None = None, staleness: int = 2) -> None:
        config = RoundConfig(quorum=quorum, max_staleness=staleness, max_in_flight=staleness + 1)
        self.presence = Presence(config, LEASES)
        self.state: RoundState[str] = RoundState()

    def checkout(self, worker: str, now: float = 0.0) -> Lease | MustWait:
        self.state = join(self.state, worker)
        return self.presence.admit(worker, self.state, now)

    def commit(self, worker: str, now: float = 0.0, base: int | None = None) -> None:
        at = self.state.version if base is None else base
        last = self.state.chains[worker].last_applied
        commit = Commit(worker_id=worker, incarnation=1, seq=last + 1, prev_applied=last, base=at, update="u")
        self.state = record(
            self.state, Accepted(commit=commit, staleness=self.state.version - at, weight=1.0)
        )
        self.presence.settle(worker, at, 1.0, now)

    def due(self, now: float = 0.0) -> bool:
        return self.presence.due(self.state, now)

    def publish(self, now: float = 0.0) -> None:
        assert self.due(now)
        self.state = advance(self.state)

    def quorum(self, now: float = 0.0) -> int:
        return self.presence.effective_quorum(self.state, now)


def test_nothing_is_published_out_of_nothing() -> None:
    run = Run(quorum=1)
    run.checkout("a")
    assert not run.due()


def test_quorum_counts_distinct_workers() -> None:
    run = Run(quorum=2)
    run.checkout("a")
    run.checkout("b")
    run.commit("a")
    run.commit("a")
    assert not run.due()
    run.commit("b")
    assert run.due()


@pytest.mark.parametrize(("live", "quorum"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_default_quorum_is_half_of_the_live_rounded_up(live: int, quorum: int) -> None:
    run = Run()
    for number in range(live):
        run.checkout(f"w{number}")
    assert run.quorum() == quorum
    assert len(run.presence.live) == live


def test_quorum_follows_joins_leaves_and_expiry() -> None:
    run = Run(quorum=3)
    for worker in "abc":
        run.checkout(worker)
    assert run.quorum() == 3
    run.commit("a")
    run.presence.leave("b")
    assert run.quorum() == 2
    assert not run.due()
    run.commit("c", now=1.0)
    assert run.due(1.0)
    run.checkout("b", now=1.0)
    assert run.quorum(1.0) == 3
    assert run.quorum(LEASE + 1.0) == 1


def test_a_hung_worker_delays_nobody_beyond_its_deadline_whatever_it_says() -> None:
    run = Run(quorum=2)
    run.checkout("good")
    run.checkout("hung")
    run.commit("good")
    for tick in range(int(LEASE)):
        run.presence.announce("hung", 0, run.state, float(tick))
        run.presence.spoke("hung", float(tick))
        assert not run.due(float(tick))
    assert run.due(LEASE)


def test_a_worker_that_asks_again_gets_no_more_time() -> None:
    run = Run(quorum=2)
    run.checkout("good")
    run.checkout("failing")
    run.commit("good")
    again = run.checkout("failing", now=4.0)
    assert isinstance(again, Lease)
    assert again.deadline == LEASE
    assert run.due(LEASE)


def test_who_let_a_lease_run_out_is_not_counted_on_until_it_commits() -> None:
    run = Run(quorum=2)
    run.checkout("good")
    run.checkout("failing")
    run.commit("good")
    run.publish(LEASE)
    fresh = run.checkout("failing", now=LEASE)
    assert isinstance(fresh, Lease)
    assert fresh.deadline == 2 * LEASE
    run.checkout("good", now=LEASE)
    assert run.quorum(LEASE) == 1
    run.commit("failing", now=LEASE + 1)
    assert run.quorum(LEASE + 1) == 2


def test_a_lease_that_ran_out_pins_nothing_and_the_late_commit_counts() -> None:
    run = Run(quorum=1, staleness=1)
    run.checkout("slow")
    run.checkout("fast")
    run.commit("fast")
    run.publish()
    run.commit("fast", now=1.0)
    assert not run.due(1.0), "slow would be two behind"
    assert run.presence.next_event(1.0) == LEASE
    run.publish(LEASE)
    run.commit("slow", now=LEASE + 1, base=1)
    assert "slow" in run.presence.active(LEASE + 1)


def test_a_commit_ends_the_deferral() -> None:
    run = Run(quorum=1, staleness=0)
    run.checkout("a")
    run.checkout("b")
    run.commit("a")
    assert not run.due()
    run.commit("b")
    assert run.due()


def test_a_lease_on_another_base_survives_a_commit() -> None:
    run = Run(quorum=1)
    run.checkout("a")
    run.commit("a")
    run.publish()
    run.checkout("a", now=1.0)
    run.commit("a", now=2.0, base=0)
    assert run.presence.lease("a") is not None
    assert run.presence.next_event(2.0) == 1.0 + LEASE


def test_a_barrier_makes_progress_although_workers_take_turns() -> None:
    run = Run(quorum=2, staleness=0)
    run.checkout("a")
    run.checkout("b")
    run.commit("a")
    assert isinstance(run.checkout("a"), Lease), "the round is open: working again is allowed"
    run.commit("b")
    assert isinstance(run.checkout("b"), MustWait), "a complete round grants nothing"
    run.presence.waits("b")
    run.commit("a")
    assert run.due()


def test_a_waiting_worker_is_expected_nowhere() -> None:
    run = Run(quorum=2)
    run.checkout("a")
    run.checkout("b")
    run.commit("a")
    run.presence.waits("b")
    assert run.presence.lease("b") is None
    assert run.due()
    run.presence.stop_waiting("b", 1.0)
    assert not run.due(1.0)
    assert run.due(1.0 + LEASE)


def test_a_waiting_worker_that_contributed_still_counts() -> None:
    run = Run(quorum=2)
    run.checkout("a")
    run.checkout("b")
    run.commit("a")
    run.presence.waits("a")
    assert run.quorum() == 2
    assert not run.due(LEASE - 1)


def test_stopping_a_wait_that_was_none_changes_nothing() -> None:
    run = Run()
    run.checkout("a")
    run.presence.stop_waiting("a", 5.0)
    run.presence.stop_waiting("stranger", 5.0)
    assert run.presence.live == ("a",)
    assert run.presence.active(LEASE) == frozenset()


# --- restart -----------------------------------------------------------------------------------------


def restarted(known: str) -> Run:
    run = Run(quorum=1)
    for worker in known:
        run.state = join(run.state, worker)
    run.state = record(
        run.state,
        Accepted(
            commit=Commit(worker_id="a", incarnation=1, seq=1, prev_applied=0, base=0, update="u"),
            staleness=0,
            weight=1.0,
        ),
    )
    run.presence.restarted(known, 100.0)
    return run


def test_after_a_restart_publishing_waits_one_lease_time() -> None:
    run = restarted("ab")
    assert not run.due(100.0)
    assert run.presence.next_event(100.0) == 100.0 + LEASE
    assert run.due(100.0 + LEASE)


def test_after_a_restart_publishing_goes_on_when_all_have_announced() -> None:
    run = restarted("abc")
    run.presence.announce("a", 0, run.state, 101.0)
    run.checkout("b", now=101.0)
    assert not run.due(101.0)
    run.presence.leave("c")
    assert run.due(101.0)


def test_announced_bases_are_leases_again() -> None:
    run = restarted("a")
    run.state = RoundState(version=2, chains=run.state.chains, buffer=run.state.buffer)
    run.presence.announce("a", 0, run.state, 101.0)
    assert not run.due(101.0), "the version would leave base 0 three behind"
    assert run.due(100.0 + LEASE)


@pytest.mark.parametrize("base", [-1, 3, 99])
def test_announcing_a_base_that_is_lost_or_unknown_pins_nothing(base: int) -> None:
    run = restarted("a")
    run.state = RoundState(version=2, chains=run.state.chains, buffer=run.state.buffer)
    run.presence.announce("a", base, run.state, 101.0)
    assert run.presence.lease("a") is None
    assert run.due(101.0)


def test_announcing_twice_extends_nothing() -> None:
    run = restarted("ab")
    for now in (101.0, 105.0, 109.0):
        run.presence.announce("a", 0, run.state, now)
    lease = run.presence.lease("a")
    assert lease is not None
    assert lease.deadline == 100.0 + LEASE


def test_without_known_workers_nothing_is_held_back() -> None:
    run = Run(quorum=1)
    run.presence.restarted([], 100.0)
    run.checkout("a", now=100.0)
    run.commit("a", now=100.0)
    assert run.due(100.0)


def test_nothing_to_come_means_no_event() -> None:
    run = Run()
    assert run.presence.next_event(0.0) is None
    run.checkout("a")
    run.presence.waits("a")
    assert run.presence.next_event(0.0) is None


def test_max_in_flight_bounds_distinct_bases() -> None:
    config = RoundConfig(max_staleness=0, max_in_flight=1)
    presence = Presence(config, LEASES)
    state: RoundState[str] = RoundState(version=1)
    presence.admit("a", RoundState(version=0), 0.0)
    assert isinstance(presence.admit("b", state, 1.0), MustWait)
    assert isinstance(presence.admit("a", state, 1.0), Lease), "its own old lease is given up"
    assert isinstance(presence.admit("b", state, 1.0), Lease)
