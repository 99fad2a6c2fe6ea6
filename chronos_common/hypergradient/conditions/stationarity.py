"""The gradient of the inner loss is zero: a symmetric system with the inner Hessian."""

from __future__ import annotations

import torch
from torch import Tensor

from chronos_common.hypergradient.base import outer_value
from chronos_common.hypergradient.batch_means import Batches, mean_inner_loss, mean_outer_loss
from chronos_common.hypergradient.conditions.base import Condition
from chronos_common.hypergradient.solvers import LinearSystem
from chronos_common.hypergradient.vectors import (
    Gradients,
    flatten_gradients,
    grad,
    unflatten,
    zero_if_none,
)
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory


class Stationarity(Condition):
    """∂L_in/∂θ = 0, at a trajectory's final θ.

    Cost: one gradient of each loss; each product is one backward pass through the retained graph of the inner
    gradient. Memory: that graph, whatever the number of inner steps was. Both grow with the number of batches.

    Args:
        trajectory: a finished inner loop.
        problem: whose.
        batches: how many the losses are averaged over.

    Raises:
        ProblemError: a loss depends neither on θ nor on λ.
        DivergenceError: the outer loss is not finite.
    """

    def __init__(self, trajectory: Trajectory, problem: InnerProblem, *, batches: Batches) -> None:
        theta = {k: v.detach().requires_grad_() for k, v in trajectory.final.params.items()}
        outer = {k: v.detach().requires_grad_() for k, v in trajectory.outer.items()}
        inner = InnerState(theta, trajectory.final.buffers, trajectory.final.opt_state)
        step, ctx = trajectory.end_step, trajectory.ctx
        leaves, lambdas = tuple(theta.values()), tuple(outer.values())
        with torch.enable_grad():
            outer_loss = mean_outer_loss(problem, inner, outer, step, ctx, batches.outer)
            loss = mean_inner_loss(problem, inner, outer, step, ctx, batches.inner)
            # ∂L/∂λ is needed only to learn which λ occur: it comes out of the same backward pass.
            first = grad(loss, (*leaves, *lambdas), "inner_loss", create_graph=True)
        direct = grad(outer_loss, (*leaves, *lambdas), "outer_loss")
        self.outer_value = outer_value(outer_loss)
        size = len(leaves)
        self.used = frozenset(k for k, g in zip(outer, first[size:], strict=True) if g is not None)
        self._outer, self._lambdas, self._leaves = outer, lambdas, leaves
        self._b, self._direct = flatten_gradients(direct[:size], leaves), direct[size:]
        # θ that the loss does not contain, or contains linearly, has no second derivative.
        self._curved = [i for i, g in enumerate(first[:size]) if g is not None and g.requires_grad]
        self._slope = tuple(g for g in first[:size] if g is not None and g.requires_grad)

    def system(self, *, damping: float, seed: int) -> LinearSystem:
        """(∂²L_in/∂θ² + damping · I) v = ∂L_out/∂θ, symmetric."""
        leaves = self._leaves

        def product(v: Tensor) -> Tensor:
            hv = flatten_gradients(self._by(leaves, v, retain_graph=True), leaves)
            return torch.add(hv, v, alpha=damping) if damping else hv

        return LinearSystem(product=product, b=self._b, damping=damping, seed=seed)

    def hypergradient(self, v: Tensor) -> Tensors:
        """∂L_out/∂λ - (∂²L_in/∂λ∂θ) v."""
        mixed = self._by(self._lambdas, v, retain_graph=False)
        parts = zip(self._outer, self._direct, mixed, self._lambdas, strict=True)
        return {name: _difference(d, m, like) for name, d, m, like in parts if name in self.used}

    def _by(self, inputs: tuple[Tensor, ...], v: Tensor, *, retain_graph: bool) -> Gradients:
        """The derivative of Σ slope · v by ``inputs``; None where there is none."""
        if not self._slope:
            return [None] * len(inputs)
        weights = unflatten(v, self._leaves)
        weights = [weights[i] for i in self._curved]
        return torch.autograd.grad(self._slope, inputs, weights, retain_graph=retain_graph, allow_unused=True)


def _difference(direct: Tensor | None, mixed: Tensor | None, like: Tensor) -> Tensor:
    direct = zero_if_none(direct, like)
    return direct if mixed is None else direct - mixed
