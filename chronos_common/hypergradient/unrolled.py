"""Unrolled differentiation: the hypergradient through the inner updates themselves."""

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
    explain_unused_in_steps,
    flat_parameters,
    state_before,
)
from chronos_common.hypergradient.tape import Tape
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, Tensors, Trajectory
from chronos_common.problem.contract import in_place_errors
from chronos_common.problem.solving import Recorder, outer_objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnrolledConfig:
    """See :class:`UnrolledDifferentiation`.

    Raises:
        ConfigurationError: ``truncation`` below 1.
    """

    truncation: int | None = None

    def __post_init__(self) -> None:
        if self.truncation is not None and self.truncation < 1:
            raise ConfigurationError(f"truncation must be None or at least 1, not {self.truncation}")


class UnrolledDifferentiation(HypergradientEstimator):
    """Reverse-mode differentiation of the last inner steps (Maclaurin et al., ICML 2015).

    The trajectory's steps are run again with a graph, on the same batches and random numbers, through
    ``inner_loss``, ``inner_update`` (optimiser state included) and ``outer_loss``; memory grows with
    their number. Differentiating all of them gives the derivative of the replayed steps, exactly as PyTorch
    differentiates them: as a function of θ, ``opt_state`` and λ, with batches, random numbers and buffers
    as constants. It equals the derivative of the whole computation, the one that finite differences
    approach, unless something takes a way that autograd does not follow; the running statistics of batch
    norm do, on their way from θ into an outer loss in evaluation mode. Then a trajectory that began at
    ``init_inner(outer, ctx)`` is also differentiated through it (MAML); one that was warm-started began at a
    constant.

    An ``inner_update`` whose values follow the gradients, or the old θ, where its graph does not (it
    detaches, or works under ``no_grad``) would give silently wrong results: it is an error. Only the last
    step is looked at.

    Memory: the graphs of all K differentiated steps: θ, gradients, ``opt_state`` and activations of each. Cost: T
    steps with a graph and one pass back through K of them, about 3 to 4 gradients a step; the steps are run again
    unless :meth:`recorder` took them. Error: that of rounding, for the K steps; what steps before them
    would add is left out.

    Args:
        truncation: differentiate only the last K steps and take the state before them as a constant
            (Shaban et al., AISTATS 2019); None, or K at least the number of steps, means all.
        optimizer: see :class:`HypergradientEstimator`.

    Diagnostics: ``outer_loss``, ``unrolled_steps``, and ``replay_error``: the Euclidean distance between
    the replayed and the first final θ. Above rounding it means that the problem draws random numbers from
    elsewhere than its context; the first time, a warning says so.
    """

    def __init__(
        self, *, truncation: int | None = None, optimizer: OuterConfig | OuterOptimizer | None = None
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = UnrolledConfig(truncation=truncation)
        self._replay_error = ReplayError()

    @property
    def keep_last(self) -> int:
        """The truncation: ``solve`` then keeps the state to begin from."""
        return self.config.truncation or 0

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_in_steps(name)

    def recorder(self) -> Recorder | None:
        """A :class:`~chronos_common.hypergradient.tape.Tape`, where all steps are differentiated."""
        return Tape() if self.config.truncation is None else None

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; there is no warm start."""
        steps = min(self.config.truncation or trajectory.num_steps, trajectory.num_steps)
        tape = trajectory.record
        if not isinstance(tape, Tape) or tape.spent or steps < trajectory.num_steps:
            tape = self._replay(trajectory, problem, steps)
        if tape.last is not None:
            history = steps > 1 or tape.starts_at_lambda
            step = trajectory.end_step - 1
            require_connected(problem, tape.last, tape.outer, step, trajectory.ctx, history=history)
        with torch.enable_grad():
            loss = outer_objective(problem, tape.state, tape.outer, trajectory.end_step, trajectory.ctx)
        if not loss.requires_grad:
            raise ProblemError("outer_loss depends neither on the inner nor on the outer parameters")
        value = outer_value(loss)
        tape.spent = True
        with in_place_errors("inner_loss, inner_update or outer_loss"):
            found: Sequence[Tensor | None] = torch.autograd.grad(
                loss, tuple(tape.outer.values()), allow_unused=True
            )
        gradient = {name: g for name, g in zip(tape.outer, found, strict=True) if g is not None}
        gradient |= flat_parameters(trajectory, problem, tape.outer.keys() - gradient.keys())
        return TaskHypergradient(
            gradient=gradient,
            state={},
            diagnostics={
                "outer_loss": value,
                "unrolled_steps": float(steps),
                "replay_error": self._replay_error.of(tape.state, trajectory),
            },
        )

    @staticmethod
    def _replay(trajectory: Trajectory, problem: InnerProblem, steps: int) -> Tape:
        """The last ``steps`` steps run again on a tape."""
        whole = steps == trajectory.num_steps
        initial = (
            state_before(trajectory, problem, trajectory.outer, steps) if not whole else trajectory.initial
        )
        tape, first = Tape(), trajectory.end_step - steps
        from_init_inner = whole and trajectory.from_init_inner
        tape.begin(problem, trajectory.outer, initial, first, trajectory.ctx, from_init_inner=from_init_inner)
        for step in range(first, trajectory.end_step):
            tape.step(tape.state, step)
        return tape
