"""The inner update leaves θ where it is: a system with the transposed Jacobian of the problem's own map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.base import outer_value
from chronos_common.hypergradient.batch_means import Batches, mean_outer_loss
from chronos_common.hypergradient.conditions.base import Condition
from chronos_common.hypergradient.connection import require_connected
from chronos_common.hypergradient.solvers import LinearSystem
from chronos_common.hypergradient.vectors import flatten_gradients, grad, unflatten, zero_if_none
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory
from chronos_common.problem.solving import inner_step


class UpdateMap(Condition):
    """z = Φ(z, λ), at a trajectory's final z: θ with the floating-point part of ``opt_state``.

    ::

        dL_out/dλ = ∂L_out/∂λ + (∂Φ/∂λ)ᵀ w,    (I - ∂Φ/∂z + damping · I)ᵀ w = ∂L_out/∂z

    Φ is one inner step: loss, gradient and ``inner_update``. With momentum or a preconditioner it is not
    symmetric. At a fixed point that is also stationary it gives what the inner Hessian gives, without a
    step size of its own: it contracts as the inner loop does.

    Cost: one differentiable inner step, and a few calls of ``inner_update`` that check that it keeps its graph;
    each product is one backward pass through the step (a transposed one, two). Memory: the graph of one step.

    Args:
        trajectory: a finished inner loop.
        problem: whose.
        batches: how many the outer loss is averaged over; the inner step has one.

    Raises:
        ConfigurationError: several inner batches.
        ProblemError: a loss depends neither on θ nor on λ, or ``inner_update`` cuts the graph.
        OuterParameterUnusedError: ``inner_update`` cuts off an outer parameter of the inner loss.
        DivergenceError: the outer loss is not finite.
    """

    def __init__(self, trajectory: Trajectory, problem: InnerProblem, *, batches: Batches) -> None:
        if batches.inner != 1:
            raise ConfigurationError("condition='update' follows one inner step; set inner_batches to 1")
        final, step, ctx = trajectory.final, trajectory.end_step, trajectory.ctx
        theta = {k: v.detach().requires_grad_() for k, v in final.params.items()}
        memory = {
            k: v.detach().requires_grad_() if v.is_floating_point() else v.detach()
            for k, v in final.opt_state.items()
        }
        outer = {k: v.detach().requires_grad_() for k, v in trajectory.outer.items()}
        inner = InnerState(theta, final.buffers, memory)
        with torch.enable_grad():
            outer_loss = mean_outer_loss(problem, inner, outer, step, ctx, batches.outer)
            result = inner_step(problem, inner, outer, step, ctx, differentiable=True)
        require_connected(problem, result, trajectory.outer, step, ctx, history=True)
        # An entry of opt_state that the step drops has no say in what follows.
        kept = [k for k, v in memory.items() if v.requires_grad and k in result.state.opt_state]
        self._leaves = (*theta.values(), *(memory[k] for k in kept))
        self._images = (
            *(result.state.params[k] for k in theta),
            *(result.state.opt_state[k] for k in kept),
        )
        self._outer, self._lambdas = outer, tuple(outer.values())
        found = grad(result.loss, self._lambdas, "inner_loss", retain_graph=True)
        self._used = frozenset(k for k, g in zip(outer, found, strict=True) if g is not None)
        direct = grad(outer_loss, (*self._leaves, *self._lambdas), "outer_loss")
        self.outer_value = outer_value(outer_loss)
        size = len(self._leaves)
        self._b, self._direct = flatten_gradients(direct[:size], self._leaves), direct[size:]
        self._moving = [i for i, image in enumerate(self._images) if image.requires_grad]

    def system(self, *, damping: float, seed: int) -> LinearSystem:
        """(I - ∂Φ/∂z + damping · I)ᵀ w = ∂L_out/∂z; it can be transposed."""
        diagonal = 1.0 + damping

        def product(v: Tensor) -> Tensor:
            return torch.sub(diagonal * v, self._pulled(v, self._leaves))

        def transposed(v: Tensor) -> Tensor:
            return torch.sub(diagonal * v, self._pushed(v))

        return LinearSystem(product=product, transposed=transposed, b=self._b, damping=damping, seed=seed)

    def hypergradient(self, v: Tensor) -> Tensors:
        """∂L_out/∂λ + (∂Φ/∂λ)ᵀ v."""
        through = self._pull(v, self._lambdas, retain_graph=False)
        parts = zip(self._outer, self._direct, through, self._lambdas, strict=True)
        return {
            name: zero_if_none(d, like) + zero_if_none(t, like)
            for name, d, t, like in parts
            if name in self._used
        }

    def _pull(
        self, v: Tensor, inputs: tuple[Tensor, ...], *, retain_graph: bool = True, create_graph: bool = False
    ) -> Sequence[Tensor | None]:
        """The derivative of Φ · v by ``inputs``."""
        weights = unflatten(v, self._leaves)
        images, weights = [self._images[i] for i in self._moving], [weights[i] for i in self._moving]
        if not images:
            return [None] * len(inputs)
        return torch.autograd.grad(
            images,
            inputs,
            weights,
            retain_graph=retain_graph,
            create_graph=create_graph,
            allow_unused=True,
        )

    def _pulled(self, v: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        return flatten_gradients(self._pull(v, inputs), inputs)

    def _pushed(self, v: Tensor) -> Tensor:
        """(∂Φ/∂z) v: the derivative of the pull-back, which is linear in its vector, by that vector."""
        at = torch.zeros_like(v, requires_grad=True)
        with torch.enable_grad():
            pulled = flatten_gradients(self._pull(at, self._leaves, create_graph=True), self._leaves)
        if not pulled.requires_grad:
            return torch.zeros_like(v)
        (pushed,) = torch.autograd.grad(pulled, at, v, allow_unused=True)
        return zero_if_none(pushed, v)
