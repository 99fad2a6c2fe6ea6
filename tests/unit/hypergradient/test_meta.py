from __future__ import annotations

import numpy as np
import pytest
import torch

from chronos_common.errors import NameMismatchError, NonFiniteError, ShapeMismatchError
from chronos_common.hypergradient import HypergradientResult, ImplicitDifferentiation, OuterSpace
from chronos_common.outer import OuterConfig, make_optimizer
from chronos_common.problem import InnerProblem, OuterParameter, Tensors
from tests.support.problems import DOUBLE

CPU = torch.device("cpu")


class Two(InnerProblem):
    def outer_parameters(self) -> dict[str, OuterParameter | float]:
        rate = OuterParameter(torch.tensor([0.1, 1.0], dtype=DOUBLE), bounds=(0.05, 2.0), scale="log")
        return {"rate": rate, "shift": 1.0}


def result(outer: Tensors, gradient: Tensors) -> HypergradientResult:
    return HypergradientResult(gradient=gradient, state={}, diagnostics={}, outer=outer, problem=Two())


GRADIENT = {"rate": torch.tensor([1.0, -100.0], dtype=DOUBLE), "shift": torch.tensor(2.0)}
START = {"rate": torch.tensor([0.1, 1.0], dtype=DOUBLE), "shift": torch.tensor(1.0)}


def test_a_step_is_taken_in_stored_coordinates_and_within_the_bounds() -> None:
    estimator = ImplicitDifferentiation(optimizer=OuterConfig(name="sgd", learning_rate=0.1))
    after = estimator.step(result(START, GRADIENT))
    expected = torch.tensor([0.1 * np.exp(-0.1 * 0.1 * 1.0), 2.0], dtype=DOUBLE)
    torch.testing.assert_close(after["rate"], expected)
    torch.testing.assert_close(after["shift"], torch.tensor(0.8))
    assert after["shift"].dtype == torch.float32
    assert float(after["rate"][1]) <= 2.0
    assert estimator.meta is not None
    assert estimator.meta.version == 1


def test_the_default_is_gradient_descent_and_a_ready_optimiser_is_accepted() -> None:
    ready = ImplicitDifferentiation(optimizer=make_optimizer(OuterConfig(name="sgd", learning_rate=0.1)))
    default = ImplicitDifferentiation()
    assert torch.equal(
        ready.step(result(START, GRADIENT))["rate"], default.step(result(START, GRADIENT))["rate"]
    )


def test_memory_goes_on_from_step_to_step() -> None:
    config = OuterConfig(name="sgd", learning_rate=0.01, momentum=0.9)
    estimator = ImplicitDifferentiation(optimizer=config)
    first = estimator.step(result(START, GRADIENT))
    second = estimator.step(result(first, GRADIENT))
    moved = float(START["shift"] - first["shift"])
    assert float(first["shift"] - second["shift"]) == pytest.approx(1.9 * moved, rel=1e-5)


def test_a_lambda_that_the_caller_moved_is_taken_as_it_is() -> None:
    estimator = ImplicitDifferentiation(optimizer=OuterConfig(name="sgd", learning_rate=0.0))
    estimator.step(result(START, GRADIENT))
    moved = {**START, "shift": torch.tensor(5.0)}
    assert float(estimator.step(result(moved, GRADIENT))["shift"]) == 5.0
    assert estimator.meta is not None
    assert estimator.meta.version == 2


def test_many_steps_at_rate_zero_do_not_drift() -> None:
    estimator = ImplicitDifferentiation(optimizer=OuterConfig(name="sgd", learning_rate=0.0))
    outer = estimator.step(result(START, GRADIENT))
    start = outer
    for _ in range(50):
        outer = estimator.step(result(outer, GRADIENT))
    assert all(torch.equal(outer[name], start[name]) for name in outer)


def test_the_space_of_a_problem_has_specs_starting_values_and_the_chain_rule() -> None:
    space = OuterSpace.of(Two())
    specs = {spec.name: spec for spec in space.specs}
    assert (specs["rate"].scale, specs["rate"].dtype, specs["rate"].shape) == ("log", "float64", (2,))
    assert specs["rate"].lower == pytest.approx(np.log(0.05))
    assert (specs["shift"].lower, specs["shift"].upper) == (None, None)
    stored = space.initial()
    np.testing.assert_allclose(stored["rate"], np.log([0.1, 1.0]))
    assert stored["shift"].dtype == np.float32
    natural = space.natural(stored, CPU)
    torch.testing.assert_close(natural["rate"], START["rate"])
    gradient = space.gradient(GRADIENT, natural)
    np.testing.assert_allclose(gradient["rate"], [0.1, -100.0])
    np.testing.assert_allclose(gradient["shift"], 2.0)


def test_natural_values_never_leave_their_bounds_by_rounding() -> None:
    for bound in np.random.default_rng(0).uniform(0.01, 100, size=200):
        parameter = OuterParameter(torch.tensor(bound, dtype=DOUBLE), bounds=(None, bound), scale="log")
        space = OuterSpace({"x": parameter})
        assert float(space.natural(space.initial(), CPU)["x"]) <= bound


def test_stored_values_that_do_not_fit_are_refused() -> None:
    space = OuterSpace.of(Two())
    with pytest.raises(NameMismatchError):
        space.natural({"rate": np.zeros(2)}, CPU)
    with pytest.raises(ShapeMismatchError):
        space.natural({"rate": np.zeros(3), "shift": np.zeros((), np.float32)}, CPU)


@pytest.mark.parametrize(("name", "huge"), [("adam", 1e30), ("sgd", 1e308)])
def test_a_step_that_overflows_is_an_error_and_no_silent_stop(name: str, huge: float) -> None:
    """Adam's mean of squares would stay infinite, and its parameter never move again."""
    start = {**START, "shift": torch.tensor(1.0)}
    gradient = {"rate": torch.tensor([huge, 0.0], dtype=DOUBLE), "shift": torch.tensor(min(huge, 1e38))}
    estimator = ImplicitDifferentiation(optimizer=OuterConfig(name=name, learning_rate=100.0))
    with pytest.raises(NonFiniteError, match="step of the outer optimiser"):
        estimator.step(result(start, gradient))
    assert estimator.meta is None
