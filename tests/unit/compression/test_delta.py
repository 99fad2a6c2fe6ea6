"""Versions as deltas: clients follow the server to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chronos_common.codec import encode
from chronos_common.compression import (
    apply_delta,
    apply_deltas,
    apply_version,
    make_pipeline,
    next_version,
    server_residual,
)
from chronos_common.errors import NonFiniteError, PayloadTooLargeError, ShapeMismatchError
from chronos_common.tensors import digest

NAMES = ["identity", "int8", "topk10", "topk10+int8", "topk1+int8"]


def clip(arrays: Any) -> dict[str, Any]:
    return {name: np.minimum(np.maximum(value, -2.0), 2.0) for name, value in arrays.items()}


def walk(seed: int, dtype: Any) -> Any:
    """A master that moves at random within its bounds."""
    rng = np.random.default_rng(seed)
    x: dict[str, Any] = {"big": rng.standard_normal(3000).astype(dtype), "small": np.array(0.5, dtype)}
    while True:
        x = clip(x)
        yield x
        x = {
            k: np.asarray(v + rng.standard_normal(v.shape).astype(dtype) * v.dtype.type(0.3))
            for k, v in x.items()
        }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clients_hold_what_the_server_published(name: str, dtype: Any) -> None:
    masters = walk(5, dtype)
    start = next(masters)
    published, client = start, start
    pipeline = make_pipeline(name)
    deltas = []
    for _ in range(30):
        master = next(masters)
        version = next_version(pipeline, master, published, clip)
        published = version.published
        client = apply_version(client, version.payload, clip, is_delta=version.is_delta)
        assert digest(client) == digest(published)
        assert all((np.abs(value) <= 2).all() for value in published.values())
        assert version.is_delta == (name != "identity")
        deltas.append(version.payload)
        lag = server_residual(master, published)
        np.testing.assert_allclose(published["big"] + lag["big"], master["big"], rtol=1e-6, atol=1e-6)
    if name == "identity":
        assert digest(published) == digest(master)
    else:
        assert digest(apply_deltas(start, deltas, clip)) == digest(published)


def test_a_master_that_rests_is_reached() -> None:
    masters = walk(1, np.float32)
    published, master = next(masters), next(masters)
    pipeline = make_pipeline("topk10+int8")
    for _ in range(60):
        published = next_version(pipeline, master, published, clip).published
    np.testing.assert_allclose(published["big"], master["big"], atol=1e-5)


def test_the_product_is_rounded_before_the_addition() -> None:
    p = {"x": np.random.default_rng(0).standard_normal(1000)}
    x = {"x": p["x"] + 0.01}
    version = next_version(make_pipeline("int8"), x, p, dict)
    moved = version.published["x"] - p["x"]
    codes = np.round((x["x"] - p["x"]).astype(np.float32) / (np.float32(0.01) / np.float32(127)))
    assert set(np.unique(codes)) == {127.0}
    np.testing.assert_array_equal(
        version.published["x"], p["x"] + np.float64(np.float32(127) * (np.float32(0.01) / np.float32(127)))
    )
    np.testing.assert_allclose(moved, 0.01, rtol=1e-6)


def test_a_snapshot_is_taken_where_a_delta_is_not_smaller() -> None:
    p, x = {"x": np.ones(3, np.float32)}, {"x": np.full(3, 1.5, np.float32)}
    version = next_version(make_pipeline("topk10+int8"), x, p, dict)
    assert not version.is_delta
    assert version.payload == encode("identity", x)
    assert digest(version.published) == digest(x)


@pytest.mark.parametrize("name", NAMES)
def test_a_difference_that_overflows_becomes_a_snapshot(name: str) -> None:
    p = {"x": np.full(1000, -3e38, np.float32)}
    x = {"x": np.full(1000, 3e38, np.float32)}
    version = next_version(make_pipeline(name), x, p, dict)
    assert not version.is_delta
    assert digest(version.published) == digest(x)


@pytest.mark.parametrize("name", NAMES)
def test_a_master_that_is_not_finite_is_refused(name: str) -> None:
    p = {"x": np.zeros(1000)}
    x = {"x": np.full(1000, np.nan)}
    with pytest.raises(NonFiniteError):
        next_version(make_pipeline(name), x, p, dict)


def test_deltas_that_do_not_fit_are_refused() -> None:
    payload = make_pipeline("int8").encode({"x": np.ones(1000, np.float32)})
    with pytest.raises(PayloadTooLargeError):
        apply_delta({"x": np.ones(999, np.float32)}, payload, dict)
    with pytest.raises(ShapeMismatchError):
        apply_delta({"x": np.ones((2, 500), np.float32)}, payload, dict)
    huge = {"x": np.full(1000, 3e38, np.float32)}
    with pytest.raises(NonFiniteError, match="after its delta"):
        apply_delta(huge, make_pipeline("int8").encode(huge), dict)


def test_zero_and_negative_zero_become_the_same_on_both_sides() -> None:
    p = {"x": np.full(1000, -0.0, np.float32)}
    x = {"x": np.where(np.arange(1000) == 3, np.float32(1), np.float32(-0.0))}
    version = next_version(make_pipeline("topk1+int8"), x, p, dict)
    assert version.is_delta
    assert digest(apply_delta(p, version.payload, dict)) == digest(version.published)
