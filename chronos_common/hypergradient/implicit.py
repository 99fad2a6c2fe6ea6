"""Implicit differentiation: the hypergradient at a solved inner problem, without its history."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, DivergenceError, ProblemError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient, outer_value
from chronos_common.hypergradient.conjugate_gradient import LinearSolution, conjugate_gradient
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory
from chronos_common.problem.solving import inner_objective, outer_objective

_log = logging.getLogger(__name__)

Gradients = Sequence[Tensor | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImplicitConfig:
    """See :class:`ImplicitDifferentiation`.

    Raises:
        ConfigurationError: a value out of range.
    """

    cg_steps: int = 10
    damping: float = 0.01
    tolerance: float = 1e-10
    warm_start: bool = True

    def __post_init__(self) -> None:
        if self.cg_steps < 1:
            raise ConfigurationError(f"cg_steps must be at least 1, not {self.cg_steps}")
        if not self.damping >= 0.0:
            raise ConfigurationError(f"damping must be at least 0, not {self.damping}")
        if not self.tolerance >= 0.0:
            raise ConfigurationError(f"tolerance must be at least 0, not {self.tolerance}")


class ImplicitDifferentiation(HypergradientEstimator):
    """The implicit function theorem at the final θ, with the inverse Hessian by conjugate gradient.

    ::

        dL_out/dλ = ∂L_out/∂λ - (∂²L_in/∂λ∂θ) v,    (∂²L_in/∂θ² + damping · I) v = ∂L_out/∂θ

    (Pedregosa, ICML 2016). It is exact where ∂L_in/∂θ = 0 and the Hessian is positive definite; it knows
    neither how θ was reached nor the update rule, so that a parameter outside the inner loss (a learning
    rate, a starting point) has no hypergradient here, and asking for one is an error. The inner loss is
    taken in training mode on the batch that would come next.

    Args:
        cg_steps: the most iterations of conjugate gradient; each costs one Hessian-vector product.
        damping: added to the Hessian's diagonal; biases the result, and steadies it where the inner
            problem is flat or not quite solved.
        tolerance: relative residual at which conjugate gradient stops early.
        warm_start: start it from the last solution, which lies in the result's ``state``.
        optimizer: see :class:`HypergradientEstimator`.

    Diagnostics: ``outer_loss``, ``cg_iterations``, ``cg_residual`` (relative), ``cg_converged`` (0 or 1)
    and ``cg_nonpositive_curvature`` (1: the damped Hessian is not positive definite; the gradient uses
    the iterate before that was found, and a warning is logged; raise the damping or solve further).
    """

    def __init__(
        self,
        *,
        cg_steps: int = 10,
        damping: float = 0.01,
        tolerance: float = 1e-10,
        warm_start: bool = True,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = ImplicitConfig(
            cg_steps=cg_steps, damping=damping, tolerance=tolerance, warm_start=warm_start
        )

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return (
            f"outer parameter '{name}' does not occur in inner_loss, so that implicit differentiation "
            "cannot see how it changes the solution; use UnrolledDifferentiation, which follows the inner "
            "updates, for learning rates, starting points and the like"
        )

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class."""
        theta = {k: v.detach().requires_grad_() for k, v in trajectory.final.params.items()}
        outer = {k: v.detach().requires_grad_() for k, v in trajectory.outer.items()}
        inner = InnerState(theta, trajectory.final.buffers, trajectory.final.opt_state)
        step, ctx = trajectory.end_step, trajectory.ctx
        leaves, lambdas = tuple(theta.values()), tuple(outer.values())

        with torch.enable_grad():
            outer_loss = outer_objective(problem, inner, outer, step, ctx)
            loss, _, _ = inner_objective(problem, inner, outer, step, ctx)
            # ∂L/∂λ is needed only to learn which λ occur: it comes out of the same backward pass.
            first = _grad(loss, (*leaves, *lambdas), "inner_loss", create_graph=True)
        direct = _grad(outer_loss, (*leaves, *lambdas), "outer_loss")
        value = outer_value(outer_loss)
        slope, used = _Slope(first[: len(leaves)], leaves), first[len(leaves) :]
        b = _flatten([_zero_if_none(g, leaf) for g, leaf in zip(direct, leaves, strict=False)])

        solution = self._solve(slope, b, state.get("v"), ctx.task.name)
        mixed = slope.by(lambdas, solution.x, retain_graph=False)
        gradient = {
            name: _difference(direct[len(leaves) + i], mixed[i], lambdas[i])
            for i, name in enumerate(outer)
            if used[i] is not None
        }
        diagnostics = {
            "outer_loss": value,
            "cg_iterations": float(solution.iterations),
            "cg_residual": solution.residual,
            "cg_converged": float(solution.converged),
            "cg_nonpositive_curvature": float(solution.breakdown),
        }
        warm = {"v": solution.x} if self.config.warm_start else {}
        return TaskHypergradient(gradient=gradient, state=warm, diagnostics=diagnostics)

    def _solve(self, slope: _Slope, b: Tensor, warm: Tensor | None, task: str) -> LinearSolution:
        usable = self.config.warm_start and warm is not None and warm.shape == b.shape
        solution = conjugate_gradient(
            slope.hessian_product(self.config.damping),
            b,
            x0=warm.to(b) if usable and warm is not None else None,
            max_steps=self.config.cg_steps,
            tolerance=self.config.tolerance,
        )
        if math.isnan(solution.residual):
            raise DivergenceError(
                f"the derivatives at the end of the inner loop are not finite (task '{task}'): look at "
                "the second derivatives of inner_loss and the first of outer_loss"
            )
        if solution.breakdown:
            _log.warning(
                "the inner Hessian is not positive definite (task %s): conjugate gradient stopped after %d "
                "steps at residual %.1e; raise the damping (now %g) or do more inner steps",
                task,
                solution.iterations,
                solution.residual,
                self.config.damping,
            )
        return solution


class _Slope:
    """∂L_in/∂θ with its graph, to be differentiated again and again."""

    def __init__(self, slope: Gradients, leaves: tuple[Tensor, ...]) -> None:
        # θ that the loss does not contain, or contains linearly, has no second derivative.
        self._curved = [i for i, g in enumerate(slope) if g is not None and g.requires_grad]
        self._slope = tuple(g for g in slope if g is not None and g.requires_grad)
        self._leaves = leaves

    def by(self, inputs: tuple[Tensor, ...], v: Tensor, *, retain_graph: bool) -> Gradients:
        """The derivative of Σ slope · v by ``inputs``; None where there is none."""
        if not self._slope:
            return [None] * len(inputs)
        weights = _unflatten(v, self._leaves)
        weights = [weights[i] for i in self._curved]
        return torch.autograd.grad(self._slope, inputs, weights, retain_graph=retain_graph, allow_unused=True)

    def hessian_product(self, damping: float) -> Callable[[Tensor], Tensor]:
        """v -> (H + damping · I) v on flat vectors."""
        leaves = self._leaves

        def product(v: Tensor) -> Tensor:
            parts = self.by(leaves, v, retain_graph=True)
            hv = _flatten([_zero_if_none(g, leaf) for g, leaf in zip(parts, leaves, strict=True)])
            return torch.add(hv, v, alpha=damping) if damping else hv

        return product


def _grad(loss: Tensor, inputs: Sequence[Tensor], where: str, *, create_graph: bool = False) -> Gradients:
    if not loss.requires_grad:
        raise ProblemError(f"{where} depends neither on the inner nor on the outer parameters")
    return torch.autograd.grad(loss, inputs, create_graph=create_graph, allow_unused=True)


def _difference(direct: Tensor | None, mixed: Tensor | None, like: Tensor) -> Tensor:
    direct = _zero_if_none(direct, like)
    return direct if mixed is None else direct - mixed


def _zero_if_none(value: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if value is None else value


def _flatten(parts: Sequence[Tensor]) -> Tensor:
    """One vector; with a single part no copy. Mixed dtypes give the widest."""
    if not parts:
        return torch.empty(0)
    return parts[0].reshape(-1) if len(parts) == 1 else torch.cat([part.reshape(-1) for part in parts])


def _unflatten(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    if len(like) == 1:
        return [flat.view(like[0].shape)]
    pieces = flat.split_with_sizes([part.numel() for part in like])
    return [piece.view(part.shape).to(part.dtype) for piece, part in zip(pieces, like, strict=True)]
