"""The reverse pass over an inner loop in pieces, from the last step to the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from chronos_common.errors import ProblemError
from chronos_common.hypergradient.base import outer_value
from chronos_common.hypergradient.connection import require_connected
from chronos_common.hypergradient.replay import as_leaves, flat_parameters, followed_buffers, leaves_of
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory
from chronos_common.problem.contract import in_place_errors
from chronos_common.problem.solving import fresh_state, inner_step, outer_objective


class ReverseSweep:
    """dL_outer/d(state) carried backwards, and dL_outer/dλ gathered on the way.

    Only one piece has a graph at a time, so that the memory is that of the longest piece and of the states that
    the caller keeps to begin pieces from. The result is that of one backward pass over all steps.

    Args:
        trajectory: a finished inner loop.
        problem: whose.

    Attributes:
        outer_value: the outer loss.
        buffers: those that count, see :func:`~chronos_common.hypergradient.replay.followed_buffers`.
        cotangent: dL_outer by the present state, under the names of ``InnerState.to_tensors``.

    Raises:
        ProblemError: the outer loss depends on nothing, or ``inner_update`` cuts the graph (seen at the last
            step; an :class:`~chronos_common.errors.OuterParameterUnusedError` where that loses λ).
        DivergenceError: the outer loss is not finite.
    """

    def __init__(self, trajectory: Trajectory, problem: InnerProblem) -> None:
        self._trajectory, self._problem = trajectory, problem
        self._outer = leaves_of(trajectory.outer)
        self._gradient: Tensors = {}
        self.cotangent: Tensors = {}
        self.buffers = followed_buffers(trajectory, problem) if trajectory.num_steps else frozenset()
        state = as_leaves(trajectory.final, self.buffers)
        with torch.enable_grad():
            loss = outer_objective(problem, state, self._outer, trajectory.end_step, trajectory.ctx)
        if not loss.requires_grad:
            raise ProblemError("outer_loss depends neither on the inner nor on the outer parameters")
        self.outer_value = outer_value(loss)
        self._pull([loss], [torch.ones_like(loss)], state)

    def back(self, state: InnerState, first: int, count: int) -> InnerState:
        """Go back over the ``count`` steps from ``first`` on, before which the loop was at ``state``.

        Returns:
            The state after them, detached.
        """
        run, last = self._trajectory, self._trajectory.end_step - 1
        begin = inner = as_leaves(state, self.buffers)
        with torch.enable_grad():
            for step in range(first, first + count):
                result = inner_step(self._problem, inner, self._outer, step, run.ctx, differentiable=True)
                inner = result.state
                if step == last:
                    history = run.num_steps > 1 or run.from_init_inner
                    require_connected(self._problem, result, self._outer, step, run.ctx, history=history)
        self._push(inner, begin)
        return inner.detach()

    def take(self, cotangent: Tensors, gradient: Tensors) -> None:
        """Go back over a piece that was differentiated elsewhere: dL_outer by its first state, and by λ through it."""
        self.cotangent = cotangent
        for name, part in gradient.items():
            self._gradient[name] = self._gradient[name] + part if name in self._gradient else part

    def through_init(self) -> None:
        """Go back through ``init_inner``, where the loop began there and not at a warm start."""
        run = self._trajectory
        if run.from_init_inner:
            with torch.enable_grad():
                fresh = fresh_state(self._problem, self._outer, run.start_step, run.ctx)
            self._push(fresh, InnerState({}))

    def gradient(self) -> Tensors:
        """dL_outer/dλ by name, without the parameters that the computation does not contain."""
        missing = self._outer.keys() - self._gradient.keys()
        return self._gradient | flat_parameters(self._trajectory, self._problem, missing)

    def _push(self, images: InnerState, leaves: InnerState) -> None:
        values = images.to_tensors()
        names = [k for k in self.cotangent if k in values and values[k].requires_grad]
        self._pull([values[k] for k in names], [self.cotangent[k] for k in names], leaves)

    def _pull(self, images: Sequence[Tensor], weights: Sequence[Tensor], leaves: InnerState) -> None:
        behind = {k: v for k, v in leaves.to_tensors().items() if v.requires_grad}
        inputs = (*self._outer.values(), *behind.values())
        found: Sequence[Tensor | None] = [None] * len(inputs)
        if images:
            with in_place_errors("inner_loss, inner_update or outer_loss"):
                found = torch.autograd.grad(images, inputs, cast("list[Tensor]", weights), allow_unused=True)
        passed = zip(behind, found[len(self._outer) :], strict=True)
        self.take(
            {k: v for k, v in passed if v is not None},
            {k: v for k, v in zip(self._outer, found, strict=False) if v is not None},
        )
