"""The gradient of the inner loss is zero: a symmetric system with the inner Hessian."""

from __future__ import annotations

import torch
from torch import Tensor

from chronos_common.hypergradient.base import outer_value
from chronos_common.hypergradient.batch_means import Batches, mean_inner_loss, mean_outer_loss
from chronos_common.hypergradient.conditions.base import Condition
from chronos_common.hypergradient.solvers import LinearSystem, Product
from chronos_common.hypergradient.vectors import (
    Gradients,
    flatten,
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
            slope = grad(loss, leaves, "inner_loss", create_graph=True)
        direct = grad(outer_loss, (*leaves, *lambdas), "outer_loss")
        self.outer_value = outer_value(outer_loss)
        self._outer, self._lambdas, self._leaves, self._loss = outer, lambdas, leaves, loss
        size = len(leaves)
        self._b, self._direct = flatten_gradients(direct[:size], leaves), direct[size:]
        # θ that the loss does not contain, or contains linearly, has no second derivative.
        self._curved = [i for i, g in enumerate(slope) if g is not None and g.requires_grad]
        self._slope = tuple(g for g in slope if g is not None and g.requires_grad)

    @property
    def slope_norm(self) -> float:
        """‖∂L_in/∂θ‖, over the parameters that it has a second derivative by."""
        return float(torch.linalg.vector_norm(flatten([g.detach() for g in self._slope]).double()))

    def system(self, *, damping: float, seed: int) -> LinearSystem:
        """(∂²L_in/∂θ² + damping · I) v = ∂L_out/∂θ, symmetric."""
        product = self._vector_product() if self._is_one_vector() else self._product
        if damping:
            undamped = product

            def product(v: Tensor) -> Tensor:
                return torch.add(undamped(v), v, alpha=damping)

        return LinearSystem(product=product, b=self._b, damping=damping, seed=seed)

    def hypergradient(self, v: Tensor) -> Tensors:
        """∂L_out/∂λ - (∂²L_in/∂λ∂θ) v."""
        mixed = self._by(self._lambdas, v)
        used = self._used(mixed)
        parts = zip(self._outer, self._direct, mixed, self._lambdas, strict=True)
        return {name: _difference(d, m, like) for name, d, m, like in parts if name in used}

    def _used(self, mixed: Gradients) -> set[str]:
        """Names of λ that the inner loss contains; where the mixed derivative shows it, that is enough."""
        named = dict(zip(self._outer, mixed, strict=True))
        used = {name for name, m in named.items() if m is not None}
        rest = [name for name, m in named.items() if m is None]
        if rest:
            found = grad(self._loss, [self._outer[name] for name in rest], "inner_loss")
            used |= {name for name, g in zip(rest, found, strict=True) if g is not None}
        return used

    def _is_one_vector(self) -> bool:
        leaves = self._leaves
        return (
            len(leaves) == 1
            and len(self._slope) == 1
            and leaves[0].dim() == 1
            and leaves[0].dtype == self._b.dtype
        )

    def _vector_product(self) -> Product:
        """The product without what several tensors of several shapes need: half the overhead of a small one."""
        slope, leaves = self._slope, self._leaves

        def product(v: Tensor) -> Tensor:
            found: Gradients = torch.autograd.grad(slope, leaves, (v,), retain_graph=True, allow_unused=True)
            return zero_if_none(found[0], v)

        return product

    def _product(self, v: Tensor) -> Tensor:
        return flatten_gradients(self._by(self._leaves, v), self._leaves)

    def _by(self, inputs: tuple[Tensor, ...], v: Tensor) -> Gradients:
        """The derivative of Σ slope · v by ``inputs``; None where there is none."""
        if not self._slope:
            return [None] * len(inputs)
        weights = unflatten(v, self._leaves)
        if len(self._curved) < len(weights):
            weights = [weights[i] for i in self._curved]
        return torch.autograd.grad(self._slope, inputs, weights, retain_graph=True, allow_unused=True)


def _difference(direct: Tensor | None, mixed: Tensor | None, like: Tensor) -> Tensor:
    if mixed is None:
        return zero_if_none(direct, like)
    return -mixed if direct is None else direct - mixed
