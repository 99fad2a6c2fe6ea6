"""Pseudo-gradients: how far the inner loop went from where λ let it start."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient, outer_value
from chronos_common.hypergradient.replay import leaves_of
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, Tensors, Trajectory, defines
from chronos_common.problem.solving import fresh_state, outer_objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoGradientConfig:
    """See :class:`PseudoGradient`.

    Raises:
        ConfigurationError: ``scale`` not above 0.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0.0:
            raise ConfigurationError(f"scale must be above 0, not {self.scale}")


class PseudoGradient(HypergradientEstimator):
    """Reptile (Nichol et al., 2018) and local SGD: for λ that is where θ starts.

    ::

        Δ = s (∂θ₀/∂λ)ᵀ (θ₀ - θ_T)

    For θ₀ = λ it is s (λ - θ_T): a step of gradient descent on it at rate 1 is one of local SGD, at less than 1
    one of Reptile. It is an update and not the derivative of the outer loss, which it does not look at: no second
    derivatives, and nothing about parameters that ``init_inner`` does not contain.

    Cost: none beside the inner loop. Memory: none beside it. Error: with s = 1/(rate · T) and plain
    gradient descent it is the mean of the inner gradients on the way, which differs from the derivative of the
    same loss at θ_T by λ by O(rate · T).

    Args:
        scale: s.
        optimizer: see :class:`HypergradientEstimator`.

    Diagnostics: ``outer_loss`` (the last inner loss, where the problem has no ``outer_loss``).
    """

    requires: ClassVar[tuple[str, ...]] = ("init_inner", "inner_loss")

    def __init__(self, *, scale: float = 1.0, optimizer: OuterConfig | OuterOptimizer | None = None) -> None:
        super().__init__(optimizer=optimizer)
        self.config = PseudoGradientConfig(scale=scale)

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return (
            f"outer parameter '{name}' does not occur in init_inner, and a pseudo-gradient is about where θ "
            "starts and about nothing else; use UnrolledDifferentiation or ImplicitDifferentiation for it"
        )

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; there is no warm start.

        Raises:
            ConfigurationError: the loop did not begin at ``init_inner``.
        """
        if not trajectory.from_init_inner:
            raise ConfigurationError(
                "a pseudo-gradient needs an inner loop that began at init_inner(outer, ctx); this one was "
                "warm-started, so that λ had no part in where it began"
            )
        outer = leaves_of(trajectory.outer)
        with torch.enable_grad():
            start = fresh_state(problem, outer, trajectory.start_step, trajectory.ctx).params
        moving = [k for k, v in start.items() if v.requires_grad]
        found = (
            torch.autograd.grad(
                [start[k] for k in moving],
                tuple(outer.values()),
                [
                    self.config.scale * (trajectory.initial.params[k] - trajectory.final.params[k])
                    for k in moving
                ],
                allow_unused=True,
            )
            if moving
            else [None] * len(outer)
        )
        return TaskHypergradient(
            gradient={k: g for k, g in zip(outer, found, strict=True) if g is not None},
            state={},
            diagnostics={"outer_loss": _reported(trajectory, problem)},
        )


def _reported(run: Trajectory, problem: InnerProblem) -> float:
    if defines(problem, "outer_loss"):
        with torch.no_grad():
            return outer_value(outer_objective(problem, run.final, run.outer, run.end_step, run.ctx))
    return float(run.losses[-1]) if run.num_steps else 0.0
