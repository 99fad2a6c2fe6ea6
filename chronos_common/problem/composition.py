"""Problems inside problems: a solved inner problem as a differentiable function of its outer parameters (torch).

Three levels are two problems. The middle one's inner parameters are the lower one's outer parameters, and its losses
call :func:`solution` to get there:

    def inner_loss(self, inner, outer, batch, ctx):
        lower = solution(self.lower, {"decay": inner.params["decay"]}, num_steps=50, ctx=ctx)
        return ... lower.params ...

Any estimator then differentiates the middle problem, and every further level is one more such call. (Choe, Neiswanger,
Xie and Xing, "Betty: an automatic differentiation library for multilevel optimization", ICLR 2023, compose best
responses in this way.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.problem.context import Context
from chronos_common.problem.outer_parameter import resolve_outer, resolve_parameters
from chronos_common.problem.solving import fresh_state, inner_step
from chronos_common.problem.state import InnerState

if TYPE_CHECKING:
    from chronos_common.problem.base import InnerProblem


def solution(
    problem: InnerProblem,
    outer: Mapping[str, Tensor],
    *,
    num_steps: int,
    ctx: Context | None = None,
    init: InnerState | None = None,
) -> InnerState:
    """θ after ``num_steps`` inner steps of ``problem``, differentiable in ``outer`` as often as its losses are.

    The steps are those of ``problem.solve``; here their graph is kept (memory grows with their number), back to
    ``init_inner``, or to ``init``, which may depend on other levels itself. Where gradients are disabled no graph is
    kept.

    Args:
        problem: the lower problem.
        outer: its outer parameters in natural coordinates, each with the declared shape and dtype; with a graph where
            they are another level's parameters. Declared bounds are not imposed.
        num_steps: inner steps, at least 0.
        ctx: of the caller, with its version, task, shard and device. The lower level's randomness is its own and
            follows from the address of the call: the caller's seed, step and stream. The default is seed 0.
        init: θ to go on from; None calls ``init_inner``.

    Raises:
        ProblemError: ``outer`` has other names, shapes or dtypes than declared, or a method of ``problem`` broke its
            contract.
        ConfigurationError: a negative ``num_steps``.
    """
    if num_steps < 0:
        raise ConfigurationError(f"num_steps is {num_steps}; it must be at least 0")
    ctx = Context() if ctx is None else dataclasses.replace(ctx, seed=ctx.stream_seed)
    resolve_outer(resolve_parameters(problem.outer_parameters()), outer, ctx.device)
    values = dict(outer)
    state = fresh_state(problem, values, 0, ctx) if init is None else init
    for step in range(num_steps):
        state = inner_step(problem, state, values, step, ctx, differentiable=torch.is_grad_enabled()).state
    return state
