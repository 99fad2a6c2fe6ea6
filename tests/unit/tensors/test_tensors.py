from __future__ import annotations

import hashlib
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chronos_common.errors import (
    DtypeMismatchError,
    NameMismatchError,
    NonFiniteError,
    ShapeMismatchError,
)
from chronos_common.tensors import (
    TensorSpec,
    check_name,
    data_view,
    digest,
    flatten,
    l1_norm,
    l2_norm,
    require_finite,
    require_like,
    specs_of,
    unflatten,
)

arrays_strategy = st.dictionaries(
    st.text(st.characters(blacklist_categories=["Cc", "Cs"]), min_size=1, max_size=8),
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=4,
)


def bits(arrays: Any) -> dict[str, tuple[Any, ...]]:
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in arrays.items()}


def test_the_digest_is_sha256_of_the_documented_bytes() -> None:
    arrays = {"é": np.array([[1.5, -0.0]], np.float32), "a": np.array(2.0)}
    expected = b"".join(
        [
            b"chronos.arrays.v1\n",
            struct.pack("<I", 2),
            struct.pack("<I", 1) + b"a" + struct.pack("<I", 7) + b"float64" + struct.pack("<I", 0),
            struct.pack("<d", 2.0),
            struct.pack("<I", 2)
            + "é".encode()
            + struct.pack("<I", 7)
            + b"float32"
            + struct.pack("<IQQ", 2, 1, 2),
            struct.pack("<ff", 1.5, -0.0),
        ]
    )
    assert digest(arrays) == hashlib.sha256(expected).hexdigest()


def test_the_digest_of_nothing_is_frozen() -> None:
    assert digest({}) == hashlib.sha256(b"chronos.arrays.v1\n\0\0\0\0").hexdigest()


def test_the_digest_ignores_insertion_order_strides_and_byte_order() -> None:
    grid = np.arange(12.0).reshape(3, 4)
    reference = digest({"a": grid, "b": np.ones(2)})
    assert digest({"b": np.ones(2), "a": np.asfortranarray(grid)}) == reference
    assert digest({"b": np.ones(4)[::2], "a": grid.astype(">f8")}) == reference


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"a": np.array([0.0])}, {"a": np.array([-0.0])}),
        ({"a": np.zeros(2)}, {"a": np.zeros((2, 1))}),
        ({"a": np.zeros(2)}, {"a": np.zeros(4, np.float32)}),
        ({"a": np.zeros(1)}, {"b": np.zeros(1)}),
        ({"a": np.zeros(0)}, {}),
        ({"a": np.zeros((0, 3))}, {"a": np.zeros((3, 0))}),
        ({"a": np.array([math.nan])}, {"a": -np.array([math.nan])}),
    ],
)
def test_the_digest_tells_apart_what_differs(left: Any, right: Any) -> None:
    assert digest(left) != digest(right)


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128, "a\nb", "\x7f", "\x00", "\ud800"])
def test_illegal_names_are_refused(name: str) -> None:
    with pytest.raises(NameMismatchError):
        check_name(name)
    with pytest.raises(NameMismatchError):
        digest({name: np.zeros(1)})


def test_names_up_to_the_limit_are_legal() -> None:
    assert len(check_name("x" * 255)) == 255
    assert check_name("layers/0.weight ☃") == "layers/0.weight ☃".encode()


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.complex128, np.bool_, object])
def test_only_float32_and_float64_are_legal(dtype: Any) -> None:
    with pytest.raises(DtypeMismatchError, match="'w'.*float32 or float64"):
        specs_of({"w": np.zeros(2, dtype)})


def test_a_spec_checks_itself_and_knows_its_size() -> None:
    spec = TensorSpec(name="w", shape=(2, 3), dtype="float32")
    assert (spec.size, spec.size_bytes, spec.numpy_dtype) == (6, 24, np.dtype("<f4"))
    with pytest.raises(ShapeMismatchError, match="negative"):
        TensorSpec(name="w", shape=(-1,), dtype="float32")
    with pytest.raises(ShapeMismatchError, match="dimensions"):
        TensorSpec(name="w", shape=(1,) * 33, dtype="float32")
    with pytest.raises(ShapeMismatchError, match="elements"):
        TensorSpec(name="w", shape=(0, 2**60), dtype="float32")
    with pytest.raises(DtypeMismatchError):
        TensorSpec(name="w", shape=(), dtype="int8")


@given(arrays_strategy)
def test_specs_describe_the_arrays_and_data_views_hold_their_bytes(arrays: Any) -> None:
    require_like(arrays, specs_of(arrays))
    for spec in specs_of(arrays):
        assert bytes(data_view(arrays[spec.name])) == arrays[spec.name].tobytes()
        assert len(data_view(arrays[spec.name])) == spec.size_bytes


def test_require_like_names_what_is_wrong() -> None:
    specs = specs_of({"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(NameMismatchError, match=r"missing \['b'\], unexpected \['c'\]") as caught:
        require_like({"a": np.zeros(2), "c": np.zeros(3)}, specs)
    assert caught.value.details == {"missing": "b", "unexpected": "c"}
    with pytest.raises(ShapeMismatchError, match=r"'b' has shape \(4,\), expected \(3,\)"):
        require_like({"a": np.zeros(2), "b": np.zeros(4)}, specs)
    with pytest.raises(DtypeMismatchError, match="'a' has dtype float32, expected float64"):
        require_like({"a": np.zeros(2, np.float32), "b": np.zeros(3)}, specs)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_require_finite_says_where_and_how_many(bad: float) -> None:
    values = np.zeros((2, 3))
    values[0, 2] = values[1, 1] = bad
    with pytest.raises(NonFiniteError, match=r"commit: array 'b' holds 2 of 6 .* index \(0, 2\)"):
        require_finite({"a": np.zeros(2), "b": values}, "commit")
    with pytest.raises(NonFiniteError, match=r"index \(\)"):
        require_finite({"scalar": np.array(bad)}, "commit")
    require_finite({"a": np.zeros(2), "empty": np.zeros(0)}, "commit")


@given(arrays_strategy)
def test_flatten_and_unflatten_are_inverse_to_the_bit(arrays: Any) -> None:
    finite = {name: np.nan_to_num(array) for name, array in arrays.items()}
    flat, layout = flatten(finite)
    assert flat.ndim == 1
    assert bits(unflatten(flat, layout)) == bits(finite)


def test_flatten_keeps_float32_and_widens_only_mixtures() -> None:
    narrow = {"a": np.zeros(2, np.float32)}
    assert flatten(narrow)[0].dtype == np.float32
    assert flatten({**narrow, "b": np.zeros(1)})[0].dtype == np.float64
    with pytest.raises(ShapeMismatchError):
        unflatten(np.zeros(3), specs_of(narrow))


@given(arrays_strategy)
def test_norms_agree_with_exact_sums(arrays: Any) -> None:
    finite = {
        name: np.nan_to_num(array.astype(np.float64)).clip(-1e100, 1e100) for name, array in arrays.items()
    }
    values = [float(value) for array in finite.values() for value in array.reshape(-1)]
    assert l1_norm(finite) == pytest.approx(math.fsum(abs(value) for value in values), rel=1e-12, abs=1e-300)
    assert l2_norm(finite) == pytest.approx(math.hypot(*values), rel=1e-12, abs=1e-300)


def test_norms_neither_overflow_early_nor_hide_what_is_not_finite() -> None:
    assert l2_norm({"a": np.array([3e200, 4e200])}) == pytest.approx(5e200)
    assert l2_norm({"a": np.array([3e-200, 4e-200])}) == pytest.approx(5e-200)
    assert l2_norm({"a": np.full(4, np.finfo(np.float64).max)}) == math.inf
    assert l1_norm({"a": np.full(4, np.finfo(np.float64).max)}) == math.inf
    assert l2_norm({"a": np.array([1.0, math.inf])}) == math.inf
    assert math.isnan(l2_norm({"a": np.array([1.0, math.nan])}))
    assert l1_norm({}) == l2_norm({}) == 0.0


def test_the_order_of_a_sum_is_frozen() -> None:
    values = np.array([1.0, 2.0**-53, 2.0**-53, 1.0, 2.0**-53])
    halves = (1.0 + 2.0**-53) + (2.0**-53 + 1.0) + 2.0**-53
    assert l1_norm({"a": values}) == halves
