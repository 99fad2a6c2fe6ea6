"""Levels: exact sums over half-open intervals, each level by its own optimiser, and clocks that survive."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chronos_common.errors import ConfigurationError, CorruptStateError, NonFiniteError
from chronos_common.outer import (
    LevelClock,
    MultiTimescaleOptimizer,
    OptimizerState,
    OuterConfig,
    OuterSpec,
    TimescaleConfig,
    make_optimizer,
    require_steppable,
    step_within,
)
from chronos_common.outer.clock import adapted
from chronos_common.tensors import digest

SGD = OuterConfig(name="sgd", learning_rate=0.1)


def some(seed: int, dtype: Any = np.float64) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"body.0": (3, 2), "body.1": (4,), "head": (2,)}
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def level(name: str, *parameters: str, **settings: Any) -> TimescaleConfig:
    return TimescaleConfig(name=name, parameters=parameters, **settings)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("period", [1, 2, 3, 7])
def test_gradient_descent_on_levels_is_the_papers_formula_to_the_bit(period: int, dtype: Any) -> None:
    """θ_{i+1} = θ_i - η·Σ over (i-C, i] of g, if i ≡ 0 mod C; else θ_i."""
    optimizer = MultiTimescaleOptimizer([level("l", "body.*", period=period)], base=SGD)
    params: Any = some(0, dtype)
    state = optimizer.init(params)
    gradients = [some(i, dtype) for i in range(1, 23)]  # gradients[i-1] is that of version i
    expected = dict(params)
    for i in range(1, 23):
        params, state = optimizer.step(params, gradients[i - 1], state)
        expected["head"] = expected["head"] - 0.1 * gradients[i - 1]["head"]
        if i % period == 0:
            for name in ("body.0", "body.1"):
                total = np.zeros_like(expected[name])
                for t in range(i - period + 1, i + 1):
                    total = total + gradients[t - 1][name]
                expected[name] = expected[name] - 0.1 * total
        assert digest(params) == digest(expected), i
    assert state.steps == 22


def test_a_level_that_is_not_due_keeps_its_very_arrays() -> None:
    optimizer = MultiTimescaleOptimizer([level("slow", "body.*", period=3)], base=SGD)
    params = some(0)
    first = optimizer.advance(params, some(1), optimizer.init(params))
    assert first.flushed == ("base",)
    assert first.moved == {"head"}
    assert first.params["body.0"] is params["body.0"]
    second = optimizer.advance(first.params, some(2), first.state)
    third = optimizer.advance(second.params, some(3), second.state)
    assert third.flushed == ("slow", "base")
    assert not any(array.any() for array in third.state.slots["slow.gathered"].values())


def test_every_level_steps_by_its_own_optimiser_on_the_sum() -> None:
    adam = OuterConfig(name="adam", learning_rate=0.05)
    optimizer = MultiTimescaleOptimizer(
        [
            level("mid", "body.0", period=2, optimizer=adam),
            level("late", "body.1", period=3, reduction="mean"),
        ],
        base=replace(SGD, momentum=0.5),
    )
    alone = {"body.0": make_optimizer(adam), "body.1": make_optimizer(replace(SGD, momentum=0.5))}
    params = some(0)
    expected = {name: {name: params[name]} for name in alone}
    memory = {name: alone[name].init(expected[name]) for name in alone}
    state = optimizer.init(params)
    gradients = [some(i) for i in range(1, 7)]
    for gradient in gradients:
        params, state = optimizer.step(params, gradient, state)
    for name, period, divisor in (("body.0", 2, 1), ("body.1", 3, 3)):
        for begin in range(0, 6, period):
            total = np.zeros_like(params[name])
            for gradient in gradients[begin : begin + period]:
                total = total + gradient[name]
            expected[name], memory[name] = alone[name].step(
                expected[name], {name: total / divisor}, memory[name]
            )
        assert digest({name: params[name]}) == digest(expected[name])
    assert state.scalars["mid.flushes"] == 3.0
    assert state.scalars["late.flushes"] == 2.0


def test_a_state_restored_in_mid_period_goes_on_to_the_bit() -> None:
    levels = [level("slow", "body.*", period=4, optimizer=OuterConfig(name="m3"), target_change=0.1)]
    straight = MultiTimescaleOptimizer(levels, base=SGD)
    params = other = some(0)
    state = restored = straight.init(params)
    for i in range(1, 15):
        params, state = straight.step(params, some(i), state)
        meta, arrays = restored.to_parts()
        restored = OptimizerState.from_parts(json.loads(json.dumps(meta)), arrays)
        other, restored = MultiTimescaleOptimizer(levels, base=SGD).step(other, some(i), restored)
        assert digest(params) == digest(other)
        assert state.digest() == restored.digest()


def test_versions_of_skips_tick_and_add_nothing() -> None:
    optimizer = MultiTimescaleOptimizer([level("slow", "body.*", period=3)], base=SGD)
    params = some(0)
    first = optimizer.advance(params, None, optimizer.init(params))
    assert first.moved == frozenset()
    assert digest(first.params) == digest(params)
    second = optimizer.advance(first.params, some(1), first.state)
    third = optimizer.advance(second.params, None, second.state)
    assert third.flushed == ("slow",)  # due at version 3, whatever came
    np.testing.assert_array_equal(third.params["body.1"], params["body.1"] - 0.1 * some(1)["body.1"])


def test_a_period_without_a_gradient_is_no_flush() -> None:
    adam = OuterConfig(name="adam")
    optimizer = MultiTimescaleOptimizer([level("slow", "body.*", period=2, optimizer=adam)], base=SGD)
    params = some(0)
    advance = optimizer.advance(params, some(1), optimizer.init(params))
    advance = optimizer.advance(advance.params, some(2), advance.state)
    before = advance
    for _ in range(2):
        advance = optimizer.advance(advance.params, None, advance.state)
        assert advance.flushed == ()
    assert digest(advance.params) == digest(before.params)
    assert advance.state.scalars["slow.flushes"] == 1.0
    assert advance.state.scalars["slow.ticks"] == 0.0


def test_the_mean_is_over_the_gradients_that_came() -> None:
    optimizer = MultiTimescaleOptimizer([level("slow", "body.*", period=3, reduction="mean")], base=SGD)
    params = some(0)
    advance = optimizer.advance(params, some(1), optimizer.init(params))
    advance = optimizer.advance(advance.params, None, advance.state)
    advance = optimizer.advance(advance.params, some(2), advance.state)
    expected = params["body.1"] - 0.1 * ((some(1)["body.1"] + some(2)["body.1"]) / 2)
    np.testing.assert_array_equal(advance.params["body.1"], expected)


def test_an_adaptive_period_follows_the_change() -> None:
    """Gradient 1 at rate .1 on parameters of 1: a flush after C versions changes them by .1·C."""
    slow = level("slow", "a", period=8, target_change=0.2, max_period=16)
    optimizer = MultiTimescaleOptimizer([slow], base=SGD)
    params: Any = {"a": np.ones(4)}
    state = optimizer.init(params)
    flushed_at, periods = [], []
    for version in range(1, 40):
        # The sum is taken back at once, so that every flush is measured against parameters of 1.
        advance = optimizer.advance({"a": np.ones(4)}, {"a": np.ones(4)}, state)
        state = advance.state
        if advance.flushed:
            flushed_at.append(version)
            periods.append(optimizer.period_of("slow", state))
    assert flushed_at[:4] == [8, 12, 16, 20]  # .8 is above twice the target, .4 is not
    assert periods[:4] == [4, 4, 4, 4]
    quiet: Any = optimizer.init(params)
    seen = []
    for _ in range(60):
        advance = optimizer.advance(params, {"a": np.full(4, 1e-6)}, quiet)
        quiet = advance.state
        if advance.flushed:
            seen.append(optimizer.period_of("slow", quiet))
    assert seen == [16, 16, 16, 16]


@pytest.mark.parametrize(
    ("change", "period"), [(0.0, 20), (0.04, 20), (0.05, 10), (0.2, 10), (0.21, 5), (np.inf, 5)]
)
def test_periods_double_and_halve(change: float, period: int) -> None:
    assert adapted(10, change, 0.1, lowest=1, highest=50) == period
    assert adapted(1, 1.0, 0.1, lowest=1, highest=50) == 1
    assert adapted(40, 0.0, 0.1, lowest=1, highest=50) == 50
    assert adapted(10, 1.0, 0.1, lowest=8, highest=50) == 8


def test_a_parameter_belongs_to_the_first_level_that_matches() -> None:
    optimizer = MultiTimescaleOptimizer([level("one", "body.1"), level("two", "body.*", "h*")])
    assert optimizer.groups(some(0)) == {"one": ("body.1",), "two": ("body.0", "head")}
    assert optimizer.level_of(some(0)) == {"body.1": "one", "body.0": "two", "head": "two"}


def test_a_level_without_parameters_is_refused() -> None:
    optimizer = MultiTimescaleOptimizer([level("one", "*"), level("two", "body.*")])
    with pytest.raises(ConfigurationError, match=r"'two' has no parameter.*body\.\*"):
        optimizer.init(some(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "base"}, "'base'"),
        ({"name": "a.b"}, "letters, digits"),
        ({"name": ""}, "letters, digits"),
        ({"parameters": ()}, "patterns"),
        ({"parameters": "body"}, "patterns"),
        ({"parameters": ("",)}, "patterns"),
        ({"period": -1}, "period is -1"),
        ({"period": 10**7}, "period is 10000000"),
        ({"period": 2.5}, "whole number"),
        ({"reduction": "max"}, "'sum' or 'mean'"),
        ({"target_change": -1.0}, "target_change"),
        ({"target_change": float("nan")}, "target_change"),
        ({"target_change": 0.1, "period": 5, "max_period": 4}, "between min_period"),
        ({"optimizer": "adam"}, "OuterConfig"),
        (
            {"optimizer": OuterConfig(levels=(TimescaleConfig(name="x", parameters=("*",)),))},
            "without levels",
        ),
    ],
)
def test_a_timescale_that_cannot_work_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TimescaleConfig(**{"name": "slow", "parameters": ("*",), **settings})


def test_periods_follow_the_names_of_the_levels() -> None:
    assert [level(name, "*").period for name in ("fast", "medium", "slow", "other")] == [1, 10, 100, 10]
    assert level("slow", "*", period=7).period == 7


def test_levels_are_named_once() -> None:
    with pytest.raises(ConfigurationError, match="twice: a"):
        OuterConfig(levels=(level("a", "x"), level("a", "y")))
    with pytest.raises(ConfigurationError, match="TimescaleConfig"):
        OuterConfig(levels=[level("a", "x")])  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ConfigurationError, match="choose one of"):
        MultiTimescaleOptimizer([level("a", "x", optimizer=OuterConfig(name="lion"))])


def test_a_configuration_survives_json_and_says_nothing_new_by_default() -> None:
    assert OuterConfig().to_json().keys() == {
        "name", "learning_rate", "momentum", "nesterov", "beta1", "beta2", "epsilon", "weight_decay",
    }  # fmt: skip
    config = OuterConfig(
        name="m3",
        slow_period=4,
        levels=(
            level("slow", "a*", "b", optimizer=OuterConfig(name="sgd", nesterov=True, momentum=0.5)),
            level("adaptive", "c", target_change=0.25, reduction="mean"),
        ),
    )
    assert OuterConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lerning_rate": 1}, "no setting 'lerning_rate'"),
        ({"levels": 3}, "list of tables"),
        ({"levels": ["slow"]}, "table of settings"),
        ({"levels": [{"name": "slow"}]}, "no parameters"),
        ({"levels": [{"parameters": ["*"]}]}, "no name"),
        ({"levels": [{"name": "s", "parameters": 5}]}, "patterns"),
        ({"levels": [{"name": "s", "parameters": "*", "pereod": 1}]}, "'pereod'"),
        ({"levels": [{"name": "s", "parameters": "*", "optimizer": {"nme": "sgd"}}]}, "'nme'"),
    ],
)
def test_a_written_configuration_that_cannot_work_is_refused(values: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OuterConfig.from_json(values)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="table"):
        OuterConfig.from_json([])  # type: ignore[arg-type]  # that is the test


def test_a_state_of_other_levels_is_refused() -> None:
    ours = MultiTimescaleOptimizer([level("a", "body.*", period=3)], base=SGD)
    theirs = MultiTimescaleOptimizer([level("b", "body.*", period=3)], base=SGD)
    params = some(0)
    with pytest.raises(CorruptStateError, match="'a'"):
        ours.step(params, some(1), theirs.init(params))
    state = ours.init(params)
    without = OptimizerState(scalars=state.scalars)
    with pytest.raises(CorruptStateError, match="gathered"):
        ours.step(params, some(1), without)


@pytest.mark.parametrize("numbers", [{"period": 0}, {"ticks": 3}, {"gathered": 1}, {"flushes": -1}])
def test_an_impossible_clock_is_refused(numbers: Any) -> None:
    with pytest.raises(CorruptStateError, match="clock"):
        LevelClock(**{"period": 2, **numbers})


# --- within bounds ----------------------------------------------------------------------------------------


def specs(**more: Any) -> tuple[OuterSpec, ...]:
    return tuple(
        OuterSpec(name=name, shape=array.shape, dtype="float64", **more) for name, array in some(0).items()
    )


def test_only_what_moves_is_scaled_and_clipped() -> None:
    optimizer = MultiTimescaleOptimizer([level("slow", "body.*", period=2)], base=SGD)
    params = {name: np.full_like(array, -0.0) for name, array in some(0).items()}
    gradient = {name: np.ones_like(array) for name, array in params.items()}
    step = step_within(
        optimizer, specs(lower=-0.05, upper=1.0), params, gradient, optimizer.init(params), scale=0.25
    )
    assert step.moved == {"head"}
    np.testing.assert_allclose(step.params["head"], -0.025)
    assert step.params["body.0"] is params["body.0"]
    step = step_within(optimizer, specs(lower=-0.05, upper=1.0), step.params, gradient, step.state)
    assert step.flushed == ("slow", "base")
    np.testing.assert_array_equal(step.params["body.0"], -0.05)


def test_without_levels_a_version_of_skips_changes_nothing() -> None:
    optimizer = make_optimizer(SGD)
    params, state = some(0), optimizer.init(some(0))
    step = step_within(optimizer, specs(), params, None, state)
    assert (step.moved, step.state) == (frozenset(), state)


def test_a_gradient_that_is_not_finite_reaches_no_accumulator() -> None:
    optimizer = MultiTimescaleOptimizer([level("slow", "body.*", period=2)], base=SGD)
    params, gradient = some(0), some(1)
    gradient["body.0"][0, 0] = np.inf
    with pytest.raises(NonFiniteError):
        optimizer.step(params, gradient, optimizer.init(params))


def test_exponentiated_gradient_needs_the_simplex() -> None:
    on_simplex = (*specs()[:2], replace(specs()[2], simplex=True))
    config = OuterConfig(levels=(level("mix", "head", optimizer=OuterConfig(name="exponentiated_gradient")),))
    require_steppable(make_optimizer(config), on_simplex)
    with pytest.raises(ConfigurationError, match=r"'head'.*constraint='simplex'"):
        require_steppable(make_optimizer(config), specs())
    with pytest.raises(ConfigurationError, match=r"'body\.0'"):
        require_steppable(make_optimizer(OuterConfig(name="exponentiated_gradient")), on_simplex)
