"""Unrolled differentiation with checkpoints: memory ~ √T."""

from __future__ import annotations

import dataclasses
import math

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient
from chronos_common.hypergradient.replay import ReplayError, explain_unused_in_steps, plain_step
from chronos_common.hypergradient.sweep import ReverseSweep
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecomputeConfig:
    """See :class:`RecomputeDifferentiation`.

    Raises:
        ConfigurationError: ``segment_steps`` below 1.
    """

    segment_steps: int | None = None

    def __post_init__(self) -> None:
        if self.segment_steps is not None and self.segment_steps < 1:
            raise ConfigurationError(f"segment_steps must be None or at least 1, not {self.segment_steps}")


class RecomputeDifferentiation(HypergradientEstimator):
    """Reverse mode over all inner steps from √T stored states (Griewank, 1992; Chen et al., 2016).

    The steps are run once more without a graph, keeping the state before every segment; then segment after
    segment, from the last, is run with a graph and gone back through. Everything that is said of
    :class:`~chronos_common.hypergradient.unrolled.UnrolledDifferentiation` holds here too.

    Memory: √T states (θ, ``opt_state``, buffers) and the graph of √T steps. Cost: that of unrolling, and T
    steps without a graph. Error: that of unrolling, which is that of rounding.

    Args:
        segment_steps: steps in a segment; None means ⌈√T⌉. More means fewer states and a larger graph.
        optimizer: see :class:`HypergradientEstimator`.

    Diagnostics: ``outer_loss``, ``unrolled_steps``, ``segments`` and ``replay_error``, as for unrolling.
    """

    def __init__(
        self, *, segment_steps: int | None = None, optimizer: OuterConfig | OuterOptimizer | None = None
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = RecomputeConfig(segment_steps=segment_steps)
        self._replay_error = ReplayError()

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_in_steps(name)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; there is no warm start."""
        length = self.config.segment_steps or max(1, math.isqrt(max(trajectory.num_steps - 1, 0)) + 1)
        firsts = list(range(trajectory.start_step, trajectory.end_step, length))
        kept = self._checkpoints(trajectory, problem, firsts)
        sweep, replayed = ReverseSweep(trajectory, problem), trajectory.final
        for first in reversed(firsts):
            end = sweep.back(kept.pop(), first, min(length, trajectory.end_step - first))
            if first == firsts[-1]:
                replayed = end
        sweep.through_init()
        return TaskHypergradient(
            gradient=sweep.gradient(),
            state={},
            diagnostics={
                "outer_loss": sweep.outer_value,
                "unrolled_steps": float(trajectory.num_steps),
                "segments": float(len(firsts)),
                "replay_error": self._replay_error.of(replayed, trajectory),
            },
        )

    @staticmethod
    def _checkpoints(trajectory: Trajectory, problem: InnerProblem, firsts: list[int]) -> list[InnerState]:
        """The states before each of the steps ``firsts``."""
        kept: list[InnerState] = []
        inner = trajectory.initial
        for step in range(trajectory.start_step, firsts[-1] + 1 if firsts else 0):
            if len(kept) < len(firsts) and step == firsts[len(kept)]:
                kept.append(inner)
            if step < firsts[-1]:
                inner = plain_step(problem, inner, trajectory, step)
        return kept
