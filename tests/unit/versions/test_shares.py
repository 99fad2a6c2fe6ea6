"""What each worker counts in a version, and the books that are kept of it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.errors import ConfigurationError
from chronos_common.versions import (
    HYPERGRADIENT,
    KINDS,
    PARAMETER_DELTA,
    Accepted,
    BoundedVersionQueue,
    Commit,
    RoundConfig,
    RoundState,
    advance,
    join,
    record,
    shares,
)

State = RoundState[str]
INVERSE = RoundConfig(weighting="inverse_participation", participation_window=4)


def take(state: State, worker: str, work: float = 1.0, *, weight: float = 1.0, skip: bool = False) -> State:
    state = join(state, worker)
    last = state.chains[worker].last_applied
    commit = Commit(
        worker_id=worker,
        incarnation=1,
        seq=last + 1,
        prev_applied=last,
        base=state.version,
        work=work,
        update=None if skip else "u",
    )
    return record(state, Accepted(commit=commit, staleness=0, weight=weight))


def rounds_of(*rounds: str, config: RoundConfig = INVERSE) -> State:
    """The state in which the last of these rounds is open; a round is a string of workers."""
    state: State = RoundState()
    for number, workers in enumerate(rounds):
        if number:
            state = advance(state, config)
        for worker in workers:
            state = take(state, worker)
    return state


def test_by_work_a_half_counts_half_and_more_than_one_counts_one() -> None:
    state = take(take(take(take(RoundState(), "a", 0.5), "b"), "b"), "c", skip=True)
    assert shares(state) == {"a": 0.2, "b": 0.4, "c": 0.4}
    assert list(shares(state)) == ["a", "b", "c"]
    assert shares(state, RoundConfig(), PARAMETER_DELTA) == pytest.approx(dict.fromkeys("abc", 1 / 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("work", [1.0, 0.5, 0.3])
def test_who_contribute_alike_count_alike_whatever_the_weighting(kind: str, work: float) -> None:
    state: State = RoundState()
    for _ in range(9):
        for worker in "abc":
            state = take(state, worker, work)
        assert shares(state, INVERSE, kind) == pytest.approx(shares(state, RoundConfig(), kind))
        state = advance(state, INVERSE, kind)


def test_a_lone_worker_is_the_version_bit_for_bit() -> None:
    state: State = RoundState()
    for work in (1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        state = take(state, "a", work)
        assert shares(state, INVERSE) == {"a": 1.0}
        state = advance(state, INVERSE)


def test_every_third_version_counts_three_times() -> None:
    config = RoundConfig(weighting="inverse_participation", participation_window=6)
    state = rounds_of("ab", "a", "a", "ab", "a", "a", "ab", config=config)
    found = shares(state, config)
    assert found == {"a": 0.5, "b": pytest.approx(1.5)}


@given(period=st.integers(1, 3), window=st.integers(1, 5), start=st.integers(0, 2))
def test_over_a_window_everybody_adds_up_to_the_same(period: int, window: int, start: int) -> None:
    """Horvitz and Thompson: what is seen in one of ``period`` versions stands for ``period``."""
    config = RoundConfig(weighting="inverse_participation", participation_window=3 * period * window)
    state = rounds_of(*["ab" if i % period == start % period else "a" for i in range(200)], config=config)
    total = {"a": 0.0, "b": 0.0}
    for i in range(200, 200 + period * window):
        state = advance(state, config)
        for worker in "ab" if i % period == start % period else "a":
            state = take(state, worker)
        for worker, share in shares(state, config).items():
            total[worker] += share
    assert total == {w: pytest.approx(period * window / 2) for w in "ab"}


def test_only_the_window_counts() -> None:
    state = rounds_of("b", "b", "b", "b", "ab", "ab", "ab", "ab")
    assert shares(state, INVERSE) == {"a": 0.5, "b": 0.5}
    assert len(state.recent) == 3
    assert len(advance(state, INVERSE).recent) == 3


def test_a_newcomer_is_not_taken_for_somebody_rare() -> None:
    state = rounds_of("a", "a", "a", "a", "ab")
    found = shares(state, INVERSE)
    assert found["b"] == found["a"]


@pytest.mark.parametrize("work", [1.0, 0.01, 5e-324])
def test_who_was_away_or_does_scraps_of_work_does_not_leap(work: float) -> None:
    config = RoundConfig(
        max_staleness=0, max_in_flight=1, weighting="inverse_participation", participation_window=64
    )
    state = take(rounds_of("ab", *["a"] * 100, config=config), "b", work)
    found = shares(state, config)
    assert 0.0 <= found["b"] <= 2.0 * work * found["a"] * (1 + 1e-9)


def test_shares_do_not_depend_on_the_order_of_arrival() -> None:
    config = RoundConfig(
        max_staleness=0, max_in_flight=1, weighting="inverse_participation", participation_window=4
    )
    work = dict(zip("abcdefgh", (0.1, 0.7, 0.3, 0.07, 1.0, 0.013, 0.35, 0.21), strict=True))
    found = []
    for order in ("abcdefgh", "hgfedcba", "cgahbdfe"):
        state: State = RoundState()
        for number, missing in enumerate(("", "ae", "bcg", "")):
            state = advance(state, config) if number else state
            for worker in order:
                if worker not in missing:
                    state = take(state, worker, work[worker])
        found.append(shares(state, config))
    assert found[0] == found[1] == found[2]


def literal(history: list[dict[str, float]], state: State, config: RoundConfig) -> dict[str, Fraction]:
    """The formula, in exact arithmetic."""
    window = history[-config.counted_versions :]
    seen = {worker for amounts in window for worker in amounts}
    mass = {w: sum((Fraction(a.get(w, 0)) for a in window), Fraction(0)) for w in seen}
    joined = {w: min(len(window), state.version + 1 - state.chains[w].joined) for w in seen}
    boost = {w: min(joined[w] / mass[w], Fraction(2 * (config.max_staleness + 1))) for w in seen}
    average = sum((boost[w] * mass[w] for w in seen), Fraction(0)) / len(window)
    return {w: Fraction(amount) * boost[w] / average for w, amount in history[-1].items()}


@given(
    history=st.lists(
        st.dictionaries(st.sampled_from("abcd"), st.sampled_from([1.0, 0.5, 0.25, 0.01]), min_size=1),
        min_size=1,
        max_size=12,
    ),
    staleness=st.integers(0, 2),
    window=st.integers(3, 6),
)
def test_shares_are_the_formula(history: list[dict[str, float]], staleness: int, window: int) -> None:
    config = RoundConfig(
        max_staleness=staleness, weighting="inverse_participation", participation_window=window
    )
    state: State = RoundState()
    for number, amounts in enumerate(history):
        state = advance(state, config) if number else state
        for worker, work in amounts.items():
            state = take(state, worker, work)
    expected = literal(history, state, config)
    assert shares(state, config) == {
        w: pytest.approx(float(share), rel=1e-12) for w, share in expected.items()
    }


# --- the books ---------------------------------------------------------------------------------------


def test_effective_weight_is_the_influence_on_published_versions() -> None:
    state = take(take(take(RoundState(), "a", 0.5, weight=0.5), "b", skip=True), "c")
    assert all(chain.effective_weight == 0.0 for chain in state.chains.values())
    after = advance(state)
    assert {w: c.effective_weight for w, c in after.chains.items()} == {"a": 0.25, "b": 0.0, "c": 1.0}
    again = advance(take(take(after, "c", weight=0.5), "c"), RoundConfig(), HYPERGRADIENT)
    assert again.chains["c"].effective_weight == 1.75
    delta = advance(take(take(after, "c", weight=0.5), "c"), RoundConfig(), PARAMETER_DELTA)
    assert delta.chains["c"].effective_weight == 2.5


def test_inverse_participation_shows_in_the_effective_weight() -> None:
    config = RoundConfig(weighting="inverse_participation", participation_window=30)
    state = advance(rounds_of(*["ab", "a", "a"] * 30, config=config), config)
    for worker in "ab":
        assert state.chains[worker].effective_weight / state.version == pytest.approx(1.0, abs=0.1)


def test_without_use_nothing_is_remembered() -> None:
    assert rounds_of("ab", "a", "ab", config=RoundConfig()).recent == ()


@pytest.mark.parametrize(
    "rounds", [RoundConfig(merge="median"), RoundConfig(weighting="inverse_participation")]
)
def test_a_queue_that_merges_by_a_function_takes_no_other_merge(rounds: RoundConfig) -> None:
    with pytest.raises(ConfigurationError, match="by the function it was given"):
        BoundedVersionQueue(0, lambda value, _: value, rounds=rounds)
