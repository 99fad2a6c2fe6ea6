"""Selection by magnitude: exact whatever the sample says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chronos_common.compression import count_for, top_k
from chronos_common.errors import ConfigurationError


def by_sorting(values: Any, k: int) -> list[int]:
    """The reference: a stable sort by falling magnitude, without zeros."""
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    return sorted(int(i) for i in order if values[i] != 0)


vectors = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        st.integers(0, 60),
        elements=st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0]), st.floats(width=32, allow_nan=False)),
    )
)


@settings(max_examples=500)
@given(values=vectors, k=st.integers(0, 70), sampled=st.booleans())
def test_the_largest_come_first_and_ties_by_position(values: Any, k: int, sampled: bool) -> None:
    found = top_k(values, k, sampled_from=0 if sampled else 10**9)
    assert found.tolist() == by_sorting(values, k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["normal", "heavy", "constant", "periodic", "mostly zero", "sorted", "one"])
@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.7])
def test_a_sample_changes_nothing(kind: str, density: float, dtype: Any) -> None:
    size = 300_000
    rng = np.random.default_rng(1)
    values: Any = {
        "normal": lambda: rng.standard_normal(size),
        "heavy": lambda: rng.standard_cauchy(size) ** 3,
        "constant": lambda: np.full(size, -2.5),
        "periodic": lambda: np.where(np.arange(size) % 9 == 0, 5.0, 0.01 * rng.random(size)),
        "mostly zero": lambda: np.where(rng.random(size) < 1e-4, 1.0, 0.0),
        "sorted": lambda: np.arange(size) - 100.0,
        "one": lambda: np.eye(1, size, 123_456)[0],
    }[kind]().astype(dtype)
    k = count_for(density, size)
    found = top_k(values, k)
    np.testing.assert_array_equal(found, top_k(values, k, sampled_from=10**9))
    assert found.size == min(k, np.count_nonzero(values))


def test_what_is_not_finite_is_always_selected() -> None:
    values = np.ones(200_000, np.float32)
    values[[7, 9_000, 150_000]] = np.nan, np.inf, -np.inf
    assert top_k(values, 3).tolist() == [7, 9_000, 150_000]


@pytest.mark.parametrize(
    ("density", "size", "count"),
    [(0.1, 10, 1), (0.1, 30, 3), (0.1, 31, 4), (0.01, 1, 1), (1.0, 7, 7), (0.3, 10, 3), (0.5, 0, 0)],
)
def test_counts_round_up_from_the_decimal_density(density: float, size: int, count: int) -> None:
    assert count_for(density, size) == count


@pytest.mark.parametrize("density", [0.0, -0.1, 1.1, float("nan")])
def test_densities_out_of_range_are_refused(density: float) -> None:
    with pytest.raises(ConfigurationError, match="density"):
        count_for(density, 10)
