"""Running a finished inner loop again: where it begins, what is differentiable in it, and where it ends."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence, Set

import torch
from torch import Tensor

from chronos_common.hypergradient.connection import explain_replay_error
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory
from chronos_common.problem.solving import fresh_state, inner_objective, inner_step

_log = logging.getLogger(__name__)


def state_before(trajectory: Trajectory, problem: InnerProblem, outer: Tensors, steps: int) -> InnerState:
    """The state ``steps`` steps before the end, depending on λ where it should.

    A loop that began at ``init_inner`` is followed into it when gradients are enabled and ``steps`` are all of
    them; a state that the trajectory did not keep is reached by running up to it.
    """
    if steps == trajectory.num_steps:
        if trajectory.from_init_inner:
            return fresh_state(problem, outer, trajectory.start_step, trajectory.ctx)
        return trajectory.initial
    if steps <= len(trajectory.recent):
        return trajectory.recent[-steps]
    inner = trajectory.initial
    for step in range(trajectory.start_step, trajectory.end_step - steps):
        inner = plain_step(problem, inner, trajectory, step)
    return inner


def plain_step(problem: InnerProblem, inner: InnerState, trajectory: Trajectory, step: int) -> InnerState:
    """One step of ``trajectory`` again, without a graph."""
    return inner_step(problem, inner, trajectory.outer, step, trajectory.ctx, differentiable=False).state


def leaves_of(tensors: Tensors) -> Tensors:
    """The same values as leaves of a new graph; what is not floating point stays a constant."""
    return {k: v.detach().requires_grad_(v.is_floating_point()) for k, v in tensors.items()}


def as_leaves(state: InnerState, buffers: Set[str] = frozenset()) -> InnerState:
    """``state`` as leaves; of its buffers only those in ``buffers``, see :func:`followed_buffers`."""
    kept = {k: v.detach().requires_grad_(k in buffers) for k, v in state.buffers.items()}
    return InnerState(leaves_of(state.params), kept, leaves_of(state.opt_state))


def followed_buffers(trajectory: Trajectory, problem: InnerProblem) -> frozenset[str]:
    """Buffers that a step computes with a graph, such as a moving average that the problem writes itself.

    Layers of PyTorch (batch norm) make theirs without one and refuse to be given leaves, so that marking every
    buffer is no way out. Costs one step, and nothing where no buffer is floating point.
    """
    state, step = trajectory.final, max(trajectory.end_step - 1, 0)
    if not any(value.is_floating_point() for value in state.buffers.values()):
        return frozenset()
    with torch.enable_grad():
        result = inner_step(
            problem, as_leaves(state), leaves_of(trajectory.outer), step, trajectory.ctx, differentiable=True
        )
    return frozenset(k for k, v in result.state.buffers.items() if v.requires_grad)


def flat_parameters(trajectory: Trajectory, problem: InnerProblem, names: Set[str]) -> Tensors:
    """Zeros for those of ``names`` that the inner loss contains, but no gradient by θ does."""
    if not names or not trajectory.num_steps:
        return {}
    outer = {k: v.detach().requires_grad_(k in names) for k, v in trajectory.outer.items()}
    with torch.enable_grad():
        loss, _, _ = inner_objective(
            problem, trajectory.final, outer, trajectory.end_step - 1, trajectory.ctx
        )
        if not loss.requires_grad:
            return {}
        leaves = {name: outer[name] for name in names}
        found: Sequence[Tensor | None] = torch.autograd.grad(loss, tuple(leaves.values()), allow_unused=True)
    return {k: torch.zeros_like(v) for (k, v), g in zip(leaves.items(), found, strict=True) if g is not None}


def explain_unused_in_steps(name: str) -> str:
    """What estimators that go through the inner steps say of a parameter that they did not meet."""
    return (
        f"outer parameter '{name}' occurs neither in the unrolled inner steps nor in outer_loss; "
        "check that inner_loss, inner_update, init_inner (not reached by truncated or warm-started "
        "unrolling) or outer_loss use it, and that none of them cuts it off: no detach(), .data, .item(), "
        "float() or torch.no_grad() on the way"
    )


class ReplayError:
    """How far replays end from where the first run did; a large distance is logged once."""

    def __init__(self) -> None:
        self._warned = False

    def of(self, replayed: InnerState, trajectory: Trajectory) -> float:
        """Euclidean distance between both final θ."""
        error = distance(replayed, trajectory.final)
        if not self._warned:
            travelled = distance(trajectory.initial, trajectory.final)
            warning = explain_replay_error(error, trajectory.final, travelled)
            if warning:
                self._warned = True
                _log.warning("%s (task %s)", warning, trajectory.ctx.task.name)
        return error


def distance(one: InnerState, other: InnerState) -> float:
    """Euclidean distance between two θ."""
    differences = (one.params[k].detach() - v for k, v in other.params.items())
    return math.hypot(*(float(torch.linalg.vector_norm(d)) for d in differences))
