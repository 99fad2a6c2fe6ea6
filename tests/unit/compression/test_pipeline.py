"""Contract of every pipeline: what it sends is within its promise, and what it does not send is owed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chronos_common.codec import decode, dense_bytes, mixed
from chronos_common.compression import Pipeline, PipelineConfig, compress, compressor, make_pipeline
from chronos_common.errors import ConfigurationError, NameMismatchError, NonFiniteError, ShapeMismatchError
from chronos_common.tensors import digest, specs_of

NAMES = ["identity", "int8", "topk10", "topk10+int8", "topk1+int8", "topk60+int8", "topk95"]
names = pytest.mark.parametrize("name", NAMES)

named_arrays = st.dictionaries(
    st.sampled_from(["a", "b", "größe"]),
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9),
            elements=st.floats(allow_nan=False, allow_infinity=False, width=np.finfo(dtype).bits),  # type: ignore[arg-type]
        )
    ),
)


def eager(name: str) -> Pipeline:
    """The pipeline without its exemption of small arrays."""
    return Pipeline(PipelineConfig(name=name, dense_below_elements=0))


def normal(size: int, dtype: Any = np.float32, *, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(size).astype(dtype)


@names
@settings(max_examples=200)
@given(arrays=named_arrays, small_dense=st.booleans())
def test_any_finite_arrays_pass_with_their_specs_and_within_the_dense_size(
    name: str, arrays: Any, small_dense: bool
) -> None:
    pipeline = make_pipeline(name) if small_dense else eager(name)
    found = compress(pipeline, arrays)
    assert specs_of(found.transmitted) == specs_of(arrays)
    assert len(found.payload) <= dense_bytes(specs_of(arrays))
    assert digest(decode(found.payload)) == digest(found.transmitted)
    assert all(np.isfinite(value).all() for value in found.transmitted.values())
    assert all(np.isfinite(value).all() for value in found.residual.values())
    assert pipeline.encode(dict(reversed(arrays.items()))) == found.payload
    for key, value in arrays.items():
        owed = found.residual[key] if found.residual else np.zeros_like(value)
        with np.errstate(over="ignore"):
            np.testing.assert_array_max_ulp(found.transmitted[key] + owed, value, 1, dtype=value.dtype)


@names
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_residuals_add_up_over_many_updates(name: str, dtype: Any) -> None:
    pipeline = make_pipeline(name)
    produced, applied = np.zeros(2000), np.zeros(2000)
    residual: dict[str, Any] = {}
    for seed in range(50):
        update = {"x": normal(2000, dtype, seed=seed)}
        found = compress(pipeline, update, residual)
        residual = found.residual
        produced += update["x"]
        applied += found.transmitted["x"]
    owed = residual.get("x", np.zeros(2000))
    np.testing.assert_allclose(applied + owed, produced, atol=1e-4 if dtype is np.float32 else 1e-12)
    assert np.abs(owed).max() < np.abs(produced).max() * (20 if name == "topk1+int8" else 4)


def test_a_payload_names_no_pipeline_and_sizes_fall_with_density() -> None:
    sizes = {name: len(make_pipeline(name).encode({"x": normal(100_000)})) for name in NAMES}
    assert sizes["identity"] > sizes["topk95"] * 0.99
    assert sizes["topk10"] < 0.15 * sizes["identity"]
    assert sizes["int8"] < 0.26 * sizes["identity"]
    assert sizes["topk10+int8"] < 0.045 * sizes["identity"]
    assert sizes["topk1+int8"] < 0.006 * sizes["identity"]


def test_each_array_gets_what_is_smallest() -> None:
    arrays = {"large": normal(10_000), "small": normal(255), "wide": normal(10_000, np.float64)}
    arrays["wide"][0] = 1e300
    found = compress(make_pipeline("topk10+int8"), arrays)
    for key in ("small", "wide"):
        np.testing.assert_array_equal(found.transmitted[key], arrays[key])
        assert not found.residual[key].any()
    assert np.count_nonzero(found.transmitted["large"]) == 1000


def test_sparse_gives_way_where_it_is_larger() -> None:
    array = normal(10_000)
    wide = Pipeline(PipelineConfig(name="topk95", index_encoding="block16"))
    assert wide.encode({"x": array}) == mixed.pack([mixed.dense("x", array)])
    assert eager("topk95+int8").encode({"x": array}) == mixed.pack([mixed.int8("x", array)])


@names
def test_nothing_to_send_takes_next_to_nothing(name: str) -> None:
    pipeline = eager(name)
    assert compress(pipeline, {}).transmitted == {}
    zeros = compress(pipeline, {"x": np.zeros((40, 50))})
    assert not zeros.transmitted["x"].any()
    if "topk" in name:
        assert len(zeros.payload) < 120


@names
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 300, 200_000])
def test_what_is_not_finite_is_refused(name: str, bad: float, size: int) -> None:
    array = normal(size, np.float64)
    array[size // 2] = bad
    with pytest.raises(NonFiniteError):
        compress(make_pipeline(name), {"x": array})


def test_a_sum_that_overflows_is_refused() -> None:
    huge = {"x": np.full(300, 3e38, np.float32)}
    with pytest.raises(NonFiniteError):
        compress(make_pipeline("topk10+int8"), huge, huge)


def test_a_residual_of_other_arrays_is_refused() -> None:
    pipeline = make_pipeline("int8")
    with pytest.raises(NameMismatchError):
        compress(pipeline, {"x": normal(3)}, {"y": normal(3)})
    with pytest.raises(ShapeMismatchError):
        compress(pipeline, {"x": normal(3)}, {"x": normal(4)})


def test_values_below_the_reach_of_float32_wait_in_the_residual() -> None:
    array = np.full(300, 1e-60)
    found = compress(make_pipeline("topk10"), {"x": array})
    np.testing.assert_array_equal(found.transmitted["x"], np.zeros(300))
    np.testing.assert_array_equal(found.residual["x"], array)


def test_a_guard_may_ask_for_another_density() -> None:
    base = make_pipeline("topk1+int8")
    denser = base.with_density(0.5)
    arrays = {"x": normal(10_000)}
    assert np.count_nonzero(compress(base, arrays).transmitted["x"]) == 100
    assert np.count_nonzero(compress(denser, arrays).transmitted["x"]) > 4000
    assert base.with_density(1.0).encode(arrays) == make_pipeline("int8").encode(arrays)
    assert base.with_density(0.01) is base
    assert make_pipeline("identity").with_density(0.5).encode(arrays) == make_pipeline("identity").encode(
        arrays
    )
    with pytest.raises(ConfigurationError, match="density"):
        base.with_density(0.0)


def test_index_encodings_agree_on_the_values() -> None:
    arrays = {"x": normal(50_000)}
    payloads = [
        Pipeline(PipelineConfig(name="topk10+int8", index_encoding=encoding)).encode(arrays)  # type: ignore[arg-type]
        for encoding in ("gaps", "block16")
    ]
    assert len(payloads[0]) < len(payloads[1])
    assert digest(decode(payloads[0])) == digest(decode(payloads[1]))


def test_the_compressor_for_totals_is_the_same() -> None:
    pipeline = make_pipeline("topk10+int8")
    total = {"x": normal(500)}
    found = compress(pipeline, total)
    payload, transmitted, residual = compressor(pipeline)(total)
    assert payload == found.payload
    assert digest(transmitted) == digest(found.transmitted)
    assert digest(residual) == digest(found.residual)
