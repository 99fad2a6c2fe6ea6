"""An inner loop that is run with its graph, so that unrolling need not run it again."""

from __future__ import annotations

import torch

from chronos_common.hypergradient.replay import leaves_of
from chronos_common.problem import Context, InnerProblem, InnerState, Tensors
from chronos_common.problem.chained import Chain
from chronos_common.problem.solving import StepResult, fresh_state, inner_step


class Tape:
    """Takes the steps differentiably and keeps the graph from λ to the last state.

    Attributes:
        outer: λ, the leaves of the graph.
        state: the last state, in the graph.
        last: the last step.
        num_steps: steps taken.
        starts_at_lambda: whether θ before the first step depends on λ.
        spent: a backward pass has freed the graph.
    """

    outer: Tensors
    state: InnerState
    last: StepResult | None = None
    num_steps = 0
    starts_at_lambda = False
    spent = False

    def begin(
        self,
        problem: InnerProblem,
        outer: Tensors,
        initial: InnerState,
        step: int,
        ctx: Context,
        *,
        from_init_inner: bool,
    ) -> None:
        """See :class:`~chronos_common.problem.solving.Recorder`."""
        self._problem, self._ctx = problem, ctx
        self.outer, self.state, self.last, self.num_steps = leaves_of(outer), initial, None, 0
        self._chain = Chain(problem, self.outer, ctx)
        if from_init_inner:
            with torch.enable_grad():
                self.state = fresh_state(problem, self.outer, step, ctx)
        self.starts_at_lambda = any(v.requires_grad for v in self.state.params.values())

    def step(self, state: InnerState, step: int) -> StepResult:
        """One step from the last one's state."""
        if self.num_steps == 0:
            self.last = inner_step(
                self._problem, self.state, self.outer, step, self._ctx, differentiable=True
            )
        elif torch.is_grad_enabled():
            self.last = self._chain.step(self.state, step)
        else:
            with torch.enable_grad():
                self.last = self._chain.step(self.state, step)
        self.state = self.last.state
        self.num_steps += 1
        return self.last
