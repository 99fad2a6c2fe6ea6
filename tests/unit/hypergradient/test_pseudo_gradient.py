"""Pseudo-gradients: λ minus where the inner loop went from it."""

from __future__ import annotations

import pytest
import torch

from chronos_common.errors import ConfigurationError, OuterParameterUnusedError
from chronos_common.hypergradient import PseudoGradient
from chronos_common.outer import OuterConfig
from chronos_common.problem import InnerState
from tests.support.problems import Ridge, Started, central_differences, normal, small_mlp, solved_loss


@pytest.mark.parametrize("problem", [Started(Ridge()), Started(small_mlp())], ids=["ridge", "network"])
def test_is_how_far_theta_went(problem: Started) -> None:
    final, run = problem.solve(num_steps=6)
    gradient = PseudoGradient(scale=3.0).compute_hypergradient(run, problem).gradient
    for name, value in run.outer.items():
        torch.testing.assert_close(gradient[name], 3.0 * (value - final.params[name]))


def test_a_step_at_rate_one_is_local_sgd_and_less_is_reptile() -> None:
    problem = Started(Ridge())
    final, run = problem.solve(num_steps=6)
    for rate in (1.0, 0.25):
        learner = PseudoGradient(optimizer=OuterConfig(name="sgd", learning_rate=rate))
        moved = learner.step(learner.compute_hypergradient(run, problem))["w"]
        torch.testing.assert_close(moved, run.outer["w"] + rate * (final.params["w"] - run.outer["w"]))


def test_its_bias_falls_with_the_length_of_the_loop() -> None:
    """Against the derivative of the same loss at the end: O(rate · T)."""
    errors = []
    for steps in (8, 4, 2):
        problem = Started(Ridge())
        _, run = problem.solve(num_steps=steps)
        truth = central_differences(solved_loss(problem, steps), run.outer)["w"]
        scale = 1 / (problem.inner_learning_rate * steps)
        found = PseudoGradient(scale=scale).compute_hypergradient(run, problem).gradient["w"]
        errors.append(float((found - truth).norm()))
    assert 1.6 < errors[0] / errors[1] < 2.2
    assert 1.3 < errors[1] / errors[2] < 2.2


def test_a_parameter_that_theta_does_not_start_from_is_named() -> None:
    problem = Ridge()
    _, run = problem.solve(num_steps=2)
    with pytest.raises(OuterParameterUnusedError, match="'decay' does not occur in init_inner"):
        PseudoGradient().compute_hypergradient(run, problem)


def test_a_warm_start_is_refused() -> None:
    problem = Started(Ridge(4))
    _, run = problem.solve(init=InnerState({"w": normal(4, seed=1)}), num_steps=2)
    with pytest.raises(ConfigurationError, match="warm-started"):
        PseudoGradient().compute_hypergradient(run, problem)


def test_the_scale_must_be_positive() -> None:
    with pytest.raises(ConfigurationError, match="scale"):
        PseudoGradient(scale=0.0)
