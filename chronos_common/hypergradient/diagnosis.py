"""How good is a hypergradient, and how curved is the outer problem? A report for one point."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.automatic import outside
from chronos_common.hypergradient.base import HypergradientEstimator
from chronos_common.hypergradient.batch_means import Batches
from chronos_common.hypergradient.conditions import Stationarity
from chronos_common.hypergradient.implicit import ImplicitDifferentiation
from chronos_common.hypergradient.implicit_family import ImplicitExact
from chronos_common.hypergradient.live_bytes import LiveBytes
from chronos_common.hypergradient.unrolled import UnrolledDifferentiation
from chronos_common.problem import InnerProblem, Tensors, Trajectory, resolve_parameters

LONG = 200
"""Steps of conjugate gradient in a reference that is too large to be exact."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What :func:`diagnose` found; means over the tasks that were looked at.

    Attributes:
        reference: what the estimate was compared with: "exact", "implicit" (long conjugate gradient) or "unrolled".
        reference_residual: relative residual of the reference's own linear solve; NaN for "unrolled".
        cosine: between estimate and reference, over all outer parameters together; 1 is the same direction.
        cosines: the same for each outer parameter; NaN where one of the two is zero.
        relative_error: ‖estimate − reference‖ / ‖reference‖.
        stationarity: ‖∂L_in/∂θ‖ at the final θ; implicit differentiation takes it to be zero.
        residual: of the estimator's linear solve, by its own account, NaN for estimators without one.
        curvature: for each outer parameter that can move within its bounds dᵀ(d²L_out/dλ²)d, where d is the unit vector
            along its reference and θ follows λ; a step of gradient descent below 2 / curvature does not overshoot.
            Negative: not convex there.
        tasks: how many tasks were looked at.
        peak_bytes: the most bytes of tensors alive at once that computing the estimate made, from the finished inner
            loops on; a loop that the estimator records while it runs is in it only as far as it is run again.
    """

    reference: str
    reference_residual: float
    cosine: float
    cosines: dict[str, float]
    relative_error: float
    stationarity: float
    residual: float
    curvature: dict[str, float]
    tasks: int
    peak_bytes: int

    def lines(self) -> list[str]:
        """The report for people, a line for each figure."""
        each = [
            f"  {name}: cosine {self.cosines[name]:.4f}, curvature {self.curvature.get(name, math.nan):.3g}"
            for name in self.cosines
        ]
        return [
            f"against {self.reference} (its residual {self.reference_residual:.1e}), {self.tasks} task(s):",
            f"cosine {self.cosine:.6f}, relative error {self.relative_error:.2e}",
            f"linear solve: residual {self.residual:.1e}; inner gradient at the end: {self.stationarity:.1e}",
            f"live tensors of the estimate: at most {self.peak_bytes:,} bytes",
            *each,
        ]

    def to_json(self) -> dict[str, Any]:
        """The figures for ``json``; None where there is none."""
        return {name: _known(value) for name, value in dataclasses.asdict(self).items()}


def diagnose(
    estimator: HypergradientEstimator,
    trajectories: Trajectory | Sequence[Trajectory],
    problem: InnerProblem,
    *,
    state: Tensors | None = None,
    max_tasks: int = 4,
    batches: int = 1,
    exact_size: int = 500,
    damping: float = 0.0,
    curvature_steps: int | None = None,
    width: float = 1e-4,
) -> Diagnosis:
    """Compare one hypergradient with a careful one, on a subsample of tasks and batches.

    The reference is "exact" up to ``exact_size`` inner parameters, above that conjugate gradient of :data:`LONG`
    steps, both on ``batches`` batches; where the inner loss does not contain every outer parameter it is the full
    unroll. The curvature moves λ by ``width`` of its norm to both sides, solves the inner problem again from the
    final θ, and takes differences of the reference: two inner loops and two references for each outer parameter. The
    move is smaller where a bound is near, and left out for a parameter that lies on one.

    Args:
        estimator: whose hypergradient.
        trajectories: finished inner loops at one λ; the first ``max_tasks`` are looked at.
        problem: whose.
        state: the estimator's warm start.
        max_tasks: size of the subsample of tasks.
        batches: inner and outer batches that the reference averages over.
        exact_size: see above.
        damping: of the reference.
        curvature_steps: inner steps after moving λ; None repeats the trajectory's number, 0 leaves the curvature out.
        width: relative size of the move.

    Raises:
        ConfigurationError: a number below 1.
        ProblemError: as :meth:`HypergradientEstimator.compute_hypergradient`.
    """
    if max_tasks < 1 or not width > 0.0:
        raise ConfigurationError("max_tasks must be at least 1 and width above 0")
    runs = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
    runs = runs[:max_tasks]
    with LiveBytes() as memory:
        estimate = estimator.compute_hypergradient(runs, problem, state)
    name, reference = _reference(runs[0], problem, batches, exact_size, damping)
    truth = reference.compute_hypergradient(runs, problem)
    found, true = _vector(estimate.gradient), _vector(truth.gradient)
    return Diagnosis(
        reference=name,
        reference_residual=_residual(truth.diagnostics),
        cosine=_cosine(found, true),
        cosines={k: _cosine(estimate.gradient[k], g) for k, g in truth.gradient.items()},
        relative_error=float((found - true).norm() / true.norm()) if float(true.norm()) else math.nan,
        stationarity=sum(_slope(run, problem, batches) for run in runs) / len(runs),
        residual=_residual(estimate.diagnostics),
        curvature={
            k: _curvature(runs, problem, reference, k, g, curvature_steps, size)
            for k, g in truth.gradient.items()
            if curvature_steps != 0 and (size := _room(problem, runs[0], k, g, width)) > 0.0
        },
        tasks=len(runs),
        peak_bytes=memory.peak,
    )


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _known(part) for name, part in value.items()}
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _reference(
    run: Trajectory, problem: InnerProblem, batches: int, exact_size: int, damping: float
) -> tuple[str, HypergradientEstimator]:
    if outside(run, problem):
        return "unrolled", UnrolledDifferentiation()
    if sum(value.numel() for value in run.final.params.values()) <= exact_size:
        exact = ImplicitExact(
            damping=damping, inner_batches=batches, outer_batches=batches, max_size=exact_size
        )
        return "exact", exact
    long = ImplicitDifferentiation(
        cg_steps=LONG,
        damping=damping,
        warm_start=False,
        inner_batches=batches,
        outer_batches=batches,
    )
    return "implicit", long


def _curvature(
    runs: Sequence[Trajectory],
    problem: InnerProblem,
    reference: HypergradientEstimator,
    name: str,
    gradient: Tensor,
    steps: int | None,
    size: float,
) -> float:
    """The change of the reference along its own direction, by a central difference."""
    along = gradient / gradient.norm()
    value = runs[0].outer[name]
    slopes = []
    for sign in (1.0, -1.0):
        moved = {**runs[0].outer, name: value + sign * size * along}
        again = [_solved(problem, run, moved, reference, steps) for run in runs]
        found = reference.compute_hypergradient(again, problem).gradient[name]
        slopes.append(float((found * along).sum()))
    return (slopes[0] - slopes[1]) / (2 * size)


def _room(problem: InnerProblem, run: Trajectory, name: str, gradient: Tensor, width: float) -> float:
    """How far λ may move to both sides without leaving its bounds, ``width`` of its norm at most."""
    length = float(gradient.norm())
    if not length > 0.0:
        return 0.0
    value, along = run.outer[name].double(), gradient.double().abs() / length
    declared = resolve_parameters(problem.outer_parameters())[name]
    low, high = declared.limits()
    if declared.scale == "log":
        low = max(low, 0.0)
    gap = torch.minimum(value - low, high - value)
    room = float((gap / along)[along > 0.0].min()) / 2
    return min(width * max(float(value.norm()), width), room)


def _solved(
    problem: InnerProblem,
    run: Trajectory,
    outer: Tensors,
    reference: HypergradientEstimator,
    steps: int | None,
) -> Trajectory:
    """The inner loop at another λ: from where it ended, or, if all of it is differentiated, from its start."""
    unrolled = isinstance(reference, UnrolledDifferentiation)
    init = run.initial if unrolled else run.final
    cold = unrolled and run.from_init_inner
    steps = run.requested_steps if steps is None else steps
    return problem.solve(outer, None if cold else init, steps, ctx=run.ctx, start_step=run.start_step)[1]


def _slope(run: Trajectory, problem: InnerProblem, batches: int) -> float:
    return Stationarity(run, problem, batches=Batches(inner=batches)).slope_norm


def _residual(diagnostics: dict[str, float]) -> float:
    return next((v for k, v in diagnostics.items() if k == "residual" or k.endswith("_residual")), math.nan)


def _vector(tensors: Tensors) -> Tensor:
    return torch.cat([value.double().reshape(-1) for value in tensors.values()])


def _cosine(a: Tensor, b: Tensor) -> float:
    sizes = float(a.norm()) * float(b.norm())
    return float((a.double() * b.double()).sum()) / sizes if sizes else math.nan
