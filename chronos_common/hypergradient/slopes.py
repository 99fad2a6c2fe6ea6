"""First derivatives of both losses near the end of an inner loop: what first-order estimators are made of."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from chronos_common.hypergradient.base import outer_value
from chronos_common.hypergradient.replay import leaves_of
from chronos_common.hypergradient.vectors import grad
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory
from chronos_common.problem.solving import apply_update, inner_objective, outer_objective


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Slope:
    """A loss and its first derivatives at one point.

    Attributes:
        value: the loss.
        theta: by each inner parameter; zeros where it does not contain one.
        outer: by each outer parameter that it contains.
    """

    value: Tensor
    theta: Tensors
    outer: Tensors

    def plus(self, other: Slope, weight: float) -> Slope:
        """``self + weight · other``, for the inner parameters; the rest is of ``self``."""
        theta = {k: v + weight * other.theta[k] for k, v in self.theta.items()}
        return dataclasses.replace(self, theta=theta)


def outer_slope(run: Trajectory, problem: InnerProblem, state: InnerState | None = None) -> Slope:
    """That of the outer loss at ``state``, by default where ``run`` ended.

    Raises:
        ProblemError: it depends on nothing.
        DivergenceError: it is not finite.
    """
    at, outer = _leaves(state or run.final), leaves_of(run.outer)
    with torch.enable_grad():
        loss = outer_objective(problem, at, outer, run.end_step, run.ctx)
    outer_value(loss)
    return _slope(loss, at, outer, "outer_loss")


def inner_slope(run: Trajectory, problem: InnerProblem, state: InnerState, ahead: int = 0) -> Slope:
    """That of the inner loss at ``state``, on the batch that comes ``ahead`` steps after the next one."""
    at, outer = _leaves(state), leaves_of(run.outer)
    with torch.enable_grad():
        loss, _, _ = inner_objective(problem, at, outer, run.end_step + ahead, run.ctx)
    return _slope(loss, at, outer, "inner_loss")


def moved_along(state: InnerState, direction: Tensors, by: Tensor | float) -> InnerState:
    """``state`` with θ + by · direction."""
    params = {k: v + (by * direction[k]).to(v.dtype) for k, v in state.params.items()}
    return InnerState(params, state.buffers, state.opt_state)


def warm_started(state: InnerState, offset: Tensors) -> InnerState:
    """``state`` with θ + offset, or ``state`` itself where the offset is of other parameters."""
    shapes = {k: v.shape for k, v in offset.items()}
    fits = shapes == {k: v.shape for k, v in state.params.items()}
    return moved_along(state, offset, 1.0) if fits else state


def updated(
    run: Trajectory, problem: InnerProblem, state: InnerState, grads: Tensors, ahead: int
) -> InnerState:
    """The problem's own ``inner_update`` with other gradients than its own, without a graph."""
    with torch.no_grad():
        new = apply_update(problem, state, grads, run.outer, run.end_step + ahead, run.ctx)
    return new.detach()


def central_difference(
    run: Trajectory, problem: InnerProblem, direction: Tensors, radius: float
) -> tuple[Tensors, Tensors]:
    """∂²L_in/∂λ∂θ · v and ∂²L_in/∂θ² · v without second derivatives, at the end of ``run``.

    ::

        ∂²L_in/∂λ∂θ · v = (∂L_in/∂λ(θ + εv) - ∂L_in/∂λ(θ - εv)) / 2ε + O(ε²),     ε = radius / ‖v‖

    (DARTS, Liu et al., ICLR 2019, eq. 8.) Two gradients of the inner loss.

    Args:
        run: the finished inner loop.
        problem: whose.
        direction: v.
        radius: how far θ moves each way.

    Returns:
        Both products; the first for the outer parameters that the inner loss contains.
    """
    norm = total_norm(direction)
    epsilon = radius / norm if float(norm) != 0.0 else torch.ones_like(norm)
    above, below = (
        inner_slope(run, problem, moved_along(run.final, direction, sign * epsilon)) for sign in (1.0, -1.0)
    )
    mixed = {k: (v - below.outer[k]) / (2 * epsilon).to(v.dtype) for k, v in above.outer.items()}
    curved = {k: (v - below.theta[k]) / (2 * epsilon).to(v.dtype) for k, v in above.theta.items()}
    return mixed, curved


def total_norm(tensors: Tensors) -> Tensor:
    """Euclidean norm of all numbers together, 0-d float64."""
    return dot(tensors, tensors).sqrt()


def dot(one: Tensors, other: Tensors) -> Tensor:
    """Inner product of all numbers together, 0-d float64."""
    parts = [(v.double() * other[k].double()).sum() for k, v in one.items()]
    return torch.stack(parts).sum() if parts else torch.zeros((), dtype=torch.float64)


def combined(direct: Tensors, mixed: Tensors, weight: Tensor | float) -> Tensors:
    """``direct + weight · mixed`` by name, of what is there."""
    scaled = {k: (weight * v).to(v.dtype) for k, v in mixed.items()}
    return {
        k: direct[k] + scaled[k] if k in direct and k in scaled else direct.get(k, scaled.get(k))  # type: ignore[misc]
        for k in direct.keys() | scaled.keys()
    }


def explain_unused_in_losses(name: str) -> str:
    """What first-order estimators say of a parameter that they did not meet."""
    return (
        f"outer parameter '{name}' occurs neither in inner_loss nor in outer_loss, and first-order estimators "
        "look nowhere else; use UnrolledDifferentiation, which follows the inner updates, for learning rates, "
        "starting points and the like"
    )


def _leaves(state: InnerState) -> InnerState:
    return InnerState(leaves_of(state.params), state.buffers, state.opt_state)


def _slope(loss: Tensor, at: InnerState, outer: Tensors, where: str) -> Slope:
    found = grad(loss, (*at.params.values(), *outer.values()), where)
    theta = zip(at.params.items(), found[: len(at.params)], strict=True)
    parts = zip(outer, found[len(at.params) :], strict=True)
    return Slope(
        value=loss.detach(),
        theta={k: torch.zeros_like(v) if g is None else g for (k, v), g in theta},
        outer={k: g for k, g in parts if g is not None},
    )
