from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chronos_common.errors import (
    ConfigurationError,
    CorruptStateError,
    NameMismatchError,
    NonFiniteError,
    ShapeMismatchError,
)
from chronos_common.outer import OuterSpec, clip, to_natural, to_stored
from chronos_common.tensors import digest, specs_of

bounds = st.one_of(st.none(), st.floats(-1e30, 1e30), st.floats(allow_nan=False, allow_infinity=False))
dtypes = st.sampled_from(["float32", "float64"])


@st.composite
def specs(draw: st.DrawFn) -> OuterSpec:
    lower, upper = draw(bounds), draw(bounds)
    if lower is not None and upper is not None and lower > upper:
        lower, upper = upper, lower
    try:
        return OuterSpec(name="u", shape=(4,), dtype=draw(dtypes), lower=lower, upper=upper)
    except ConfigurationError:
        assume(False)
        raise


def stored_values(dtype: str) -> st.SearchStrategy[Any]:
    return hnp.arrays(np.dtype(dtype), (4,), elements={"allow_nan": False})


@given(specs(), st.data())
def test_clipped_values_lie_exactly_within_the_bounds(spec: OuterSpec, data: st.DataObject) -> None:
    u = {"u": data.draw(stored_values(spec.dtype))}
    clipped = clip(u, [spec])
    assert specs_of(clipped) == specs_of(u)
    for value in clipped["u"]:
        # Python's comparison of floats is exact: no rounding of a bound can hide here.
        assert spec.lower is None or float(value) >= spec.lower
        assert spec.upper is None or float(value) <= spec.upper


@given(specs(), st.data())
def test_clipping_is_idempotent_monotone_and_leaves_the_inside_alone(
    spec: OuterSpec, data: st.DataObject
) -> None:
    u, v = data.draw(stored_values(spec.dtype)), data.draw(stored_values(spec.dtype))
    once = clip({"u": u}, [spec])
    assert digest(clip(once, [spec])) == digest(once)
    other = clip({"u": np.maximum(u, v)}, [spec])
    assert np.all(other["u"] >= once["u"])
    low, high = spec.limits()
    inside = (u >= low) & (u <= high)
    assert np.array_equal(once["u"][inside], u[inside])


def test_float32_bounds_are_rounded_inwards() -> None:
    spec = OuterSpec(name="u", shape=(2,), dtype="float32", lower=0.1, upper=0.7)
    low, high = clip({"u": np.array([-9, 9], np.float32)}, [spec])["u"]
    assert float(low) >= 0.1 > float(np.nextafter(low, np.float32(0)))
    assert float(high) <= 0.7 < float(np.nextafter(high, np.float32(1)))


def test_clip_never_aliases_its_input_and_keeps_nan() -> None:
    u = {"u": np.array([math.nan, 2.0])}
    clipped = clip(u, [OuterSpec(name="u", shape=(2,), dtype="float64", upper=1.0)])
    assert math.isnan(clipped["u"][0])
    assert clipped["u"][1] == 1.0
    assert not np.shares_memory(clipped["u"], u["u"])
    scalar = clip({"s": np.array(5, np.float32)}, [OuterSpec(name="s", shape=(), dtype="float32", upper=1)])
    assert isinstance(scalar["s"], np.ndarray)


def test_a_logarithmic_parameter_lives_in_its_logarithm() -> None:
    spec = OuterSpec.from_natural(
        name="rate", shape=(3,), dtype="float64", scale="log", lower=1e-6, upper=10.0
    )
    assert (spec.lower, spec.upper) == (math.log(1e-6), math.log(10.0))
    natural = {"rate": np.array([1e-6, 1.0, 10.0])}
    stored = to_stored(natural, [spec])
    np.testing.assert_allclose(stored["rate"], np.log(natural["rate"]))
    np.testing.assert_allclose(to_natural(stored, [spec])["rate"], natural["rate"], rtol=1e-14)


@given(hnp.arrays(np.float32, (4,), elements=st.floats(2.0**-99, 2.0**99, width=32)))
def test_the_two_coordinates_are_inverse_within_rounding(values: Any) -> None:
    spec = OuterSpec(name="u", shape=(4,), dtype="float32", scale="log")
    back = to_natural(to_stored({"u": values}, [spec]), [spec])["u"]
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, values, rtol=1e-5)


def test_a_linear_parameter_is_copied() -> None:
    spec = OuterSpec.from_natural(name="w", shape=(2,), dtype="float32", lower=-1, upper=1)
    values = {"w": np.array([0.25, -7], np.float32)}
    for change in (to_stored, to_natural):
        changed = change(values, [spec])
        assert digest(changed) == digest(values)
        assert not np.shares_memory(changed["w"], values["w"])


def test_no_bound_may_be_written_in_several_ways() -> None:
    free = OuterSpec(name="w", shape=(), dtype="float64", scale="log")
    for lower, upper in [(None, None), (0.0, None), (0.0, math.inf)]:
        built = OuterSpec.from_natural(
            name="w", shape=(), dtype="float64", scale="log", lower=lower, upper=upper
        )
        assert built == free
    linear = OuterSpec.from_natural(name="w", shape=(), dtype="float64", lower=-math.inf, upper=math.inf)
    assert linear == OuterSpec(name="w", shape=(), dtype="float64")


@given(specs(), st.sampled_from(["linear", "log"]))
def test_json_keeps_every_bit(spec: OuterSpec, scale: Any) -> None:
    spec = OuterSpec(**{**spec.to_json(), "shape": (2, 3), "scale": scale})
    assert OuterSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    "fields", [{}, {"name": "a", "shape": 3}, {"name": "a", "shape": [1], "colour": "red"}]
)
def test_malformed_json_is_refused(fields: Any) -> None:
    with pytest.raises(CorruptStateError, match="malformed"):
        OuterSpec.from_json(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"shape": (-1,)},
        {"dtype": "float16"},
        {"scale": "cubic"},
        {"lower": 2.0, "upper": 1.0},
        {"lower": math.nan},
        {"upper": math.inf},
        {"dtype": "float32", "lower": 1e300},
        {"dtype": "float32", "upper": -1e300},
        {"dtype": "float32", "lower": 1.0 + 2.0**-40, "upper": 1.0 + 2.0**-39},
    ],
)
def test_impossible_parameters_are_refused(fields: Any) -> None:
    with pytest.raises(ConfigurationError, match="outer parameter"):
        OuterSpec(**{"name": "u", "shape": (), "dtype": "float64", **fields})


@pytest.mark.parametrize(("lower", "upper"), [(-1.0, None), (None, 0.0), (None, -2.0), (math.nan, None)])
def test_logarithmic_bounds_must_be_positive(lower: float | None, upper: float | None) -> None:
    with pytest.raises(ConfigurationError, match="'w'"):
        OuterSpec.from_natural(name="w", shape=(), dtype="float64", scale="log", lower=lower, upper=upper)


def test_values_outside_of_their_scale_are_refused() -> None:
    spec = OuterSpec(name="w", shape=(2,), dtype="float32", scale="log")
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(ConfigurationError, match="not positive"):
            to_stored({"w": np.array([1, bad], np.float32)}, [spec])
    with pytest.raises(NonFiniteError, match="overflows float32"):
        to_natural({"w": np.array([1, 100], np.float32)}, [spec])
    with pytest.raises(ShapeMismatchError):
        clip({"w": np.zeros(3, np.float32)}, [spec])
    with pytest.raises(NameMismatchError):
        to_natural({}, [spec])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 1000), (2, 3, 4), (0,), (2, 0)])
def test_a_simplex_is_reached_and_then_left_alone(shape: tuple[int, ...], dtype: str) -> None:
    spec = OuterSpec(name="mix", shape=shape, dtype=dtype, simplex=True)
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    once = clip({"mix": values}, [spec])["mix"]
    assert (once >= 0).all()
    if once.size:
        np.testing.assert_allclose(once.sum(axis=-1) if shape else once, 1.0, rtol=1e-5)
    assert clip({"mix": once}, [spec])["mix"].tobytes() == once.tobytes()


def test_a_row_without_mass_becomes_uniform() -> None:
    spec = OuterSpec(name="mix", shape=(2, 4), dtype="float64", simplex=True)
    rows = np.array([[-1.0, 0.0, -2.0, 0.0], [0.5, 0.5, 1.0, -9.0]])
    np.testing.assert_array_equal(clip({"mix": rows}, [spec])["mix"], [[0.25] * 4, [0.25, 0.25, 0.5, 0.0]])


@pytest.mark.parametrize("more", [{"scale": "log"}, {"lower": 0.0}, {"upper": 1.0}])
def test_a_simplex_is_its_own_bound(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="simplex"):
        OuterSpec(name="mix", shape=(2,), dtype="float64", simplex=True, **more)


def test_only_a_simplex_is_written_as_one() -> None:
    plain = OuterSpec(name="mix", shape=(2,), dtype="float64")
    assert "simplex" not in plain.to_json()
    mixed = OuterSpec(name="mix", shape=(2,), dtype="float64", simplex=True)
    assert OuterSpec.from_json(mixed.to_json()) == mixed
