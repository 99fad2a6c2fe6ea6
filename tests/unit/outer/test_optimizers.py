"""Contract of every outer optimiser, and agreement with torch.optim."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from chronos_common.errors import (
    ConfigurationError,
    CorruptStateError,
    DtypeMismatchError,
    NameMismatchError,
    NonFiniteError,
    ShapeMismatchError,
)
from chronos_common.outer import (
    OPTIMIZERS,
    OptimizerState,
    OuterConfig,
    OuterSpec,
    TimescaleConfig,
    clip,
    make_optimizer,
)
from chronos_common.tensors import digest, specs_of

CONFIGS = {
    "sgd": OuterConfig(name="sgd", learning_rate=0.05),
    "sgd-momentum": OuterConfig(name="sgd", learning_rate=0.05, momentum=0.9),
    "sgd-nesterov": OuterConfig(
        name="sgd", learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=0.01
    ),
    "adam": OuterConfig(name="adam", learning_rate=0.1),
    "adam-decay": OuterConfig(name="adam", learning_rate=0.01, beta1=0.8, beta2=0.95, weight_decay=0.1),
    "adamw": OuterConfig(name="adamw", learning_rate=0.01, weight_decay=0.3),
    "delta-none": OuterConfig(
        name="delta_momentum", learning_rate=0.05, momentum=0.9, delta_rate=0.0, weight_decay=0.01
    ),
    "delta": OuterConfig(name="delta_momentum", learning_rate=0.05, momentum=0.9, delta_rate=0.7),
    "exponentiated-gradient": OuterConfig(name="exponentiated_gradient", learning_rate=0.3),
    "m3": OuterConfig(name="m3", learning_rate=0.02, slow_period=3, weight_decay=0.1),
    "levels": OuterConfig(
        name="sgd",
        learning_rate=0.1,
        levels=(
            TimescaleConfig(name="slow", parameters=("w*",), period=3, optimizer=OuterConfig(name="adam")),
        ),
    ),
    "levels-adaptive": OuterConfig(
        name="m3",
        levels=(TimescaleConfig(name="slow", parameters=("w*",), period=3, target_change=0.05),),
    ),
}
TORCH: dict[str, Callable[[Any, OuterConfig], torch.optim.Optimizer]] = {
    "sgd": lambda params, c: torch.optim.SGD(
        params, lr=c.learning_rate, momentum=c.momentum, nesterov=c.nesterov, weight_decay=c.weight_decay
    ),
    "adam": lambda params, c: torch.optim.Adam(
        params, lr=c.learning_rate, betas=(c.beta1, c.beta2), eps=c.epsilon, weight_decay=c.weight_decay
    ),
    "adamw": lambda params, c: torch.optim.AdamW(
        params, lr=c.learning_rate, betas=(c.beta1, c.beta2), eps=c.epsilon, weight_decay=c.weight_decay
    ),
    "delta_momentum": lambda params, c: torch.optim.SGD(
        params, lr=c.learning_rate, momentum=c.momentum, weight_decay=c.weight_decay
    ),
}
"""What torch has too; the delta rule without its rate is plain momentum."""

every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
with_torch = pytest.mark.parametrize(
    "config",
    [
        config
        for config in CONFIGS.values()
        if config.name in TORCH
        and not config.levels
        and not (config.name == "delta_momentum" and config.delta_rate)
    ],
    ids=str,
)


def some_arrays(seed: int, dtype: Any = np.float64) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "weights": rng.normal(size=(3, 4)).astype(dtype),
        "rate": np.asarray(rng.normal(), dtype=dtype),
        "none": np.zeros((0, 2), dtype),
    }


def mixed_arrays(seed: int) -> dict[str, Any]:
    return {"wide": some_arrays(seed)["weights"], "wnarrow": some_arrays(seed + 1, np.float32)["weights"]}


def start(config: OuterConfig, arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays as a starting point that the optimiser may have."""
    if config.name != "exponentiated_gradient":
        return arrays
    specs = [
        OuterSpec(name=spec.name, shape=spec.shape, dtype=spec.dtype, simplex=True)
        for spec in specs_of(arrays)
    ]
    return clip({name: np.abs(array) for name, array in arrays.items()}, specs)


def test_every_optimiser_is_under_contract() -> None:
    assert {config.name for config in CONFIGS.values()} == set(OPTIMIZERS)


@with_torch
def test_it_agrees_with_torch(config: OuterConfig) -> None:
    params = some_arrays(0)
    tensors = {name: torch.nn.Parameter(torch.tensor(array)) for name, array in params.items()}
    reference = TORCH[config.name](list(tensors.values()), config)
    optimizer = make_optimizer(config)
    state = optimizer.init(params)
    for step in range(1, 40):
        gradient = some_arrays(step)
        params, state = optimizer.step(params, gradient, state)
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(gradient[name])
        reference.step()
        assert state.steps == step
        for name, tensor in tensors.items():
            np.testing.assert_allclose(params[name], tensor.detach().numpy(), rtol=1e-12, atol=1e-12)


@every_config
def test_a_step_is_a_function_of_its_arguments_and_changes_none(config: OuterConfig) -> None:
    params, gradient, optimizer = start(config, mixed_arrays(0)), mixed_arrays(5), make_optimizer(config)
    state = optimizer.init(params)
    for _ in range(2):  # the next step flushes what has a period of 3
        _, state = optimizer.step(params, gradient, state)
    before = digest(params), digest(gradient), state.digest()
    for array in [*params.values(), *gradient.values(), *state.arrays().values()]:
        array.flags.writeable = False
    first, first_state = optimizer.step(params, gradient, state)
    second, second_state = make_optimizer(config).step(params, gradient, state)
    assert (digest(params), digest(gradient), state.digest()) == before
    assert digest(first) == digest(second) != before[0]
    assert first_state.digest() == second_state.digest() != before[2]
    for name in params:
        assert digest({name: first[name]}) == digest({name: params[name]}) or not np.shares_memory(
            first[name], params[name]
        )


@every_config
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_rank_keeps_its_shape_and_dtype(config: OuterConfig, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    shapes: list[tuple[int, ...]] = [(), (5,), (4, 3), (2, 3, 4), (2, 1, 3, 2), (1, 7), (0,), (2, 0)]
    arrays = {f"w{len(shape)}-{n}": rng.normal(size=shape).astype(dtype) for n, shape in enumerate(shapes)}
    params: Any = start(config, arrays)
    optimizer = make_optimizer(config)
    state = optimizer.init(params)
    for step in range(4):
        gradient = {name: rng.normal(size=array.shape).astype(dtype) for name, array in params.items()}
        params, state = optimizer.step(params, gradient, state)
        assert specs_of(params) == specs_of(arrays), step
        for slot in state.slots.values():
            assert specs_of(slot) == specs_of({name: params[name] for name in slot})
        assert all(np.isfinite(array).all() for array in [*params.values(), *state.arrays().values()])


@every_config
def test_a_zero_gradient_moves_nothing_from_the_start(config: OuterConfig) -> None:
    config = dataclasses.replace(config, weight_decay=0.0)
    params: Any = start(config, {"w": np.linspace(0.1, 1, 6).reshape(2, 3), "v": np.ones(())})
    optimizer = make_optimizer(config)
    stepped, state = params, optimizer.init(params)
    for _ in range(6):
        stepped, state = optimizer.step(
            stepped, {name: np.zeros_like(array) for name, array in params.items()}, state
        )
    for name in params:
        np.testing.assert_allclose(stepped[name], params[name], rtol=1e-15)


@every_config
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_refused_and_changes_nothing(
    config: OuterConfig, bad: float
) -> None:
    params, optimizer = start(config, mixed_arrays(0)), make_optimizer(config)
    _, state = optimizer.step(params, mixed_arrays(1), optimizer.init(params))
    before = digest(params), state.digest()
    gradient = mixed_arrays(2)
    gradient["wide"][1, 2] = bad
    with pytest.raises(NonFiniteError, match=r"'wide'.*\(1, 2\)"):
        optimizer.step(params, gradient, state)
    assert (digest(params), state.digest()) == before


@every_config
def test_every_array_keeps_its_shape_and_dtype(config: OuterConfig) -> None:
    params = {**mixed_arrays(0), "scalar32": np.array(1, np.float32), "scalar64": np.array(1.0)}
    params, optimizer = start(config, params), make_optimizer(config)
    stepped, state = optimizer.step(params, params, optimizer.init(params))
    assert specs_of(stepped) == specs_of(params)
    for slot in state.slots.values():
        assert specs_of(slot) == specs_of({name: params[name] for name in slot})


@every_config
def test_a_learning_rate_of_zero_moves_nothing(config: OuterConfig) -> None:
    params = start(config, mixed_arrays(0))
    levels = tuple(
        dataclasses.replace(level, optimizer=OuterConfig(learning_rate=0.0)) for level in config.levels
    )
    optimizer = make_optimizer(dataclasses.replace(config, learning_rate=0.0, levels=levels))
    state = optimizer.init(params)
    stepped: Any = params
    for seed in range(5):
        stepped, state = optimizer.step(stepped, mixed_arrays(seed), state)
    assert digest(stepped) == digest(params)


@every_config
def test_a_state_restored_from_its_parts_goes_on_to_the_bit(config: OuterConfig) -> None:
    params, optimizer = start(config, mixed_arrays(0)), make_optimizer(config)
    state = optimizer.init(params)
    for seed in range(5):
        _, state = optimizer.step(params, mixed_arrays(seed), state)
    meta, arrays = state.to_parts()
    restored = OptimizerState.from_parts(json.loads(json.dumps(meta)), arrays)
    assert restored.digest() == state.digest()
    ours, theirs = (optimizer.step(params, mixed_arrays(9), each) for each in (state, restored))
    assert (digest(ours[0]), ours[1].digest()) == (digest(theirs[0]), theirs[1].digest())


@every_config
def test_arguments_that_do_not_match_are_refused(config: OuterConfig) -> None:
    params, optimizer = start(config, some_arrays(0)), make_optimizer(config)
    state = optimizer.init(params)
    with pytest.raises(NameMismatchError, match="missing"):
        optimizer.step(params, {}, state)
    with pytest.raises(ShapeMismatchError, match="rate"):
        optimizer.step(params, {**params, "rate": np.zeros(1)}, state)
    with pytest.raises(DtypeMismatchError, match="weights"):
        optimizer.step(params, {**params, "weights": params["weights"].astype(np.float32)}, state)
    with pytest.raises((NameMismatchError, CorruptStateError), match="another optimiser|no clock"):
        optimizer.step(params, params, OptimizerState(slots={"other": params}))


@every_config
def test_an_overflow_is_silent_and_visible_in_the_result(config: OuterConfig) -> None:
    params = start(config, {"a": np.full(2, 1e38, np.float32), "w": np.ones(3, np.float32)})
    optimizer = make_optimizer(dataclasses.replace(config, learning_rate=1e4))
    gradient = {"a": np.full(2, -3e38, np.float32), "w": np.full(3, 3e38, np.float32)}
    stepped, _ = optimizer.step(params, gradient, optimizer.init(params))
    assert stepped["a"].dtype == np.float32


def test_the_first_steps_of_adam_in_float32_are_frozen() -> None:
    params = {"a": np.array([1.0, -2.0], np.float32)}
    optimizer = make_optimizer(OuterConfig())
    state = optimizer.init(params)
    stepped: Any = params
    for gradient in ([0.5, -0.25], [0.125, 3.0], [-1.0, 0.0]):
        stepped, state = optimizer.step(stepped, {"a": np.array(gradient, np.float32)}, state)
    assert [float(value).hex() for value in stepped["a"]] == FROZEN


FROZEN = ["0x1.b04dd80000000p-1", "-0x1.02c46c0000000p+1"]


def test_a_state_knows_what_belongs_to_it() -> None:
    state = OptimizerState(slots={"velocity": {"a/b": np.ones(2)}}, scalars={"x": 0.1}, steps=3)
    assert list(state.arrays()) == ["velocity/a/b"]
    meta, arrays = state.to_parts()
    assert OptimizerState.from_parts(meta, arrays).slots["velocity"]["a/b"] is arrays["velocity/a/b"]
    with pytest.raises(TypeError):
        state.slots["velocity"]["c"] = np.ones(1)  # type: ignore[index]  # that is the test
    other = OptimizerState(slots=state.slots, scalars={"x": 0.1 + 2**-56}, steps=3)
    assert other.digest() != state.digest()


@pytest.mark.parametrize(
    "fields",
    [{"slots": {"a/b": {}}}, {"slots": {"": {}}}, {"scalars": {"x": float("nan")}}, {"steps": -1}],
)
def test_an_impossible_state_is_refused(fields: Any) -> None:
    with pytest.raises(CorruptStateError):
        OptimizerState(**fields)


@pytest.mark.parametrize(
    ("meta", "arrays"),
    [
        ({}, {}),
        ({"slots": [], "scalars": {}, "steps": "many"}, {}),
        ({"slots": [], "scalars": {}, "steps": 0}, {"velocity/a": np.ones(1)}),
        ({"slots": [], "scalars": [1], "steps": 0}, {}),
    ],
)
def test_malformed_parts_are_refused(meta: Any, arrays: Any) -> None:
    with pytest.raises(CorruptStateError, match="malformed"):
        OptimizerState.from_parts(meta, arrays)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", -0.1),
        ("learning_rate", float("inf")),
        ("learning_rate", float("nan")),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("beta1", 1.0),
        ("beta2", 1.5),
        ("epsilon", 0.0),
        ("epsilon", 1e-60),
        ("weight_decay", -1.0),
        ("beta3", 1.0),
        ("slow_period", 0),
        ("slow_share", -0.1),
        ("newton_schulz_steps", -1),
        ("newton_schulz_steps", 101),
        ("delta_rate", 1.1),
    ],
)
def test_the_configuration_names_the_bad_field(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"outer\.{field} is "):
        OuterConfig(**{field: value})  # type: ignore[arg-type]  # one field of several types


def test_the_configuration_refuses_what_cannot_work_together() -> None:
    with pytest.raises(ConfigurationError, match="nesterov"):
        OuterConfig(name="sgd", nesterov=True)
    with pytest.raises(ConfigurationError, match=r"'lion'.*\['adam', .*'sgd'\]"):
        make_optimizer(OuterConfig(name="lion"))


@pytest.mark.parametrize(
    ("weights", "gradient", "expected"),
    [
        # The smallest gradient is that of a weight which is 0 already: it must not push all others out of the range.
        ([0.0, 0.4, 0.4, 0.2], [-1e6, 0.0, 0.0, 0.0], [0.0, 0.4, 0.4, 0.2]),
        ([0.0, 0.5, 0.5], [-1e300, 1e300, 0.0], [0.0, 0.0, 1.0]),
        ([0.25, 0.75], [-1e308, 1e308], [1.0, 0.0]),
    ],
)
def test_exponentiated_gradient_survives_gradients_of_weights_that_have_gone(
    weights: list[float], gradient: list[float], expected: list[float]
) -> None:
    optimizer = make_optimizer(OuterConfig(name="exponentiated_gradient", learning_rate=1.0))
    params = {"w": np.array(weights)}
    stepped, _ = optimizer.step(params, {"w": np.array(gradient)}, optimizer.init(params))
    np.testing.assert_allclose(stepped["w"], expected, rtol=1e-12, atol=1e-300)
