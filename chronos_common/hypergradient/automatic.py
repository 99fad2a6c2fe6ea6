"""``estimator="auto"``: the estimator that a stated rule chooses."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.base import (
    HypergradientEstimator,
    HypergradientResult,
    TaskHypergradient,
)
from chronos_common.hypergradient.implicit import ImplicitDifferentiation
from chronos_common.hypergradient.implicit_family import ImplicitExact
from chronos_common.hypergradient.unrolled import UnrolledDifferentiation
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory, require_parts
from chronos_common.problem.solving import inner_objective

_log = logging.getLogger(__name__)

SHORT = 20
"""Inner steps up to which unrolling costs no more than a linear solve of as many products."""

EXACT_SIZE = 64
"""Inner parameters up to which the whole Hessian costs no more than a careful linear solve."""

GRAPHS = 6
"""Tensors of θ's size that one unrolled step keeps, with activations left out: θ, its gradient, the state of the
update rule, and what their derivatives need. A rough number, for a budget that is one too."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rule looks at.

    Attributes:
        size: D, the number of inner parameters.
        state_bytes: of θ and the update rule's state.
        steps: T, the inner steps that were asked for.
        cold: the inner loop began at ``init_inner``, so that T steps are the whole of it.
        outside: outer parameters that the inner loss does not contain.
    """

    size: int
    state_bytes: int
    steps: int
    cold: bool
    outside: tuple[str, ...]

    @classmethod
    def of(cls, trajectory: Trajectory, problem: InnerProblem) -> Facts:
        """Of one trajectory; costs one inner loss and its gradient by λ."""
        params = trajectory.final.params.values()
        state = trajectory.final.opt_state.values()
        return cls(
            size=sum(value.numel() for value in params),
            state_bytes=sum(value.numel() * value.element_size() for value in (*params, *state)),
            steps=trajectory.requested_steps,
            cold=trajectory.from_init_inner,
            outside=outside(trajectory, problem),
        )

    @property
    def unrolled_bytes(self) -> int:
        """What unrolling all steps is expected to keep."""
        return GRAPHS * self.state_bytes * self.steps


def outside(trajectory: Trajectory, problem: InnerProblem) -> tuple[str, ...]:
    """Names of the outer parameters that the inner loss at the end of ``trajectory`` does not contain."""
    outer = {k: v.detach().requires_grad_() for k, v in trajectory.outer.items()}
    final = trajectory.final
    theta = {k: v.detach() for k, v in final.params.items()}
    inner = InnerState(theta, final.buffers, final.opt_state)
    with torch.enable_grad():
        loss, _, _ = inner_objective(problem, inner, outer, trajectory.end_step, trajectory.ctx)
        if not loss.requires_grad:
            return tuple(outer)
        found: tuple[Tensor | None, ...] = torch.autograd.grad(loss, tuple(outer.values()), allow_unused=True)
    return tuple(name for name, g in zip(outer, found, strict=True) if g is None)


def choose(facts: Facts, budget_bytes: int) -> tuple[str, int | None]:
    """The rule: an estimator's name and, for "unrolled", how many steps (None for all).

    1. An outer parameter outside the inner loss (a learning rate, a starting point) needs unrolling: all steps, or
       as many of the last as fit into ``budget_bytes``.
    2. At most ``SHORT`` steps from ``init_inner``, if they fit, are unrolled: θ is hardly solved, and what was
       computed can be differentiated exactly at no higher price.
    3. Otherwise θ is taken as solved, and memory must not grow with T: "exact" up to ``EXACT_SIZE`` inner
       parameters, else "implicit" (conjugate gradient).
    """
    fits = facts.unrolled_bytes <= budget_bytes
    if facts.outside:
        each = max(1, GRAPHS * facts.state_bytes)
        return "unrolled", None if fits else max(1, budget_bytes // each)
    if facts.cold and 0 < facts.steps <= SHORT and fits:
        return "unrolled", None
    return ("exact" if facts.size <= EXACT_SIZE else "implicit"), None


class AutomaticEstimator(HypergradientEstimator):
    """Chooses by :func:`choose` at every call, from the first trajectory and nothing else.

    The choice is a function of the arguments, so that another worker, or a replay, chooses the same. It is logged
    when it changes.

    Args:
        budget_bytes: what unrolling may keep, 1 GB by default.
        cg_steps: of "implicit".
        damping: of "implicit" and "exact"; 1e-3 keeps conjugate gradient steady where θ is not quite solved.
        optimizer: see :class:`HypergradientEstimator`.

    Cost: one inner loss and its gradient by λ, and the chosen estimator's.

    Diagnostics: the chosen estimator's.
    """

    def __init__(
        self,
        *,
        budget_bytes: int = 1_000_000_000,
        cg_steps: int = 20,
        damping: float = 1e-3,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        if budget_bytes < 1:
            raise ConfigurationError(f"budget_bytes must be at least 1, not {budget_bytes}")
        self._budget = budget_bytes
        self._implicit = ImplicitDifferentiation(cg_steps=cg_steps, damping=damping)
        self._exact = ImplicitExact(damping=damping)
        self._unrolled = UnrolledDifferentiation()
        self._last: tuple[str, int | None] | None = None

    def chosen(self, trajectory: Trajectory, problem: InnerProblem) -> HypergradientEstimator:
        """The estimator for this trajectory."""
        facts = Facts.of(trajectory, problem)
        choice = choose(facts, self._budget)
        if choice != self._last:
            self._last = choice
            _log.info(
                "auto chooses %s%s: D %d, T %d, %s",
                choice[0],
                "" if choice[1] is None else f" of the last {choice[1]} steps",
                facts.size,
                facts.steps,
                f"not in the inner loss: {', '.join(facts.outside)}"
                if facts.outside
                else "λ in the inner loss",
            )
        name, truncation = choice
        if name == "unrolled":
            if self._unrolled.config.truncation != truncation:
                self._unrolled = UnrolledDifferentiation(truncation=truncation)
            return self._unrolled
        return self._exact if name == "exact" else self._implicit

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return self._unrolled.explain_unused(name)

    def compute_hypergradient(
        self,
        trajectories: Trajectory | Sequence[Trajectory],
        problem: InnerProblem,
        state: Tensors | None = None,
    ) -> HypergradientResult:
        """See the base class."""
        runs = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
        require_parts(problem, self.requires, type(self).__name__)
        chosen = self.chosen(runs[0], problem) if runs else self._implicit
        return chosen.compute_hypergradient(runs, problem, state)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class."""
        return self.chosen(trajectory, problem).differentiate(trajectory, problem, state)
