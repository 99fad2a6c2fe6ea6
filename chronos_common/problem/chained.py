"""The later steps of a loop that is recorded: what :func:`inner_step` does, at the price of the operations alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chronos_common.errors import ProblemError
from chronos_common.problem.context import Context
from chronos_common.problem.contract import in_place_errors, updates_separately
from chronos_common.problem.solving import StepResult, count_samples, split_loss
from chronos_common.problem.state import Aux, InnerState, Tensors

if TYPE_CHECKING:
    from chronos_common.problem.base import InnerProblem

_NO_AUX = Aux()


class Chain:
    """Takes steps differentiably, each from the result of the one before, after a first one was checked.

    It gives what ``inner_step(..., differentiable=True)`` gives and leaves out its checks of every call: autograd
    itself notices writes into what it needs. On a small problem those checks cost as much as a sixth of the step.

    Args:
        problem: whose steps.
        outer: λ.
        ctx: of the loop.
    """

    def __init__(self, problem: InnerProblem, outer: Tensors, ctx: Context) -> None:
        self._problem, self._outer, self._ctx = problem, outer, ctx.at(training=True, stream="inner_loss")
        # A rule of Chronos' own neither writes into what it is given, nor reads the context.
        self._own_rule = updates_separately(problem)

    def step(self, state: InnerState, step: int) -> StepResult:
        """One step; :meth:`Chain.step` needs gradients to be enabled."""
        problem, ctx = self._problem, self._ctx.at(step=step)
        batch = problem.inner_batch(step, ctx.at(stream="inner_batch"))
        params, buffers, opt_state = self._leaves(state.params), state.buffers, state.opt_state
        given = InnerState(params.copy(), buffers.copy(), opt_state.copy())
        loss = problem.inner_loss(given, self._outer.copy(), batch, ctx)
        aux = _NO_AUX
        if type(loss) is not Tensor or loss.dim():
            loss, aux = split_loss(loss, "inner_loss")
            if aux.buffers:
                buffers = {**buffers, **aux.buffers}
        grads = _gradients(loss, params)
        kept = params is state.params and buffers is state.buffers
        carried = state if kept else InnerState(params, buffers, opt_state)
        if self._own_rule:
            updated = problem.inner_update(carried, grads, self._outer, ctx)
        else:
            copied = InnerState(params.copy(), buffers.copy(), opt_state.copy())
            updated = problem.inner_update(
                copied, grads.copy(), self._outer.copy(), ctx.at(stream="inner_update")
            )
        return StepResult(updated, loss, aux.metrics, count_samples(batch), carried, grads)

    def _leaves(self, params: Tensors) -> Tensors:
        # A view is a new node of the graph, see inner_step; where no parameter comes from another, none is needed.
        if self._own_rule and all(v.requires_grad for v in params.values()):
            return params
        return {
            k: (v if self._own_rule else v.view_as(v)) if v.requires_grad else v.detach().requires_grad_()
            for k, v in params.items()
        }


def _gradients(loss: Tensor, leaves: Tensors) -> Tensors:
    if not leaves:
        return {}
    if not loss.requires_grad:
        raise ProblemError("inner_loss does not depend on the inner parameters: there is nothing to train")
    try:
        # PyTorch's materialize_grads costs more than this where there is nothing to do.
        found: Sequence[Tensor | None] = torch.autograd.grad(
            loss, tuple(leaves.values()), create_graph=True, allow_unused=True
        )
    except RuntimeError:
        with in_place_errors("inner_loss"):
            raise
    return {
        name: torch.zeros_like(leaves[name]) if grad is None else grad
        for name, grad in zip(leaves, found, strict=True)
    }
