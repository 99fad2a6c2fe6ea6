"""Unrolled differentiation: the hypergradient through the inner updates themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient, outer_value
from chronos_common.hypergradient.compiled_step import BACKENDS
from chronos_common.hypergradient.compiled_tape import CompiledTape, StepCache
from chronos_common.hypergradient.connection import require_connected
from chronos_common.hypergradient.replay import (
    ReplayError,
    explain_unused_in_steps,
    flat_parameters,
    state_before,
)
from chronos_common.hypergradient.sweep import ReverseSweep
from chronos_common.hypergradient.tape import Tape
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, Tensors, Trajectory
from chronos_common.problem.contract import in_place_errors, updates_separately
from chronos_common.problem.solving import Recorder, outer_objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnrolledConfig:
    """See :class:`UnrolledDifferentiation`.

    Raises:
        ConfigurationError: ``truncation`` below 1, or an unknown ``compile_backend``.
    """

    truncation: int | None = None
    compile: bool = False
    compile_backend: str = "inductor"

    def __post_init__(self) -> None:
        if self.truncation is not None and self.truncation < 1:
            raise ConfigurationError(f"truncation must be None or at least 1, not {self.truncation}")
        if self.compile_backend not in BACKENDS:
            raise ConfigurationError(
                f"there is no compile_backend '{self.compile_backend}'; choose one of {sorted(BACKENDS)}"
            )


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

    Memory: the graphs of all K differentiated steps: θ, gradients, ``opt_state`` and activations of each
    (``compile``: one state for each of them). Cost: T steps with a graph and one pass back through K of them, about
    3 to 4 gradients a step; the loop is recorded where it is run (:meth:`recorder`), and run again only where it was
    not. Error: that of rounding, for the K steps; what steps before them would add is left out.

    Args:
        truncation: differentiate only the last K steps and take the state before them as a constant
            (Shaban et al., AISTATS 2019); None, or K at least the number of steps, means all.
        compile: run the steps, forth and back, as graphs that ``torch.compile`` makes of one of them, for an
            ``inner_loss`` and an ``inner_update`` that depend on their arguments alone: no random numbers, no
            ``ctx.step``, no branches on values; what does not fit is an error. The first loop pays for compiling.
        compile_backend: "inductor" makes kernels of a step, in seconds to a minute, with a C++ compiler on the CPU;
            "aot_eager" runs the operations of its graph one by one, for tests and to see without a compiler whether
            a step can be compiled: it is slower than not to compile.
        optimizer: see :class:`HypergradientEstimator`.

    Diagnostics: ``outer_loss``, ``unrolled_steps``, ``compile_seconds`` (if it compiles: spent so far), and
    ``replay_error``: the Euclidean distance between
    the replayed and the first final θ. Above rounding it means that the problem draws random numbers from
    elsewhere than its context; the first time, a warning says so.
    """

    def __init__(
        self,
        *,
        truncation: int | None = None,
        compile: bool = False,  # noqa: A002 - what PyTorch calls it
        compile_backend: str = "inductor",
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = UnrolledConfig(truncation=truncation, compile=compile, compile_backend=compile_backend)
        self._compiled = StepCache(compile_backend)
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
        if self.config.truncation is not None:
            return None
        return CompiledTape(self._compiled) if self.config.compile else Tape()

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; there is no warm start."""
        steps = min(self.config.truncation or trajectory.num_steps, trajectory.num_steps)
        if self.config.compile:
            return self._by_compiled_steps(trajectory, problem, steps)
        tape, recorded = trajectory.record, True
        if not isinstance(tape, Tape) or tape.spent or steps < trajectory.num_steps:
            tape, recorded = self._replay(trajectory, problem, steps), False
        # A rule of Chronos' own keeps its graph.
        if tape.last is not None and not updates_separately(problem):
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
                "replay_error": 0.0 if recorded else self._replay_error.of(tape.state, trajectory),
            },
        )

    def _by_compiled_steps(
        self, trajectory: Trajectory, problem: InnerProblem, steps: int
    ) -> TaskHypergradient:
        tape, end = trajectory.record, trajectory.final
        if not isinstance(tape, CompiledTape) or steps < trajectory.num_steps:
            tape, first = CompiledTape(self._compiled), trajectory.end_step - steps
            with torch.no_grad():
                end = state_before(trajectory, problem, trajectory.outer, steps).detach()
            tape.begin(problem, trajectory.outer, end, first, trajectory.ctx, from_init_inner=False)
            for step in range(first, trajectory.end_step):
                end = tape.step(end, step).state
        sweep = ReverseSweep(trajectory, problem)
        tape.back(sweep, trajectory)
        if steps == trajectory.num_steps:
            sweep.through_init()
        return TaskHypergradient(
            gradient=sweep.gradient(),
            state={},
            diagnostics={
                "outer_loss": sweep.outer_value,
                "unrolled_steps": float(steps),
                "replay_error": self._replay_error.of(end, trajectory),
                "compile_seconds": self._compiled.compile_seconds,
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
