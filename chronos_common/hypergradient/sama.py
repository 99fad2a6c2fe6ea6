"""SAMA: one adapted step, with the second derivatives by finite differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient
from chronos_common.hypergradient.replay import explain_unused_in_steps, leaves_of
from chronos_common.hypergradient.slopes import central_difference, combined, inner_slope, outer_slope
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, Tensors, Trajectory
from chronos_common.problem.solving import apply_update


@dataclasses.dataclass(frozen=True, kw_only=True)
class SAMAConfig:
    """See :class:`SAMA`.

    Raises:
        ConfigurationError: a value that is not above 0.
    """

    radius: float = 0.01
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (self.radius > 0.0 and self.scale > 0.0):
            raise ConfigurationError("radius and scale must be above 0")


class SAMA(HypergradientEstimator):
    """Scalable meta learning with algorithmic adaptation (Choe et al., NeurIPS 2023).

    ::

        dL_out/dλ ≈ ∂L_out/∂λ + s (∂²L_in/∂λ∂θ w + (∂Φ/∂λ)ᵀ b),   w = (∂Φ/∂g)ᵀ b,   b = ∂L_out/∂θ

    Φ is the problem's own ``inner_update`` as a function of the gradients g: with plain gradient descent w is -η b,
    with Adam it is scaled as Adam scales. The term with ∂Φ/∂λ is for learning rates and the like; the paper has
    none. It is the hypergradient through one more step, to first order in how far that step goes.

    Cost: one gradient of the outer loss, three of the inner loss, one backward pass through ``inner_update``; no
    second derivatives of a loss. Memory: one gradient's graph and 4 times θ, whatever T is. Error: against the
    derivative through one step O(radius²); against the derivative through all of them, what earlier steps
    add, which is most of its length (its direction is what is used).

    Args:
        radius: how far θ moves each way, as a distance; in float32 no less than about 1e-3.
        scale: s.
        optimizer: see :class:`HypergradientEstimator`.

    Diagnostics: ``outer_loss``.
    """

    def __init__(
        self,
        *,
        radius: float = 0.01,
        scale: float = 1.0,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = SAMAConfig(radius=radius, scale=scale)

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_in_steps(name)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; there is no warm start.

        Raises:
            ProblemError: ``inner_update`` does not depend on the gradients.
        """
        slope = outer_slope(trajectory, problem)
        adapted, through_rule = _adapted(trajectory, problem, slope.theta)
        mixed, _ = central_difference(trajectory, problem, adapted, self.config.radius)
        through_step = combined(through_rule, mixed, 1.0)
        return TaskHypergradient(
            gradient=combined(slope.outer, through_step, self.config.scale),
            state={},
            diagnostics={"outer_loss": float(slope.value)},
        )


def _adapted(run: Trajectory, problem: InnerProblem, b: Tensors) -> tuple[Tensors, Tensors]:
    """(∂Φ/∂g)ᵀ b, and (∂Φ/∂λ)ᵀ b for the outer parameters that the rule contains."""
    grads = leaves_of(inner_slope(run, problem, run.final).theta)
    outer = leaves_of(run.outer)
    with torch.enable_grad():
        moved = apply_update(problem, run.final, grads, outer, run.end_step, run.ctx).params
    images = [k for k, v in moved.items() if v.requires_grad]
    if not images and grads:
        raise ProblemError(
            "inner_update returns parameters without a graph to the gradients; write it without detach(), "
            ".data, .item(), float() and torch.no_grad(), or use FiniteDifference, which does not follow it"
        )
    found: Sequence[Tensor | None] = torch.autograd.grad(
        [moved[k] for k in images],
        (*grads.values(), *outer.values()),
        [b[k] for k in images],
        allow_unused=True,
    )
    adapted = {
        k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(grads.items(), found, strict=False)
    }
    return adapted, {k: g for k, g in zip(outer, found[len(grads) :], strict=True) if g is not None}
