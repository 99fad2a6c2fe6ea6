"""Predicted work: shares that follow speed, leases by a worker's own time, stragglers, and what a probe is worth."""

from __future__ import annotations

import random

import pytest

from chronos_common.engine import fold
from chronos_common.engine.pacing import LEAST_SHARE, Pacer
from chronos_common.errors import ConfigurationError
from chronos_common.versions import (
    Accepted,
    Commit,
    Expectation,
    LeaseConfig,
    MustWait,
    Presence,
    RoundConfig,
    RoundState,
    join,
    record,
)
from tests.support.runs import LEASE_SECONDS, Client, config


def taught(
    speeds: dict[str, float], *, proportional: bool = True, loops: int = 30, noise: float = 0.05
) -> Pacer:
    """A pacer that has seen workers whose inner loops take so many seconds."""
    pacer, chance = Pacer(proportional=proportional), random.Random(0)
    for _ in range(loops):
        for worker, seconds in speeds.items():
            pacer.observe(worker, 1.0, seconds * chance.lognormvariate(0.0, noise))
    return pacer


def test_shares_are_in_proportion_to_speed() -> None:
    pacer = taught({"fast": 10.0, "middle": 20.0, "slow": 40.0})
    live = ("fast", "middle", "slow")
    assert pacer.share("fast", live) == pytest.approx(1.0, abs=0.05)
    assert pacer.share("middle", live) == pytest.approx(0.5, abs=0.05)
    assert pacer.share("slow", live) == pytest.approx(0.25, abs=0.05)
    assert pacer.share("slow", ("slow",)) == 1.0


def test_nobody_is_given_less_than_is_worth_a_message() -> None:
    pacer = taught({"fast": 1.0, "crawling": 1000.0})
    assert pacer.share("crawling", ("fast", "crawling")) == LEAST_SHARE


def test_uniform_pacing_shares_nothing_out() -> None:
    pacer = taught({"fast": 10.0, "slow": 40.0}, proportional=False)
    assert pacer.share("slow", ("fast", "slow")) == 1.0
    assert pacer.view("slow", ("fast", "slow")).actual_seconds > 0.0


def test_a_band_holds_what_it_promises() -> None:
    pacer, chance = taught({"w": 10.0}, loops=60), random.Random(1)
    expected = pacer.expect("w")
    assert expected is not None
    assert expected.p50 == pytest.approx(10.0, rel=0.05)
    below = sum(10.0 * chance.lognormvariate(0.0, 0.05) <= expected.p95 for _ in range(2000))
    assert 0.90 <= below / 2000 <= 0.99


def test_a_straggler_is_above_its_own_band_not_slower_than_others() -> None:
    pacer = taught({"fast": 10.0, "slow": 40.0})
    assert not pacer.straggling("slow")
    pacer.observe("fast", 1.0, 25.0)
    assert not pacer.straggling("fast")
    pacer.observe("fast", 1.0, 25.0)
    assert pacer.straggling("fast")
    pacer.observe("fast", 1.0, 10.0)
    assert not pacer.straggling("fast")


def test_a_probed_newcomer_is_compared_with_the_others() -> None:
    pacer = Pacer(proportional=True)
    pacer.introduce("old", 2.0)
    for _ in range(5):
        pacer.observe("old", 1.0, 10.0)
    assert pacer.expect("new") is None
    pacer.introduce("new", 6.0)
    expected = pacer.expect("new")
    assert expected is not None
    assert expected.p50 == pytest.approx(30.0, rel=0.01)
    assert expected.p95 > 2 * expected.p50
    pacer.leave("new")
    assert pacer.expect("new") is None


def paced(**rounds: object) -> Client:
    """A barrier run of two whose first versions have shown that one takes four times as long."""
    client = Client(config(quorum=2, max_staleness=0, once_per_version=True, pacing="predicted", **rounds))
    for _ in range(4):
        began = client.now
        shares = {}
        for worker in ("fast", "slow"):
            answer = client.checkout(worker)
            assert not isinstance(answer, MustWait)
            shares[worker] = answer.work_share
        ends = sorted(
            (began + seconds * shares[worker], worker) for worker, seconds in (("fast", 1.0), ("slow", 4.0))
        )
        for client.now, worker in ends:
            client.commit(worker, work=shares[worker])
    return client


def test_a_run_hands_out_shares_and_leases_by_prediction() -> None:
    client = paced()
    fast, slow = client.checkout("fast"), client.checkout("slow")
    assert not isinstance(fast, MustWait)
    assert not isinstance(slow, MustWait)
    assert fast.work_share == pytest.approx(1.0, abs=0.01)
    assert slow.work_share == pytest.approx(0.25, abs=0.02)
    expected = client.engine.pacer.expect("slow", slow.work_share)
    assert expected is not None
    assert slow.work_seconds == pytest.approx(max(1.0, 1.25 * expected.p95))
    assert slow.work_seconds < LEASE_SECONDS


def test_a_grace_ends_with_the_predicted_band() -> None:
    leases = LeaseConfig(initial_seconds=LEASE_SECONDS, max_seconds=600.0)
    presence = Presence(RoundConfig(quorum=1, grace_seconds=300.0, pacing="predicted"), leases)
    state = join(join(RoundState[str](), "fast"), "slow")
    presence.admit("fast", state, 0.0, Expectation(p50=1.0, p95=1.2))
    presence.admit("slow", state, 0.0, Expectation(p50=40.0, p95=50.0))
    commit = Commit(worker_id="fast", incarnation=1, seq=1, prev_applied=0, base=0, update="u")
    state = record(state, Accepted(commit=commit, staleness=0, weight=1.0))
    presence.settle("fast", 0, 1.0, 1.0)
    assert not presence.due(state, 1.0)
    assert not presence.due(state, 49.9)
    assert presence.next_event(49.9) == 50.0
    assert presence.due(state, 50.1)


def test_predictions_are_no_part_of_the_state() -> None:
    paced_, plain = (
        paced(),
        Client(config(quorum=2, max_staleness=0, once_per_version=True, pacing="predicted")),
    )
    state = plain.engine.state
    for event in paced_.events[1:]:
        state = fold(state, event)
    assert state.digest == paced_.engine.state.digest
    assert state.version == paced_.engine.state.version == 4


@pytest.mark.parametrize(("p50", "p95"), [(2.0, 1.0), (-1.0, 1.0), (1.0, float("inf")), (float("nan"), 1.0)])
def test_an_expectation_that_cannot_be_is_refused(p50: float, p95: float) -> None:
    with pytest.raises(ConfigurationError, match="p50"):
        Expectation(p50=p50, p95=p95)


def test_an_unknown_pacing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="pacing 'wild' is unknown"):
        RoundConfig(pacing="wild")
