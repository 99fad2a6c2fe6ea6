"""Trimmed mean and median: nobody alone moves them beyond the others, and nothing disappears without a name."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.engine import left_out, merge
from chronos_common.engine import merge as mean_of
from chronos_common.tensors import Arrays
from chronos_common.versions import (
    HYPERGRADIENT,
    KINDS,
    MERGES,
    PARAMETER_DELTA,
    Accepted,
    Commit,
    RoundConfig,
    RoundState,
    join,
    record,
)

State = RoundState[Arrays]
ROBUST = [
    RoundConfig(merge="trimmed_mean"),
    RoundConfig(merge="trimmed_mean", trim=0.3),
    RoundConfig(merge="median"),
]
MEDIAN, TRIMMED = RoundConfig(merge="median"), RoundConfig(merge="trimmed_mean")
names = st.integers(0, 9).map("abcdefghij".__getitem__)
numbers = st.integers(-50, 50)


def commit(
    state: State,
    worker: str,
    values: Sequence[float] | None,
    work: float = 1.0,
    weight: float = 1.0,
    dtype: str = "float64",
) -> State:
    state = join(state, worker)
    last = state.chains[worker].last_applied
    update = None
    if values is not None:
        update = {"v": np.array([values], dtype=dtype), "s": np.asarray(values[0], dtype=dtype)}
    made: Commit[Arrays] = Commit(
        worker_id=worker, incarnation=1, seq=last + 1, prev_applied=last, base=0, work=work, update=update
    )
    return record(state, Accepted(commit=made, staleness=0, weight=weight))


def round_of(*values: Sequence[float] | None, **fields: Any) -> State:
    """Worker ``a`` contributes the first values, ``b`` the second, and so on."""
    state: State = RoundState()
    for worker, row in zip("abcdefghij", values, strict=False):
        state = commit(state, worker, row, **fields)
    return state


def merged(state: State, rounds: RoundConfig, kind: str = HYPERGRADIENT) -> np.ndarray[Any, Any]:
    found = merge(state, kind, rounds)
    assert found is not None
    assert found["v"].shape == (1, found["v"].size)
    assert found["s"].shape == ()
    assert found["s"] == found["v"][0, 0]
    return found["v"][0]


def test_each_coordinate_by_itself() -> None:
    state = round_of([1, 30], [2, 10], [9, 20])
    assert merged(state, MEDIAN).tolist() == [2, 20]
    assert merged(state, TRIMMED).tolist() == [2, 20]
    assert merged(state, MEDIAN, PARAMETER_DELTA).tolist() == [-2, -20]
    assert merged(state, RoundConfig()).tolist() == [4, 20]


@pytest.mark.parametrize(("workers", "trim", "kept"), [(3, 0.1, 1), (5, 0.4, 1), (9, 0.1, 7), (10, 0.3, 4)])
def test_at_least_one_is_trimmed_at_each_end_and_always_one_is_left(
    workers: int, trim: float, kept: int
) -> None:
    values = [[float(2**place)] for place in range(workers)]
    cut = (workers - kept) // 2
    expected = sum(2.0**place for place in range(cut, workers - cut)) / kept
    rounds = RoundConfig(merge="trimmed_mean", trim=trim)
    assert merged(round_of(*values), rounds)[0] == pytest.approx(expected)


def test_two_in_the_middle_are_averaged_without_overflow() -> None:
    most = float(np.finfo(np.float64).max)
    assert merged(round_of([-most], [most], [most], [most]), MEDIAN)[0] == most
    assert merged(round_of([1], [2], [4], [100]), MEDIAN)[0] == 3


@pytest.mark.parametrize("rounds", ROBUST)
def test_below_three_workers_it_is_the_mean(rounds: RoundConfig) -> None:
    state = round_of([1.1, 7], [2.3, -1])
    found, mean = merge(state, HYPERGRADIENT, rounds), mean_of(state, HYPERGRADIENT)
    assert found is not None
    assert mean is not None
    assert found["v"].tobytes() == mean["v"].tobytes()
    assert left_out(state, HYPERGRADIENT, rounds) == {}


@given(
    rounds=st.sampled_from(ROBUST),
    kind=st.sampled_from(KINDS),
    workers=st.integers(1, 8),
    value=st.floats(-1e6, 1e6),
    work=st.sampled_from([1.0, 0.5, 0.3]),
)
def test_of_equals_it_is_the_mean(
    rounds: RoundConfig, kind: str, workers: int, value: float, work: float
) -> None:
    state = round_of(*[[value, -value]] * workers, work=work)
    np.testing.assert_allclose(
        merged(state, rounds, kind), merged(state, RoundConfig(), kind), rtol=1e-12, atol=1e-300
    )


@given(
    rounds=st.sampled_from(ROBUST),
    kind=st.sampled_from(KINDS),
    honest=st.lists(st.tuples(numbers, numbers), min_size=2, max_size=7),
    outlier=st.tuples(*[st.sampled_from([-1e300, -60.0, 0.0, 60.0, 1e300])] * 2),
    place=st.integers(0, 7),
    work=st.sampled_from([1.0, 0.1]),
)
def test_nobody_alone_moves_it_beyond_the_others(
    rounds: RoundConfig,
    kind: str,
    honest: list[tuple[int, int]],
    outlier: tuple[float, float],
    place: int,
    work: float,
) -> None:
    rows: list[Any] = [*honest]
    rows.insert(place, outlier)
    state = round_of(*rows, work=work)
    sign = 1 if kind == HYPERGRADIENT else -1
    found = sign * merged(state, rounds, kind)
    others = np.array(honest, dtype=np.float64)
    assert (found >= others.min(axis=0) - 1e-9).all()
    assert (found <= others.max(axis=0) + 1e-9).all()


@given(
    rounds=st.sampled_from(ROBUST),
    rows=st.lists(
        st.tuples(
            names, st.none() | st.tuples(st.floats(-9, 9), st.floats(-9, 9)), st.sampled_from([1.0, 0.4])
        ),
        min_size=1,
        max_size=10,
        unique_by=lambda row: row[0],
    ),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_changes_no_bit(rounds: RoundConfig, rows: list[Any], random: Any) -> None:
    if len(rows) < 3 or all(values is None for _, values, _ in rows):
        return
    other = random.sample(rows, len(rows))
    states: list[State] = []
    for order in (rows, other):
        state: State = RoundState()
        for worker, values, work in order:
            state = commit(state, worker, values, work)
        states.append(state)
    one, two = (merge(state, HYPERGRADIENT, rounds) for state in states)
    assert one is not None
    assert two is not None
    assert one["v"].tobytes() == two["v"].tobytes()


@pytest.mark.parametrize("rounds", ROBUST)
def test_it_matters_not_who_has_which_value(rounds: RoundConfig) -> None:
    values = [[0.1, 5], [0.7, 3], [-2, 3], [0.7, 11]]
    found = {merged(round_of(*order), rounds).tobytes() for order in itertools.permutations(values)}
    assert len(found) == 1


def test_the_trimmed_mean_weighs_the_rest_by_work_and_the_median_does_not() -> None:
    state = round_of([0], [9])
    state = commit(commit(state, "c", [4], work=0.5), "d", [1])
    assert merged(state, TRIMMED)[0] == pytest.approx((4 * 0.5 + 1) / 1.5)
    assert merged(state, MEDIAN)[0] == 2.5


def test_ties_go_by_worker_id() -> None:
    """Equal values of unequal work: which of them is kept decides what the third one weighs beside it."""
    state = commit(commit(commit(commit(RoundState(), "b", [3], 0.5), "a", [3]), "d", [7]), "c", [5])
    assert merged(state, TRIMMED)[0] == pytest.approx((3 * 0.5 + 5) / 1.5)


def test_inside_a_worker_it_is_as_ever_and_staleness_stays_on() -> None:
    state = commit(commit(round_of([4], [4]), "c", [8], work=0.5, weight=0.5), "c", [2])
    inside = (0.5 * 0.5 * 8 + 2) / 1.5
    assert merged(state, MEDIAN)[0] == 4
    assert merged(commit(state, "b", [0], work=1.0, weight=1.0), MEDIAN)[0] == pytest.approx(inside)
    assert merged(round_of([8], [8], [8], weight=0.25), MEDIAN)[0] == 2


def test_skips_are_among_the_values_with_nothing() -> None:
    assert merged(round_of([6], None, [3]), MEDIAN)[0] == 3
    assert merged(round_of([6], None, None), MEDIAN)[0] == 0
    assert merge(round_of(None, None, None), HYPERGRADIENT, MEDIAN) is None
    assert left_out(round_of(None, None, None), HYPERGRADIENT, MEDIAN) == {}


@pytest.mark.parametrize("rounds", ROBUST)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_parameters_are_merged_in_parts_and_alike(
    rounds: RoundConfig, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal(1000).tolist() for _ in range(5)]
    state = round_of(*rows, dtype=dtype)
    whole = merged(state, rounds), left_out(state, HYPERGRADIENT, rounds)["v"]
    monkeypatch.setattr(sys.modules["chronos_common.engine.merge"], "CHUNK", 7)
    parts = merged(state, rounds), left_out(state, HYPERGRADIENT, rounds)["v"]
    assert whole[0].dtype == dtype
    for one, other in zip(whole, parts, strict=True):
        assert one.tobytes() == other.tobytes()
    if rounds.merge == "median":
        np.testing.assert_array_equal(whole[0], np.median(np.array(rows, dtype=dtype), axis=0))


def test_parameters_without_values_merge_to_themselves() -> None:
    state: State = RoundState()
    for worker in "abc":
        state = commit(state, worker, [1.0])
    empty = tuple(replace(a, commit=replace(a.commit, update={"e": np.zeros((2, 0))})) for a in state.buffer)
    found = merge(replace(state, buffer=empty), HYPERGRADIENT, MEDIAN)
    assert found is not None
    assert found["e"].shape == (2, 0)


@given(
    rounds=st.sampled_from([RoundConfig(), *ROBUST]),
    kind=st.sampled_from(KINDS),
    rows=st.lists(
        st.tuples(
            names,
            st.none() | st.tuples(numbers, numbers),
            st.sampled_from([1.0, 0.5]),
            st.sampled_from([1.0, 0.25]),
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_what_a_merge_leaves_out_is_named(rounds: RoundConfig, kind: str, rows: list[Any]) -> None:
    """Per coordinate the weighted updates of the kept and of the left out are those of all."""
    state: State = RoundState()
    for worker, values, work, weight in rows:
        state = commit(state, worker, values, work, weight)
    lost = left_out(state, kind, rounds)
    workers = sorted({worker for worker, *_ in rows})
    if rounds.merge == "mean" or len(workers) < 3:
        assert lost == {}
        return
    if all(values is None for _, values, _, _ in rows):
        return
    cut = (len(workers) - 1) // 2
    if rounds.merge == "trimmed_mean":
        cut = min(cut, max(1, int((rounds.trim or 0.1) * len(workers))))
    for place in range(2):
        contributed, mass = [], {}
        for worker in workers:
            own = [row for row in rows if row[0] == worker]
            done = sum(work for *_, work, _ in own)
            mass[worker] = sum(weight * v[place] for _, v, _, weight in own if v is not None)
            value = sum(weight * work / done * v[place] for _, v, work, weight in own if v is not None)
            contributed.append((-mass[worker] if kind == PARAMETER_DELTA else value, worker))
        contributed.sort()
        gone = contributed[:cut] + contributed[len(workers) - cut :]
        # Sums that are equal but for rounding may be sorted otherwise.
        gaps = {round(a[0] - b[0], 12) for a, b in itertools.pairwise(contributed)}
        if 0.0 not in gaps:
            assert lost["v"][0, place] == pytest.approx(sum(mass[worker] for _, worker in gone))


def test_every_merge_has_its_code() -> None:
    state = round_of([1.0], [2.0], [30.0])
    found = {name: float(merged(state, RoundConfig(merge=name))[0]) for name in MERGES}
    assert found == {"mean": 11.0, "trimmed_mean": 2.0, "median": 2.0}
