"""``estimator="auto"``: the estimator that a stated rule chooses."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.base import (
    HypergradientEstimator,
    HypergradientResult,
    TaskHypergradient,
)
from chronos_common.hypergradient.forward_mode import ForwardModeDifferentiation
from chronos_common.hypergradient.implicit import ImplicitDifferentiation
from chronos_common.hypergradient.implicit_family import ImplicitExact
from chronos_common.hypergradient.recompute import RecomputeDifferentiation
from chronos_common.hypergradient.replay import explain_unused_in_steps
from chronos_common.hypergradient.unrolled import UnrolledDifferentiation
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory, require_parts
from chronos_common.problem.solving import inner_objective

_log = logging.getLogger(__name__)

SHORT = 20
"""Inner steps up to which unrolling costs no more than a linear solve of as many products."""

EXACT_SIZE = 64
"""Inner parameters up to which the whole Hessian costs no more than a careful linear solve."""

FEW = 16
"""Numbers in λ up to which forward mode, whose cost is in proportion to them, is preferred to forgetting steps."""

GRAPHS = 6
"""Tensors of θ's size that one unrolled step keeps, with activations left out: θ, its gradient, the state of the
update rule, and what their derivatives need. A rough number, for a budget that is one too."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """An estimator's name and, for a truncated "unrolled", how many of the last steps."""

    name: str
    truncation: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rule looks at.

    Attributes:
        size: D, the number of inner parameters.
        state_bytes: of θ and the update rule's state.
        steps: T, the inner steps that were asked for.
        cold: the inner loop began at ``init_inner``, so that T steps are the whole of it.
        outside: outer parameters that the inner loss does not contain.
        outer_size: numbers in λ.
    """

    size: int
    state_bytes: int
    steps: int
    cold: bool
    outside: tuple[str, ...]
    outer_size: int

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
            outer_size=sum(value.numel() for value in trajectory.outer.values()),
        )

    @property
    def unrolled_bytes(self) -> int:
        """What unrolling all steps is expected to keep."""
        return self.step_bytes * self.steps

    @property
    def recompute_bytes(self) -> int:
        """What going back in ⌈√T⌉ segments is expected to keep: their states, and the graph of one."""
        segment = math.isqrt(max(self.steps - 1, 0)) + 1
        return (self.state_bytes + self.step_bytes) * segment

    @property
    def forward_bytes(self) -> int:
        """What forward mode is expected to keep: a derivative of the state, and of one step, by each number of λ."""
        return (self.state_bytes + self.step_bytes) * max(1, self.outer_size)

    @property
    def step_bytes(self) -> int:
        """Of the graph of one step."""
        return GRAPHS * self.state_bytes


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


def choose(facts: Facts, budget_bytes: int) -> Choice:
    """The rule: an estimator, from :class:`Facts` and nothing else.

    1. An outer parameter outside the inner loss (a learning rate, a starting point) has a hypergradient only
       through the steps: the first of "unrolled", "recompute" and, with at most ``FEW`` numbers in λ, "forward" that
       is expected to keep no more than ``budget_bytes``; where none is, "unrolled" through as many of the last steps
       as do, at least one.
    2. θ that began at ``init_inner`` and took at most ``SHORT`` steps is hardly solved: "unrolled" where they fit;
       the loss that was really computed can be differentiated exactly at no higher price.
    3. Otherwise θ is taken as solved, and memory must not grow with T: "exact" up to ``EXACT_SIZE`` inner
       parameters, else "implicit" (conjugate gradient).
    """
    if facts.outside:
        return _through_the_steps(facts, budget_bytes)
    if facts.cold and 0 < facts.steps <= SHORT and facts.unrolled_bytes <= budget_bytes:
        return Choice(name="unrolled")
    return Choice(name="exact" if facts.size <= EXACT_SIZE else "implicit")


def _through_the_steps(facts: Facts, budget_bytes: int) -> Choice:
    if facts.unrolled_bytes <= budget_bytes:
        return Choice(name="unrolled")
    if facts.recompute_bytes <= budget_bytes:
        return Choice(name="recompute")
    if facts.outer_size <= FEW and facts.forward_bytes <= budget_bytes:
        return Choice(name="forward")
    return Choice(name="unrolled", truncation=max(1, budget_bytes // max(1, facts.step_bytes)))


class AutomaticEstimator(HypergradientEstimator):
    """Chooses by :func:`choose` at every call, from the first trajectory and nothing else.

    The choice is a function of the arguments, so that another worker, or a replay, chooses the same. It is logged
    when it changes.

    Args:
        budget_bytes: what going through the steps may keep, 1 GB by default. It is compared with a rough expectation:
            ``GRAPHS`` × bytes of θ and optimiser state a step, activations not counted.
        cg_steps: of "implicit".
        damping: of "implicit" and "exact"; 1e-3 keeps conjugate gradient steady where θ is not quite solved.
        optimizer: see :class:`HypergradientEstimator`.

    Cost: one inner loss and its gradient by λ, and the chosen estimator's. Memory: the chosen estimator's. Error: the
    chosen estimator's; where steps are forgotten, what they would have added, and a warning is logged.

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
        self._made: dict[Choice, HypergradientEstimator] = {
            Choice(name="implicit"): ImplicitDifferentiation(cg_steps=cg_steps, damping=damping),
            Choice(name="exact"): ImplicitExact(damping=damping),
            Choice(name="unrolled"): UnrolledDifferentiation(),
            Choice(name="recompute"): RecomputeDifferentiation(),
            Choice(name="forward"): ForwardModeDifferentiation(max_directions=FEW),
        }
        self._last: Choice | None = None

    def chosen(self, trajectory: Trajectory, problem: InnerProblem) -> HypergradientEstimator:
        """The estimator for this trajectory."""
        facts = Facts.of(trajectory, problem)
        choice = choose(facts, self._budget)
        if choice != self._last:
            self._last = choice
            _log.log(
                logging.INFO if choice.truncation is None else logging.WARNING,
                "auto chooses %s%s: D %d, T %d, %s",
                choice.name,
                "" if choice.truncation is None else f" of the last {choice.truncation} steps",
                facts.size,
                facts.steps,
                f"not in the inner loss: {', '.join(facts.outside)}"
                if facts.outside
                else "λ in the inner loss",
            )
        if choice not in self._made:
            self._made[choice] = UnrolledDifferentiation(truncation=choice.truncation)
        return self._made[choice]

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_in_steps(name)

    def compute_hypergradient(
        self,
        trajectories: Trajectory | Sequence[Trajectory],
        problem: InnerProblem,
        state: Tensors | None = None,
    ) -> HypergradientResult:
        """See the base class."""
        runs = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
        require_parts(problem, self.requires, type(self).__name__)
        if not runs:
            raise ConfigurationError("compute_hypergradient needs at least one trajectory")
        chosen = self.chosen(runs[0], problem)
        return chosen.compute_hypergradient(runs, problem, state)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class."""
        return self.chosen(trajectory, problem).differentiate(trajectory, problem, state)
