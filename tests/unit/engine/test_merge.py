"""The merge against a reference that follows the formula literally, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.engine import merge as merge_round
from chronos_common.tensors import Arrays
from chronos_common.versions import HYPERGRADIENT, KINDS, PARAMETER_DELTA, Accepted, Commit, RoundState

Row = tuple[str, int | None, float, float]


def accepted(
    worker: str, value: float | None, work: float, weight: float, dtype: str = "float64"
) -> Accepted[Arrays]:
    update = None
    if value is not None:
        update = {"m": np.array([[value], [2 * value]], dtype=dtype), "s": np.asarray(-value, dtype=dtype)}
    commit: Commit[Arrays] = Commit(
        worker_id=worker, incarnation=1, seq=1, prev_applied=0, base=0, work=work, update=update
    )
    return Accepted(commit=commit, staleness=0, weight=weight)


def merge(buffer: Sequence[Accepted[Arrays]], kind: str) -> Arrays | None:
    return merge_round(RoundState(buffer=tuple(buffer)), kind)


def reference(rows: Sequence[Row], kind: str) -> Fraction:
    total, mass = Fraction(0), Fraction(0)
    for worker in {row[0] for row in rows}:
        mine = [
            (Fraction(v or 0), Fraction(work), Fraction(weight)) for w, v, work, weight in rows if w == worker
        ]
        works = sum((work for _, work, _ in mine), Fraction(0))
        if kind == HYPERGRADIENT:
            omega = min(Fraction(1), works)
            total += omega * sum(work * weight * v for v, work, weight in mine) / works
        else:
            omega = Fraction(1)
            total -= sum(weight * v for v, _, weight in mine)
        mass += omega
    return total / mass


rows = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.none() | st.integers(-100, 100),
        st.sampled_from([1.0, 0.5, 0.3, 0.01, 1e-300]),
        st.sampled_from([1.0, 0.5, 0.1, 0.0]),
    ),
    min_size=1,
    max_size=8,
)


@given(rows=rows, kind=st.sampled_from(KINDS), dtype=st.sampled_from(["float32", "float64"]))
def test_merge_is_the_formula(rows: list[Row], kind: str, dtype: str) -> None:
    merged = merge([accepted(*row, dtype=dtype) for row in rows], kind)
    if all(value is None for _, value, _, _ in rows):
        assert merged is None
        return
    assert merged is not None
    expected = float(reference(rows, kind))
    tolerance = 1e-3 if dtype == "float32" else 1e-11
    assert merged["m"].shape == (2, 1)
    assert merged["s"].shape == ()
    for array, factor in ((merged["m"][0], 1), (merged["m"][1], 2), (merged["s"], -1)):
        assert array.dtype == dtype
        np.testing.assert_allclose(array, factor * expected, rtol=1e-5, atol=tolerance)


def test_one_worker_one_commit_is_the_update_itself() -> None:
    for work in (1.0, 0.3, 5e-324):
        merged = merge([accepted("a", 0.1, work, 1.0)], HYPERGRADIENT)
        assert merged is not None
        assert merged["m"].tolist() == [[0.1], [0.2]]


def test_decay_survives_when_all_are_equally_stale() -> None:
    merged = merge([accepted(w, 8.0, 1.0, 0.25) for w in "ab"], HYPERGRADIENT)
    assert merged is not None
    assert float(merged["s"]) == -2.0


def test_half_the_work_counts_half_and_twice_counts_once() -> None:
    merged = merge([accepted("a", 3.0, 0.5, 1.0), accepted("b", 0.0, 1.0, 1.0)], HYPERGRADIENT)
    assert merged is not None
    assert float(merged["s"]) == pytest.approx(-1.0)
    merged = merge(
        [accepted("a", 3.0, 1.0, 1.0), accepted("a", 3.0, 1.0, 1.0), accepted("b", 0.0, 1.0, 1.0)],
        HYPERGRADIENT,
    )
    assert merged is not None
    assert float(merged["s"]) == -1.5


def test_deltas_add_inside_a_worker_and_average_across() -> None:
    rows = [accepted("a", 1.0, 1.0, 1.0), accepted("a", 3.0, 1.0, 1.0), accepted("b", None, 1.0, 1.0)]
    merged = merge(rows, PARAMETER_DELTA)
    assert merged is not None
    assert float(merged["s"]) == 2.0


def test_the_order_of_arrival_is_the_order_of_addition() -> None:
    rows = [accepted("a", 1e16, 1.0, 1.0), accepted("b", 1.0, 1.0, 1.0), accepted("c", -1e16, 1.0, 1.0)]
    first, again = merge(rows, HYPERGRADIENT), merge(rows, HYPERGRADIENT)
    assert first is not None
    assert again is not None
    assert first["m"].tobytes() == again["m"].tobytes()


def test_inputs_are_left_alone_and_overflow_is_silent() -> None:
    row = accepted("a", 1.7e308, 1.0, 1.0)
    assert row.commit.update is not None
    before = row.commit.update["s"].copy()
    row.commit.update["m"][...] = 1.7e308
    merged = merge([row, row], PARAMETER_DELTA)
    assert merged is not None
    assert np.isinf(merged["m"]).all()
    np.testing.assert_array_equal(row.commit.update["s"], before)


def test_nothing_merges_to_nothing() -> None:
    assert merge([], HYPERGRADIENT) is None
