"""Implicit differentiation: the hypergradient at a solved inner problem, without its history."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from chronos_common.errors import ConfigurationError, DivergenceError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient
from chronos_common.hypergradient.batch_means import Batches
from chronos_common.hypergradient.conditions import CONDITIONS
from chronos_common.hypergradient.solvers import (
    SOLVERS,
    FixedPoint,
    LinearSolution,
    LinearSolver,
    LinearSystem,
    Nystrom,
    make_solver,
)
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, Tensors, Trajectory

_log = logging.getLogger(__name__)

_SOLUTION, _MEMORY = "v", "solver/"
_TROUBLE = {
    "stationarity": "the inner Hessian is not positive definite",
    "update": "the inner update does not contract to one point",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImplicitConfig:
    """See :class:`ImplicitDifferentiation`.

    Raises:
        ConfigurationError: a value out of range.
    """

    solver: LinearSolver
    condition: str = "stationarity"
    damping: float = 0.01
    warm_start: bool = True
    batches: Batches = dataclasses.field(default_factory=Batches)

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise ConfigurationError(
                f"there is no condition '{self.condition}'; choose one of {sorted(CONDITIONS)}"
            )
        if self.condition == "update" and self.solver.symmetric_only:
            general = sorted(name for name, solver in SOLVERS.items() if not solver.symmetric_only)
            raise ConfigurationError(
                f"solver '{self.solver.name}' needs a symmetric system, and condition='update' gives none; "
                f"choose one of {general}"
            )
        if self.condition != "update" and isinstance(self.solver, FixedPoint):
            raise ConfigurationError("solver 'fixed_point' iterates an update: set condition='update'")
        if isinstance(self.solver, Nystrom) and not self.damping > 0.0:
            raise ConfigurationError("solver 'nystrom' divides by the damping; set it above 0")
        if self.condition == "update" and self.batches.inner != 1:
            raise ConfigurationError("condition='update' follows one inner step; set inner_batches to 1")
        if not self.damping >= 0.0:
            raise ConfigurationError(f"damping must be at least 0, not {self.damping}")


class ImplicitDifferentiation(HypergradientEstimator):
    """The implicit function theorem at the final θ, with the inverse Hessian by a linear solver.

    ::

        dL_out/dλ = ∂L_out/∂λ - (∂²L_in/∂λ∂θ) v,    (∂²L_in/∂θ² + damping · I) v = ∂L_out/∂θ

    (Pedregosa, ICML 2016). It is exact where ∂L_in/∂θ = 0 and the Hessian is positive definite; it knows
    neither how θ was reached nor the update rule, so that a parameter outside the inner loss (a learning
    rate, a starting point) has no hypergradient here, and asking for one is an error. The inner loss is
    taken in training mode on the batch that would come next.

    With ``condition="update"`` the equation is that the problem's own ``inner_update`` leaves θ (and the
    floating-point part of ``opt_state``) where it is; see :class:`~chronos_common.hypergradient.conditions.UpdateMap`.
    At a solved inner problem both give the same; the rule against parameters outside the inner loss holds for
    both.

    Cost: one gradient of each loss and the solver's products, each one backward pass through the retained graph
    of the inner gradient. Memory: that graph and the solver's vectors; it does not grow with the number of inner
    steps.

    Args:
        solver: a name of ``solvers.SOLVERS``, or a ready solver.
        solver_config: settings of the solver that ``solver`` names; see its class.
        cg_steps: short for ``solver_config={"steps": ...}`` of conjugate gradient: the most iterations, 10 by
            default; each costs one Hessian-vector product.
        tolerance: short for ``solver_config={"tolerance": ...}``: the relative residual at which an
            iterative solver stops early.
        condition: "stationarity" or "update".
        damping: added to the system's diagonal; biases the result, and steadies it where the inner
            problem is flat or not quite solved.
        warm_start: start the solver from the last solution, which lies in the result's ``state`` (and Nyström's
            sketch and Neumann's step size from the last ones).
        inner_batches, outer_batches: batches that the losses are averaged over; see :class:`Batches`.
        optimizer: see :class:`HypergradientEstimator`.

    Diagnostics: ``outer_loss`` and, with the solver's name in front, ``cg_iterations``, ``cg_residual``
    (relative), ``cg_converged`` (0 or 1) and ``cg_nonpositive_curvature`` (1: the damped Hessian is not what
    the solver needs: not positive definite, or singular; the gradient uses the iterate before that was found,
    and a warning is logged; raise the damping or solve further).
    """

    def __init__(
        self,
        *,
        solver: str | LinearSolver = "cg",
        solver_config: Mapping[str, Any] | None = None,
        cg_steps: int | None = None,
        damping: float = 0.01,
        tolerance: float | None = None,
        warm_start: bool = True,
        condition: str = "stationarity",
        inner_batches: int = 1,
        outer_batches: int = 1,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        settings = dict(solver_config or {})
        if cg_steps is not None:
            if solver != "cg":
                raise ConfigurationError(
                    f"cg_steps is a setting of solver 'cg', not of {solver!r}; use solver_config"
                )
            if cg_steps < 1:
                raise ConfigurationError(f"cg_steps must be at least 1, not {cg_steps}")
            settings["steps"] = cg_steps
        if tolerance is not None:
            settings["tolerance"] = tolerance
        if isinstance(solver, str):
            solver = make_solver(solver, **settings)
        elif settings:
            raise ConfigurationError(f"a ready solver has its settings already; leave out {sorted(settings)}")
        self.config = ImplicitConfig(
            solver=solver,
            condition=condition,
            damping=damping,
            warm_start=warm_start,
            batches=Batches(inner=inner_batches, outer=outer_batches),
        )

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return (
            f"outer parameter '{name}' does not occur in inner_loss, so that implicit differentiation "
            "cannot see how it changes the solution; use UnrolledDifferentiation, which follows the inner "
            "updates, for learning rates, starting points and the like"
        )

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class."""
        config, ctx = self.config, trajectory.ctx
        condition = CONDITIONS[config.condition](trajectory, problem, batches=config.batches)
        seed = ctx.at(step=trajectory.end_step, stream="solver").stream_seed if config.solver.random else 0
        system = condition.system(damping=config.damping, seed=seed)
        solution = self._solve(system, state if config.warm_start else {}, ctx.task.name)
        name = config.solver.name
        diagnostics = {
            "outer_loss": condition.outer_value,
            f"{name}_iterations": float(solution.iterations),
            f"{name}_residual": solution.residual,
            f"{name}_converged": float(solution.converged),
            f"{name}_nonpositive_curvature": float(solution.breakdown),
        }
        memory = {_MEMORY + k: v for k, v in solution.memory.items()}
        return TaskHypergradient(
            gradient=condition.hypergradient(solution.x),
            state={_SOLUTION: solution.x, **memory} if config.warm_start else {},
            diagnostics=diagnostics,
        )

    def _solve(self, system: LinearSystem, state: Tensors, task: str) -> LinearSolution:
        memory = {k.removeprefix(_MEMORY): v for k, v in state.items() if k.startswith(_MEMORY)}
        solution = self.config.solver.solve(
            system, guess=_fitting(state.get(_SOLUTION), system.b), memory=memory
        )
        if math.isnan(solution.residual):
            raise DivergenceError(
                f"the derivatives at the end of the inner loop are not finite (task '{task}'): look at "
                "the second derivatives of inner_loss and the first of outer_loss"
            )
        if solution.breakdown:
            _log.warning(
                "%s (task %s): %s stopped after %d steps at residual %.1e; raise the damping (now %g) or do "
                "more inner steps",
                _TROUBLE[self.config.condition],
                task,
                type(self.config.solver).__name__,
                solution.iterations,
                solution.residual,
                self.config.damping,
            )
        return solution


def _fitting(guess: Tensor | None, b: Tensor) -> Tensor | None:
    return guess.to(b) if guess is not None and guess.shape == b.shape else None
