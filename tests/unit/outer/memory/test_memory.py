"""The continuum memory: budget, eviction, neighbours, predictions, places that failed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_common.errors import (
    ChronosError,
    ConfigurationError,
    CorruptStateError,
    DtypeMismatchError,
    InvalidRequestError,
    NameMismatchError,
    NonFiniteError,
    ShapeMismatchError,
)
from chronos_common.outer.memory import ContinuumMemory, MemoryConfig, from_parts, to_parts
from chronos_common.outer.memory.memory import ENTRY_BYTES
from chronos_common.tensors import Array, TensorSpec
from tests.support.states import bits

SPECS = (
    TensorSpec(name="rate", shape=(), dtype="float32"),
    TensorSpec(name="decay", shape=(3,), dtype="float64"),
)


def at(*values: float) -> dict[str, Array]:
    """λ of four numbers."""
    first, *rest = values
    return {"rate": np.asarray(first, np.float32), "decay": np.array(rest or [first] * 3, np.float64)}


def memory(**config: Any) -> ContinuumMemory:
    return ContinuumMemory.empty(MemoryConfig(**config), SPECS)


def numbers(found: ContinuumMemory) -> list[int]:
    return [entry.number for entry in found.entries]


finite = st.floats(-1e6, 1e6, width=32)
places = st.lists(st.tuples(finite, finite, st.floats(-1e9, 1e9)), min_size=1, max_size=30)
budgets = st.fixed_dictionaries(
    {
        "max_entries": st.integers(1, 8),
        "max_bytes": st.integers(300, 3000),
        "decay": st.floats(0.1, 1.0),
        "neighbours": st.integers(1, 4),
        "half_after": st.integers(1, 6),
        "sketch_dimensions": st.sampled_from([2, 128]),
    }
)


def filled(config: dict[str, Any], stores: list[tuple[float, float, float]]) -> ContinuumMemory:
    found = memory(**config)
    for version, (value, slope, loss) in enumerate(stores):
        found = found.store(at(value, 1.0, value, 0.0), at(slope), loss, version=version)
    return found


class Model:
    """What eviction promises, in plain Python: relevance fades, use adds to it, the least goes."""

    def __init__(self, decay: float) -> None:
        self.decay, self.relevance = decay, dict[int, float]()

    def store(self, number: int, near: list[int]) -> None:
        self.relevance = {n: r * self.decay for n, r in self.relevance.items()}
        for n in near:
            self.relevance[n] += 1.0
        self.relevance[number] = 1.0

    def evict(self, newest: int) -> None:
        del self.relevance[min((r, n) for n, r in self.relevance.items() if n != newest)[1]]


@settings(max_examples=60, deadline=None)
@given(config=budgets, stores=places)
def test_it_never_holds_more_than_its_budget_and_always_the_newest(config: Any, stores: Any) -> None:
    found = memory(**config)
    for value, slope, loss in stores:
        found = found.store(at(value), at(slope), loss)
        assert 1 <= len(found) <= config["max_entries"]
        assert found.size_bytes <= config["max_bytes"] or len(found) == 1
        held = sum(e.values.size_bytes + e.gradient.size_bytes for e in found.entries)
        sketches = found.points.nbytes + found.slopes.nbytes
        assert found.size_bytes == held + sketches + ENTRY_BYTES * len(found) + found.regions.size_bytes
        assert found.entries[-1].loss == loss
        assert len(found) + found.counts.evicted == found.counts.stored == found.entries[-1].number
        assert len(found.points) == len(found.slopes) == len(found.relevance) == len(found)


@settings(max_examples=60, deadline=None)
@given(stores=places, decay=st.floats(0.1, 1.0), k=st.integers(1, 3), most=st.integers(2, 6))
def test_the_least_relevant_goes_first_and_of_equal_ones_the_older(
    stores: Any, decay: float, k: int, most: int
) -> None:
    found, model = memory(max_entries=most, decay=decay, neighbours=k), Model(decay)
    for number, (value, slope, loss) in enumerate(stores, start=1):
        near = [neighbour.number for neighbour in found.retrieve_similar(at(value), k)]
        found = found.store(at(value), at(slope), loss)
        model.store(number, near)
        if len(model.relevance) > most:
            model.evict(number)
        assert numbers(found) == sorted(model.relevance)
        assert list(found.relevance) == pytest.approx([model.relevance[n] for n in numbers(found)])


@settings(max_examples=40, deadline=None)
@given(config=budgets, stores=places, cut=st.integers(0, 30))
def test_it_is_deterministic_and_its_parts_bring_it_back_to_the_bit(
    config: Any, stores: Any, cut: int
) -> None:
    whole = filled(config, stores)
    begun = filled(config, stores[:cut]).forbid(at(2.0), reason="burst", version=3)
    meta, payload = to_parts(begun)
    again = from_parts(begun.config, SPECS, json.loads(json.dumps(meta)), payload)
    assert bits(again) == bits(begun)
    assert again.digest == begun.digest
    assert to_parts(again) == (meta, payload)
    for value, slope, loss in stores[cut:]:
        again, begun = (m.store(at(value), at(slope), loss) for m in (again, begun))
    assert bits(again) == bits(begun)
    assert bits(filled(config, stores)) == bits(whole)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=4, max_size=4),
    scale=st.floats(1e-6, 1e6),
)
def test_what_is_old_keeps_half_precision_relative_to_its_largest_value(
    values: list[float], scale: float
) -> None:
    found = memory(half_after=1).store(at(*values), at(scale), 1.0).store(at(0.0), at(0.0), 0.0)
    old = found.retrieve_similar(at(*values), 2)
    entry = next(neighbour for neighbour in old if neighbour.number == 1)
    assert entry.half
    for name, original in at(*values).items():
        within = 2.0**-11 * np.abs(original).max(initial=0.0)
        assert np.abs(entry.values[name].astype(float) - original).max() <= within
        assert entry.values[name].dtype == original.dtype
    assert float(entry.gradient["rate"]) == pytest.approx(scale, rel=1e-3)


def test_old_entries_cost_less() -> None:
    specs = (TensorSpec(name="w", shape=(1000,), dtype="float32"),)
    found = ContinuumMemory.empty(MemoryConfig(half_after=1), specs)
    value = {"w": np.ones(1000, np.float32)}
    one = found.store(value, value, 0.0)
    two = one.store(value, value, 0.0)
    assert two.size_bytes - one.size_bytes < 0.6 * 8000 + 3000
    assert [entry.values.half for entry in two.entries] == [True, False]


def test_the_nearest_come_first_by_distance_and_by_cosine() -> None:
    found = memory()
    for number, value in enumerate((4.0, 1.0, -1.0), start=1):
        found = found.store(at(value), at(number), float(number))
    near = found.retrieve_similar(at(1.5), 2)
    assert [n.number for n in near] == [2, 3] or [n.number for n in near] == [2, 1]
    assert near[0].distance == pytest.approx(1.0)  # four numbers, each .5 away
    aligned = found.retrieve_similar(at(0.5), 3, metric="cosine")
    assert [n.number for n in aligned] == [1, 2, 3]
    assert [n.cosine for n in aligned] == pytest.approx([1.0, 1.0, -1.0])
    assert found.retrieve_similar(at(0.0), 3, metric="cosine")[0].cosine == 0.0
    assert memory().retrieve_similar(at(0.0)) == ()


def test_a_large_lambda_is_compared_through_its_projection() -> None:
    rng = np.random.default_rng(0)
    size = 20_000
    specs = (TensorSpec(name="w", shape=(size,), dtype="float32"),)
    found = ContinuumMemory.empty(MemoryConfig(), specs)
    assert found.sketch.width == 128
    stored = [{"w": rng.standard_normal(size).astype(np.float32)} for _ in range(20)]
    for number, value in enumerate(stored):
        found = found.store(value, value, float(number))
    for number in (3, 11):
        asked = {"w": stored[number]["w"] + 0.3 * rng.standard_normal(size).astype(np.float32)}
        nearest, other = found.retrieve_similar(asked, 2)
        truth = float(np.linalg.norm(asked["w"] - stored[number]["w"]))
        assert nearest.loss == number
        assert nearest.distance == pytest.approx(truth, rel=0.3)
        assert other.distance > 2 * nearest.distance
        assert nearest.cosine > 0.8


def test_another_seed_is_another_projection_and_the_same_seed_the_same() -> None:
    specs = (TensorSpec(name="w", shape=(500,), dtype="float64"),)
    value = {"w": np.arange(500.0)}
    first, same, other = (
        ContinuumMemory.empty(MemoryConfig(seed=seed), specs).sketch.of(value) for seed in (1, 1, 2)
    )
    assert (first == same).all()
    assert not (first == other).all()
    # The projection is part of stored states, so that it may not change with a release.
    assert first[:3].tolist() == GOLDEN


GOLDEN = [100.0, -259.0, 192.0]


def test_predicted_gradients_point_where_a_quadratic_falls() -> None:
    """L = |u − 1|² / 2, whose gradient is u − 1."""
    rng = np.random.default_rng(1)
    found = memory()
    for _ in range(60):
        value = at(*rng.uniform(-3, 3, 4))
        gradient = {name: np.asarray(v - v.dtype.type(1)) for name, v in value.items()}
        found = found.store(value, gradient, 0.0)
    asked = at(2.5, -2.0, 2.0, -1.0)
    prediction = found.predict_gradient(asked)
    predicted = np.append(prediction.gradient["decay"], prediction.gradient["rate"])
    truth = np.append(asked["decay"], asked["rate"]) - 1
    cosine = predicted @ truth / np.linalg.norm(predicted) / np.linalg.norm(truth)
    assert cosine > 0.8
    assert prediction.neighbours == 10
    assert prediction.cosine == found.mean_cosine > 0.6
    assert prediction.gradient["rate"].dtype == np.float32


def test_a_prediction_at_a_known_place_is_what_was_measured_there() -> None:
    found = memory().store(at(1.0), at(7.0), 3.0).store(at(5.0), at(-1.0), 4.0)
    prediction = found.predict_gradient(at(1.0))
    assert prediction.nearest == 0.0
    assert prediction.loss == pytest.approx(3.0)
    assert prediction.gradient["decay"] == pytest.approx(np.full(3, 7.0))


def test_nothing_is_predicted_from_nothing() -> None:
    prediction = memory().predict_gradient(at(1.0))
    assert (prediction.neighbours, prediction.gradient) == (0, {})
    assert math.isnan(prediction.loss)
    assert math.isnan(prediction.cosine)


def test_the_trend_is_the_slope_of_the_newest_losses() -> None:
    found = memory()
    assert found.loss_trend().slope == 0.0
    for number, loss in enumerate((9.0, 9.0, 3.0, 2.5, 2.0)):
        found = found.store(at(number), at(1.0), loss, version=number)
    trend = found.loss_trend(3)
    assert (trend.slope, trend.first, trend.last) == (pytest.approx(-0.5), 3.0, 2.0)
    assert (trend.best, trend.best_version) == (2.0, 4)


class TestFailedPlaces:
    def test_a_step_into_one_is_halved_until_it_ends_outside(self) -> None:
        found = memory(forbidden_radius=1.0).forbid(at(4.0), reason="burst")
        after, counted = found.steer(at(0.0), at(4.0))
        assert after["decay"].tolist() == [2.0, 2.0, 2.0]  # 4 away, of which half is far enough
        assert counted.counts.shortened == 1
        assert found.counts.shortened == 0

    def test_or_only_counted_where_that_is_wanted(self) -> None:
        found = memory(forbidden_radius=1.0, forbidden="report").forbid(at(4.0))
        after, counted = found.steer(at(0.0), at(4.0))
        assert after["decay"].tolist() == [4.0, 4.0, 4.0]
        assert counted.counts.entered == 1

    def test_steps_elsewhere_and_steps_out_are_free(self) -> None:
        found = memory(forbidden_radius=1.0).forbid(at(4.0))
        for before, after in ((0.0, 2.0), (4.1, 4.0), (4.0, 9.0)):
            moved, counted = found.steer(at(before), at(after))
            assert moved["decay"].tolist() == [after] * 3
            assert counted is found

    def test_where_nothing_helps_nothing_moves(self) -> None:
        found = memory(forbidden_radius=1.0).forbid(at(1.0))
        edge = at(0.4999999)  # its distance is that of the radius, and a little more
        moved, _ = found.steer(edge, at(1.0))
        assert moved["decay"].tolist() == edge["decay"].tolist()

    def test_the_oldest_is_forgotten_beyond_the_limit_and_a_repeat_adds_nothing(self) -> None:
        found = memory(max_forbidden=2)
        for value in (1.0, 2.0, 2.0, 3.0):
            found = found.forbid(at(value))
        assert len(found.regions) == 2
        assert found.counts.failures == 4
        assert not found.regions.inside(found.sketch.of(at(1.0))).any()


NAN, INF = math.nan, math.inf
HOSTILE: list[tuple[Any, Any, float, type[ChronosError]]] = [
    (at(NAN), at(1.0), 0.0, NonFiniteError),
    (at(1.0), at(INF), 0.0, NonFiniteError),
    (at(1.0), at(1.0), NAN, NonFiniteError),
    (at(1.0), at(1.0), -INF, NonFiniteError),
    ({}, at(1.0), 0.0, NameMismatchError),
    (at(1.0), {}, 0.0, NameMismatchError),
    ({**at(1.0), "more": np.zeros(1)}, at(1.0), 0.0, NameMismatchError),
    ({**at(1.0), "decay": np.zeros((3, 1))}, at(1.0), 0.0, ShapeMismatchError),
    ({**at(1.0), "decay": np.zeros(10_000)}, at(1.0), 0.0, ShapeMismatchError),
    ({**at(1.0), "decay": np.zeros(3, np.float32)}, at(1.0), 0.0, DtypeMismatchError),
]


@pytest.mark.parametrize(("values", "gradient", "loss", "error"), HOSTILE)
def test_what_cannot_be_remembered_is_refused_and_changes_nothing(
    values: Any, gradient: Any, loss: float, error: type[ChronosError]
) -> None:
    found = memory().store(at(1.0), at(1.0), 0.0)
    before = bits(found)
    with pytest.raises(error):
        found.store(values, gradient, loss)
    assert bits(found) == before


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: m.retrieve_similar(at(NAN)),
        lambda m: m.retrieve_similar(at(1.0), 0),
        lambda m: m.retrieve_similar(at(1.0), metric="manhattan"),
        lambda m: m.predict_gradient({}),
        lambda m: m.predict_gradient(at(1.0), -1),
        lambda m: m.loss_trend(0),
        lambda m: m.forbid(at(INF)),
        lambda m: m.forbid(at(1.0), radius=0.0),
        lambda m: m.forbid(at(1.0), radius=NAN),
    ],
)
def test_questions_that_make_no_sense_are_refused(ask: Any) -> None:
    with pytest.raises((InvalidRequestError, NonFiniteError, NameMismatchError)):
        ask(memory().store(at(1.0), at(1.0), 0.0))


def test_values_at_the_edge_of_the_range_neither_warn_nor_break() -> None:
    huge = {"rate": np.asarray(3e38, np.float32), "decay": np.full(3, 1.7e308)}
    for dimensions in (2, 128):
        found = memory(sketch_dimensions=dimensions)
        for value in (huge, at(0.0), huge):
            found = found.store(value, value, 1e308)
        assert found.retrieve_similar(huge, 1)[0].distance == 0.0
        assert np.isfinite(found.relevance).all()
        assert math.isfinite(found.counts.cosine_sum)


def test_outer_parameters_without_values_are_remembered_too() -> None:
    specs = (TensorSpec(name="none", shape=(0,), dtype="float32"),)
    found = ContinuumMemory.empty(MemoryConfig(), specs)
    nothing = {"none": np.zeros(0, np.float32)}
    found = found.store(nothing, nothing, 1.0).store(nothing, nothing, 2.0)
    assert found.predict_gradient(nothing).neighbours == 2


@pytest.mark.parametrize(
    "field",
    [
        {"max_entries": 0},
        {"max_bytes": 0},
        {"decay": 0.0},
        {"decay": 1.5},
        {"decay": NAN},
        {"neighbours": 0},
        {"sketch_dimensions": 0},
        {"half_after": 0},
        {"forbidden_radius": INF},
        {"forbidden_radius": 0.0},
        {"max_forbidden": 0},
        {"forbidden": "ignore"},
        {"seed": -1},
        {"max_entries": 1.5},
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(field))):
        MemoryConfig(**field)


def test_a_budget_for_no_entry_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_bytes"):
        memory(max_bytes=100)


def test_damaged_parts_are_found() -> None:
    found = memory().store(at(1.0), at(1.0), 0.0)
    meta, payload = to_parts(found)
    for bad_meta, bad in (
        (meta, payload[:-1]),
        (meta, payload + b"x"),
        ({**meta, "entries": [[1]]}, payload),
    ):
        with pytest.raises(CorruptStateError):
            from_parts(found.config, SPECS, bad_meta, bad)
    assert from_parts(found.config, SPECS, meta, payload).digest == found.digest
    assert replace(found, chain="other").digest != found.digest
