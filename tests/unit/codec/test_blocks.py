"""Int8 blocks: error bounds, extremes, and the exact arithmetic of decoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chronos_common.codec.blocks import BLOCK, MAX_SCALE, data_bytes, dequantise, quantise, write
from chronos_common.errors import NonFiniteError

FLOAT_MAX = float(np.finfo(np.float32).max)


def round_trip(values: Any) -> Any:
    return dequantise(*quantise(values, "x"), BLOCK, values.dtype)


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.integers(0, 3 * BLOCK),
        elements=st.floats(-FLOAT_MAX, FLOAT_MAX, width=32),
    )
)
def test_the_error_is_half_a_scale(values: Any) -> None:
    decoded = round_trip(values)
    assert decoded.dtype == values.dtype
    assert np.isfinite(decoded).all()
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK].astype(np.float64)
        bound = max(0.5001 * np.abs(block).max() / 127, 1.5e-36)
        assert np.abs(decoded[start : start + BLOCK] - block).max() <= bound


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, (1 << 18) + 3, 3 * (1 << 18)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_arithmetic_is_the_one_of_the_format(size: int, dtype: Any) -> None:
    values = np.random.default_rng(size).standard_normal(size).astype(dtype)
    codes, scales = quantise(values, "x")
    assert sum(map(len, write(codes, scales))) == data_bytes(size)
    decoded = dequantise(codes, scales, BLOCK, values.dtype)
    for at in {0, size // 2, size - 1}:
        block = values[at // BLOCK * BLOCK : at // BLOCK * BLOCK + BLOCK].astype(np.float32)
        assert scales[at // BLOCK] == np.abs(block).max() / np.float32(127)
        assert decoded[at] == np.float32(codes[at]) * scales[at // BLOCK]


def test_the_largest_float_stays_finite() -> None:
    values = np.full(5, FLOAT_MAX, np.float32)
    _, scales = quantise(values, "x")
    assert scales[0] <= MAX_SCALE
    assert np.isfinite(np.float32(127) * MAX_SCALE)
    np.testing.assert_allclose(round_trip(values), values, rtol=1e-6)


def test_a_block_of_almost_nothing_becomes_zeros() -> None:
    tiny = np.array([1e-40, -1e-38, 1e-45], np.float32)
    np.testing.assert_array_equal(round_trip(tiny), np.zeros(3, np.float32))
    assert not np.signbit(round_trip(np.array([-0.0], np.float32)))[0]


def test_blocks_do_not_disturb_each_other() -> None:
    values = np.concatenate([np.full(BLOCK, 1e30), np.full(BLOCK, 1e-20), np.full(7, 3.0)])
    np.testing.assert_allclose(round_trip(values), values, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, 1e39, -1e300])
@pytest.mark.parametrize("at", [0, 300, 263_000, 263_299])
def test_what_float32_cannot_hold_is_refused(bad: float, at: int) -> None:
    values = np.ones(263_300)
    values[at] = bad
    with pytest.raises(NonFiniteError, match="float32"):
        quantise(values, "x")
