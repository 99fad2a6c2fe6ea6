"""What the round machine decides on a commit, and in which order."""

from __future__ import annotations

import dataclasses
import math

import pytest

from chronos_common.errors import (
    ChainBrokenError,
    ChronosError,
    IncarnationSupersededError,
    InvalidRequestError,
    NonFiniteError,
    StaleCommitError,
    UnknownVersionError,
    WorkerNotMemberError,
)
from chronos_common.versions import (
    PARAMETER_DELTA,
    Accepted,
    Commit,
    Duplicate,
    RoundConfig,
    RoundState,
    advance,
    exponential_weight,
    join,
    judge,
    record,
)

CONFIG = RoundConfig(max_staleness=2, decay=0.5)
GOOD = Commit(worker_id="a", incarnation=2, seq=4, prev_applied=3, base=5, work=1.0, update="u")


def state_at(version: int = 5) -> RoundState[str]:
    """Worker ``a``, whose incarnation 1 had seq 3 applied with weight 0.5."""
    state: RoundState[str] = join(RoundState(version=version), "a")
    before = Commit(worker_id="a", incarnation=1, seq=3, prev_applied=0, base=version - 1, update="u")
    return advance(record(state, Accepted(commit=before, staleness=1, weight=0.5)))


def broken(update: str) -> None:
    raise NonFiniteError(f"{update} is not finite")


def decide(commit: Commit[str], *, check: bool = False, state: RoundState[str] | None = None) -> object:
    state = state if state is not None else state_at()
    return judge(state, commit, CONFIG, current_incarnation=2, check=broken if check else None)


# Every commit below breaks the rule that it names and every rule after it.
WRONG_CONTENT = dataclasses.replace(GOOD, work=2.0)
WRONG_BASE = dataclasses.replace(WRONG_CONTENT, base=3)
FUTURE_BASE = dataclasses.replace(WRONG_CONTENT, base=7)
WRONG_CHAIN = dataclasses.replace(WRONG_BASE, prev_applied=0)
WRONG_INCARNATION = dataclasses.replace(WRONG_CHAIN, incarnation=1)
STORED = dataclasses.replace(WRONG_INCARNATION, seq=3)
UNKNOWN_WORKER = dataclasses.replace(STORED, worker_id="b")


@pytest.mark.parametrize(
    ("commit", "error"),
    [
        (UNKNOWN_WORKER, WorkerNotMemberError),
        (WRONG_INCARNATION, IncarnationSupersededError),
        (WRONG_CHAIN, ChainBrokenError),
        (dataclasses.replace(WRONG_BASE, seq=3), ChainBrokenError),
        (dataclasses.replace(WRONG_BASE, prev_applied=9, seq=10), ChainBrokenError),
        (WRONG_BASE, StaleCommitError),
        (FUTURE_BASE, UnknownVersionError),
        (dataclasses.replace(WRONG_CONTENT, base=-1), UnknownVersionError),
        (WRONG_CONTENT, InvalidRequestError),
        (GOOD, NonFiniteError),
    ],
)
def test_rules_are_tried_in_order(commit: Commit[str], error: type[ChronosError]) -> None:
    with pytest.raises(error):
        decide(commit, check=True)


def test_the_stored_answer_comes_before_every_refusal() -> None:
    decision = decide(STORED, check=True)
    assert isinstance(decision, Duplicate)
    assert (decision.answer.staleness, decision.answer.weight) == (1, 0.5)


def test_a_stored_answer_belongs_to_one_incarnation() -> None:
    same_seq = dataclasses.replace(GOOD, seq=3, prev_applied=0)
    with pytest.raises(ChainBrokenError) as caught:
        decide(same_seq)
    assert caught.value.details == {"last_applied": 3, "incarnation": 1, "seq": 3}


@pytest.mark.parametrize(("base", "staleness", "weight"), [(6, 0, 1.0), (5, 1, 0.5), (4, 2, 0.25)])
def test_staleness_and_weight_are_the_servers(base: int, staleness: int, weight: float) -> None:
    decision = decide(dataclasses.replace(GOOD, base=base))
    assert isinstance(decision, Accepted)
    assert (decision.staleness, decision.weight) == (staleness, weight)


def test_stale_refusal_says_by_how_much() -> None:
    with pytest.raises(StaleCommitError) as caught:
        decide(dataclasses.replace(GOOD, base=3))
    assert caught.value.details == {"base": 3, "version": 6, "staleness": 3, "weight": 0.125}


def test_the_rule_of_the_run_weighs_and_a_refusal_says_what_it_would_have_weighed() -> None:
    state = state_at()
    for config, weights in (
        (RoundConfig(staleness_rule="polynomial", staleness_rate=1.0), [1.0, 0.5, 1 / 3, 0.25]),
        (RoundConfig(staleness_rule="smooth_cutoff", staleness_rate=0.0), [1.0, 0.75, 0.25, 0.0]),
    ):
        for staleness, weight in enumerate(weights[:3]):
            commit = dataclasses.replace(GOOD, base=6 - staleness)
            accepted = judge(state, commit, config, current_incarnation=2)
            assert isinstance(accepted, Accepted)
            assert accepted.weight == pytest.approx(weight, rel=1e-15)
        with pytest.raises(StaleCommitError) as caught:
            judge(state, dataclasses.replace(GOOD, base=3), config, current_incarnation=2)
        assert caught.value.details["weight"] == pytest.approx(weights[3], rel=1e-15)


@pytest.mark.parametrize("work", [0.0, -0.5, 1.0000001, math.nan, math.inf])
def test_work_is_a_share(work: float) -> None:
    with pytest.raises(InvalidRequestError, match="work"):
        decide(dataclasses.replace(GOOD, work=work))


def test_skips_are_not_examined() -> None:
    assert isinstance(decide(dataclasses.replace(GOOD, update=None), check=True), Accepted)


def test_a_delta_counts_up_to_the_cap() -> None:
    config = RoundConfig(max_local_work=2.0, decay=1.0)
    state: RoundState[str] = join(RoundState(), "a")
    weights = []
    for seq, work in enumerate([1.0, 0.5, 1.0, 1.0], start=1):
        commit = Commit(
            worker_id="a", incarnation=1, seq=seq, prev_applied=seq - 1, base=0, work=work, update="d"
        )
        decision = judge(state, commit, config, current_incarnation=1, kind=PARAMETER_DELTA)
        assert isinstance(decision, Accepted)
        weights.append(decision.weight)
        state = record(state, decision)
    assert weights == [1.0, 1.0, 0.5, 0.0]
    after = Commit(worker_id="a", incarnation=1, seq=5, prev_applied=4, base=1, update="d")
    decision = judge(advance(state), after, config, current_incarnation=1, kind=PARAMETER_DELTA)
    assert isinstance(decision, Accepted)
    assert decision.weight == 1.0


def test_states_are_immutable_values() -> None:
    before = state_at()
    accepted = Accepted(commit=GOOD, staleness=1, weight=0.5)
    after = record(before, accepted)
    assert before.buffer == ()
    assert before.chains["a"].last_applied == 3
    assert after.chains["a"].last_applied == 4
    assert after.contributors() == {"a"}
    assert join(after, "a") is after
    assert advance(after).version == after.version + 1
    with pytest.raises(TypeError):
        after.chains["a"] = after.chains["a"]  # type: ignore[index]


def test_a_worker_contributes_once_to_the_quorum() -> None:
    state = state_at()
    for seq in (4, 5):
        commit = dataclasses.replace(GOOD, seq=seq, prev_applied=seq - 1)
        state = record(state, Accepted(commit=commit, staleness=1, weight=0.5))
    assert len(state.buffer) == 2
    assert len(state.contributors()) == 1


def test_weights_are_products() -> None:
    assert exponential_weight(0, 0.3) == 1.0
    assert exponential_weight(3, 0.3) == 0.3 * 0.3 * 0.3
    assert exponential_weight(100, 1.0) == 1.0
    assert exponential_weight(5000, 0.5) == 0.0
