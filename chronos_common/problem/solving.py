"""The inner loop: one step, and many of them.

The step is shared with unrolled differentiation, which runs it again with a graph: what is differentiated
is by construction what was run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, DivergenceError, ProblemError
from chronos_common.problem.context import Context
from chronos_common.problem.contract import (
    checked_aux,
    checked_initial,
    checked_update,
    in_place_errors,
    read_only,
    require_untouched,
)
from chronos_common.problem.outer_parameter import (
    OuterParameter,
    OuterValue,
    resolve_outer,
    resolve_parameters,
)
from chronos_common.problem.state import Aux, InnerState, Tensors, Trajectory

if TYPE_CHECKING:
    from chronos_common.problem.base import InnerProblem


class StepResult(NamedTuple):
    """One inner step.

    Attributes:
        state: after the step.
        loss: before it.
        metrics: those of the loss's Aux.
        samples: size of the batch.
        given, grads: what ``inner_update`` was given, where the step is differentiable; otherwise empty.
    """

    state: InnerState
    loss: Tensor
    metrics: Mapping[str, Tensor]
    samples: int
    given: InnerState
    grads: Tensors


class Recorder(Protocol):
    """Takes the steps of an inner loop in the place of :func:`inner_step`, to remember what it needs of them."""

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
        """Before step ``step``; ``initial`` is what ``init_inner`` gave at ``outer``, or a warm start."""

    def step(self, state: InnerState, step: int) -> StepResult:
        """One step from ``state``, the state of the last one's result."""


def split_loss(result: object, where: str) -> tuple[Tensor, Aux]:
    """``Tensor | (Tensor, Aux)`` as a pair, checked.

    Raises:
        ProblemError: anything else, or a loss that is not one number.
    """
    loss, aux = result if isinstance(result, tuple) and len(result) == 2 else (result, Aux())
    if not isinstance(loss, Tensor) or not isinstance(aux, Aux):
        raise ProblemError(f"{where} must return a tensor or (tensor, Aux), not {type(result).__name__}")
    if loss.numel() != 1:
        raise ProblemError(f"{where} must return one number; its shape is {tuple(loss.shape)}")
    return loss if loss.dim() == 0 else loss.reshape(()), aux


def inner_objective(
    problem: InnerProblem, inner: InnerState, outer: Tensors, step: int, ctx: Context
) -> tuple[Tensor, Aux, int]:
    """The inner loss of one step on that step's batch, its Aux, and the number of samples in the batch."""
    ctx = ctx.at(step=step, training=True, stream="inner_batch")
    batch = problem.inner_batch(step, ctx)
    ctx = ctx.at(stream="inner_loss")
    with read_only("inner_loss", inner, outer):
        result = problem.inner_loss(_own(inner), dict(outer), batch, ctx)
    loss, aux = split_loss(result, "inner_loss")
    return loss, checked_aux(aux, inner), count_samples(batch)


def outer_objective(
    problem: InnerProblem, inner: InnerState, outer: Tensors, step: int, ctx: Context
) -> Tensor:
    """The outer loss after ``step`` inner steps."""
    return counted_outer_objective(problem, inner, outer, step, ctx)[0]


def counted_outer_objective(
    problem: InnerProblem, inner: InnerState, outer: Tensors, step: int, ctx: Context
) -> tuple[Tensor, int]:
    """The outer loss after ``step`` inner steps, and the number of samples in its batch."""
    ctx = ctx.at(step=step, training=False, stream="outer_batch")
    batch = problem.outer_batch(step, ctx)
    with read_only("outer_loss", inner, outer):
        result = problem.outer_loss(_own(inner), dict(outer), batch, ctx.at(stream="outer_loss"))
    return split_loss(result, "outer_loss")[0], count_samples(batch)


def _own(inner: InnerState) -> InnerState:
    """The same tensors in dicts that a method may change."""
    return InnerState(dict(inner.params), dict(inner.buffers), dict(inner.opt_state))


def inner_step(
    problem: InnerProblem,
    inner: InnerState,
    outer: Tensors,
    step: int,
    ctx: Context,
    *,
    differentiable: bool,
) -> StepResult:
    """Loss, gradient and update of one step.

    ``differentiable`` keeps the graph, so that the new state can be differentiated by λ and by the old
    state; otherwise everything is detached.
    """
    # A view is a new node of the graph: without it, θ that *is* λ (a meta-initialisation), or that another
    # parameter was computed from, would collect derivatives that reach it by other ways than as θ.
    leaves = {
        k: v.view_as(v) if differentiable and v.requires_grad else v.detach().requires_grad_()
        for k, v in inner.params.items()
    }
    inner = InnerState(leaves, inner.buffers, inner.opt_state)
    with torch.enable_grad():
        loss, aux, samples = inner_objective(problem, inner, outer, step, ctx)
        grads = _gradients(loss, leaves, create_graph=differentiable)
    buffers = {**inner.buffers, **aux.buffers} if aux.buffers else inner.buffers
    carried = InnerState(leaves, buffers, inner.opt_state)
    with torch.set_grad_enabled(differentiable):
        updated = apply_update(problem, carried, grads, outer, step, ctx)
    return StepResult(
        state=updated if differentiable else updated.detach(),
        loss=loss,
        metrics=aux.metrics,
        samples=samples,
        given=carried if differentiable else InnerState({}),
        grads=grads if differentiable else {},
    )


def apply_update(
    problem: InnerProblem,
    given: InnerState,
    grads: Tensors,
    outer: Tensors,
    step: int,
    ctx: Context,
) -> InnerState:
    """``inner_update`` of one step, its result checked."""
    ctx = ctx.at(step=step, training=True, stream="inner_update")
    with read_only("inner_update", given, outer, grads):
        updated = problem.inner_update(_own(given), dict(grads), dict(outer), ctx)
    return checked_update(updated, given)


def _gradients(loss: Tensor, leaves: Tensors, *, create_graph: bool) -> Tensors:
    if not leaves:
        return {}
    if not loss.requires_grad:
        raise ProblemError("inner_loss does not depend on the inner parameters: there is nothing to train")
    with in_place_errors("inner_loss"):
        grads = torch.autograd.grad(
            loss, tuple(leaves.values()), create_graph=create_graph, materialize_grads=True
        )
    return dict(zip(leaves, grads, strict=True))


def solve(
    problem: InnerProblem,
    outer: Mapping[str, OuterParameter | OuterValue] | None,
    init: InnerState | None,
    num_steps: int,
    *,
    ctx: Context | None,
    start_step: int,
    should_stop: Callable[[], bool] | None,
    keep_last: int,
    recorder: Recorder | None = None,
) -> tuple[InnerState, Trajectory]:
    """See :meth:`InnerProblem.solve`."""
    if num_steps < 0 or start_step < 0 or keep_last < 0:
        raise ConfigurationError("num_steps, start_step and keep_last must be at least 0")
    ctx = ctx or Context()
    values = resolve_outer(resolve_parameters(problem.outer_parameters()), outer, ctx.device)
    initial = initial_state(problem, values, init, start_step, ctx)

    state, losses, samples = initial, list[Tensor](), 0
    metrics: Mapping[str, Tensor] = {}
    recent: deque[InnerState] = deque(maxlen=keep_last)
    if recorder is not None:
        recorder.begin(problem, values, initial, start_step, ctx, from_init_inner=init is None)
    for step in range(start_step, start_step + num_steps):
        if keep_last:
            recent.append(state.detach())
        before = state.map(torch.clone) if step == start_step else None
        if recorder is None:
            result = inner_step(problem, state, values, step, ctx, differentiable=False)
        else:
            result = recorder.step(state, step)
        if before is not None:
            require_untouched(state, before)
        state, metrics = result.state, result.metrics
        losses.append(result.loss.detach())
        samples += result.samples
        if should_stop is not None and should_stop():
            break

    state = state.detach()
    trajectory = Trajectory(
        outer=values,
        initial=initial,
        final=state,
        from_init_inner=init is None,
        ctx=ctx,
        start_step=start_step,
        num_steps=len(losses),
        requested_steps=num_steps,
        losses=torch.stack(losses) if losses else torch.empty(0),
        metrics={k: v.detach() for k, v in metrics.items()},
        samples=samples,
        recent=tuple(recent),
        record=recorder,
    )
    _require_finite(trajectory)
    return state, trajectory


def initial_state(
    problem: InnerProblem, outer: Tensors, init: InnerState | None, step: int, ctx: Context
) -> InnerState:
    """A detached state to start from: ``init`` if given (and of the right layout), else ``init_inner``."""
    with torch.no_grad():
        fresh = fresh_state(problem, outer, step, ctx).detach()
    if init is None:
        return fresh
    given = init.to(ctx.device).detach()
    if given.layout() != fresh.layout():
        ours, theirs = fresh.layout(), given.layout()
        wrong = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        raise ProblemError(
            f"init does not fit the problem: {wrong[0]} is {theirs.get(wrong[0], 'missing')}, "
            f"init_inner makes it {ours.get(wrong[0], 'absent')}"
        )
    return given


def fresh_state(problem: InnerProblem, outer: Tensors, step: int, ctx: Context) -> InnerState:
    """``init_inner`` with its result checked; keeps the graph to ``outer`` when gradients are enabled."""
    state = problem.init_inner(dict(outer), ctx.at(step=step, stream="init_inner", training=True))
    return checked_initial(state)


def count_samples(batch: Any) -> int:
    """Leading dimension of the first tensor in nested tuples, lists and dicts; 0 if there is none."""
    if batch is None:
        return 0
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.dim() else 1
    if isinstance(batch, Mapping):
        batch = tuple(batch.values())
    if isinstance(batch, tuple | list):
        return next((n for n in map(count_samples, batch) if n), 0)
    return 0


def _require_finite(trajectory: Trajectory) -> None:
    finite = torch.isfinite(trajectory.losses)
    if not bool(finite.all()):
        step = trajectory.start_step + int((~finite).nonzero()[0])
        raise DivergenceError(
            f"the inner loss is not finite at step {step} (task '{trajectory.ctx.task.name}'); "
            "lower the inner learning rate, or bound the outer parameters",
            step=step,
        )
    for name, value in trajectory.final.params.items():
        if not bool(torch.isfinite(value).all()):
            raise DivergenceError(
                f"inner parameter '{name}' is not finite after step {trajectory.end_step - 1} "
                f"(task '{trajectory.ctx.task.name}'); lower the inner learning rate",
                step=trajectory.end_step - 1,
            )
