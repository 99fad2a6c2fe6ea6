"""Forward mode: derivatives travel with the inner steps, and nothing is kept of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient, outer_value
from chronos_common.hypergradient.connection import require_connected
from chronos_common.hypergradient.replay import (
    ReplayError,
    as_leaves,
    explain_unused_in_steps,
    flat_parameters,
    followed_buffers,
    leaves_of,
)
from chronos_common.hypergradient.tangents import Tangents
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory
from chronos_common.problem.contract import in_place_errors
from chronos_common.problem.solving import fresh_state, inner_step, outer_objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForwardModeConfig:
    """See :class:`ForwardModeDifferentiation`.

    Raises:
        ConfigurationError: ``max_directions`` below 1.
    """

    max_directions: int = 64
    batched: bool = True

    def __post_init__(self) -> None:
        if self.max_directions < 1:
            raise ConfigurationError(f"max_directions must be at least 1, not {self.max_directions}")


class ForwardModeDifferentiation(HypergradientEstimator):
    """The derivative of every state by every number of λ, step by step (Franceschi et al., ICML 2017).

    ::

        Z ← ∂Φ/∂state · Z + ∂Φ/∂λ,        dL_out/dλ = ∂L_out/∂λ + Zᵀ ∂L_out/∂state

    Φ is one inner step, ``opt_state`` included. Its Jacobian-vector products are derivatives of its
    vector-Jacobian products, so that any problem that can be unrolled can be run forwards, if its operations can
    be differentiated once more. The whole loop is differentiated; what is said of
    :class:`~chronos_common.hypergradient.unrolled.UnrolledDifferentiation` holds here too.

    Memory: with d numbers in λ, d states and one step's graph (``batched`` works on all d at once: d times the
    step's intermediate results); it does not grow with T. Cost: T steps with a graph and d·T backward passes
    through one step: d times that of unrolling, which is why more than ``max_directions`` are refused. Error:
    that of rounding.

    Args:
        max_directions: the most numbers that λ may have.
        batched: push all directions through a step at once (``vmap``); False goes one by one: slower, for
            operations that cannot be batched, or little memory.
        optimizer: see :class:`HypergradientEstimator`.

    Diagnostics: ``outer_loss``, ``unrolled_steps``, ``directions`` and ``replay_error``, as for unrolling.
    """

    def __init__(
        self,
        *,
        max_directions: int = 64,
        batched: bool = True,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = ForwardModeConfig(max_directions=max_directions, batched=batched)
        self._replay_error = ReplayError()

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_in_steps(name)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; there is no warm start.

        Raises:
            ConfigurationError: λ has more numbers than ``max_directions``.
        """
        size = sum(value.numel() for value in trajectory.outer.values())
        if size > self.config.max_directions:
            raise ConfigurationError(
                f"forward mode costs one pass for each of the {size} numbers in λ, and max_directions is "
                f"{self.config.max_directions}; use RecomputeDifferentiation, whose cost does not depend on "
                "them, or raise max_directions"
            )
        tangents = Tangents(trajectory.outer, batched=self.config.batched)
        inner = self._run(trajectory, problem, tangents)
        value, gradient = self._contract(trajectory, problem, tangents)
        gradient |= flat_parameters(trajectory, problem, trajectory.outer.keys() - gradient.keys())
        return TaskHypergradient(
            gradient=gradient,
            state={},
            diagnostics={
                "outer_loss": value,
                "unrolled_steps": float(trajectory.num_steps),
                "directions": float(size),
                "replay_error": self._replay_error.of(inner, trajectory),
            },
        )

    @staticmethod
    def _run(trajectory: Trajectory, problem: InnerProblem, tangents: Tangents) -> InnerState:
        """The loop once more, with the tangents; returns where it ends."""
        ctx, inner = trajectory.ctx, trajectory.initial
        buffers = followed_buffers(trajectory, problem) if trajectory.num_steps else frozenset[str]()
        if trajectory.from_init_inner:
            outer = leaves_of(trajectory.outer)
            with torch.enable_grad():
                fresh = fresh_state(problem, outer, trajectory.start_step, ctx)
            tangents.push(InnerState({}), outer, fresh)
        for step in range(trajectory.start_step, trajectory.end_step):
            begin, outer = as_leaves(inner, buffers), leaves_of(trajectory.outer)
            with torch.enable_grad(), in_place_errors("inner_loss or inner_update"):
                result = inner_step(problem, begin, outer, step, ctx, differentiable=True)
                if step == trajectory.end_step - 1:
                    history = trajectory.num_steps > 1 or trajectory.from_init_inner
                    require_connected(problem, result, outer, step, ctx, history=history)
                tangents.push(begin, outer, result.state)
            inner = result.state.detach()
        return inner

    @staticmethod
    def _contract(trajectory: Trajectory, problem: InnerProblem, tangents: Tangents) -> tuple[float, Tensors]:
        """The outer loss, and dL_outer/dλ for the parameters that were met."""
        state, outer = as_leaves(trajectory.final, tangents.buffers()), leaves_of(trajectory.outer)
        with torch.enable_grad():
            loss = outer_objective(problem, state, outer, trajectory.end_step, trajectory.ctx)
        if not loss.requires_grad:
            raise ProblemError("outer_loss depends neither on the inner nor on the outer parameters")
        value = outer_value(loss)
        behind = {k: v for k, v in state.to_tensors().items() if v.requires_grad}
        found: Sequence[Tensor | None] = torch.autograd.grad(
            loss, (*outer.values(), *behind.values()), allow_unused=True
        )
        direct = dict(zip(outer, found[: len(outer)], strict=True))
        by_state = {k: g for k, g in zip(behind, found[len(outer) :], strict=True) if g is not None}
        along = tangents.contract(by_state)
        names = tangents.met | {k for k, g in direct.items() if g is not None}
        parts = {k: (along[k], direct[k]) for k in outer if k in names}
        return value, {k: a if d is None else a + d for k, (a, d) in parts.items()}
