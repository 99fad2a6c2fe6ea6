"""What stochastic estimators share: the step size of v, the cold start, what is carried."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, DivergenceError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient
from chronos_common.hypergradient.solvers import LinearSystem
from chronos_common.hypergradient.solvers.richardson import largest_curvature
from chronos_common.hypergradient.stochastic.oracle import InnerSample, Oracle, OuterSample
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, Tensors, Trajectory

SOLUTION, POWER = "v", "power"
POWER_STEPS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class StochasticConfig:
    """See :class:`StochasticEstimator`.

    Raises:
        ConfigurationError: a value out of range.
    """

    steps: int
    cold_steps: int
    step_size: float | None = None
    damping: float = 0.0
    inner_batches: int = 1
    outer_batches: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "inner_batches", "outer_batches"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.cold_steps < 0:
            raise ConfigurationError(f"cold_steps must be at least 0, not {self.cold_steps}")
        if self.step_size is not None and not 0.0 < self.step_size < math.inf:
            raise ConfigurationError(f"step_size must be None or above 0, not {self.step_size}")
        if not self.damping >= 0.0:
            raise ConfigurationError(f"damping must be at least 0, not {self.damping}")


class StochasticEstimator(HypergradientEstimator):
    """v approximates (∂²L_in/∂θ² + damping · I)⁻¹ ∂L_out/∂θ, moves by gradient steps and is carried.

    The hypergradient is ∂L_out/∂λ - (∂²L_in/∂λ∂θ) v, as in :class:`ImplicitDifferentiation`, with every derivative
    on mini-batches: those of the steps that would come next, each sample or average as good as the others, so that a
    problem should give batches of equal size. It is exact only in the limit of calls; a subclass says
    in what sense. An outer parameter outside the inner loss is an error.

    Args:
        steps: steps of v at each call.
        cold_steps: steps of v before the first direction, where there is no state; the papers have none, and their
            first directions are without the implicit part.
        step_size: of v; None takes 1/L̂ with L̂ the largest curvature that ``POWER_STEPS`` power iterations find on
            the first batch (one, once there is a state), or that v itself meets on the batches of this call; it
            converges while L̂ > L/2.
        damping: added to the Hessian's diagonal.
        inner_batches, outer_batches: batches that each derivative is averaged over, by their samples.
        optimizer: see :class:`HypergradientEstimator`.

    Cost of a call: ``steps`` (times ``inner_batches``) gradients with one product each, and ``outer_batches`` outer
    gradients. Memory: the graph of one batch at a time and a few vectors; it does not grow with the number of inner
    steps.

    Diagnostics: ``outer_loss`` (on the batches seen), ``step_size``, ``residual``: ‖H v - ∂L_out/∂θ‖ / ‖∂L_out/∂θ‖
    on the last batch, before the last step of v.
    """

    def __init__(
        self, config: StochasticConfig, *, optimizer: OuterConfig | OuterOptimizer | None = None
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = config

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return (
            f"outer parameter '{name}' does not occur in inner_loss, so that {type(self).__name__} cannot see how "
            "it changes the solution; use UnrolledDifferentiation for learning rates, starting points and the like"
        )

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class."""
        oracle = Oracle(trajectory, problem, self.config.damping)
        last = state.get(SOLUTION)
        fits = last is None or last.shape == oracle.zero.shape
        call = Call(self.config, oracle, trajectory, state if fits else {})
        direction, kept = self.advance(call)
        require_finite(direction, trajectory.ctx.task.name)
        return TaskHypergradient(
            gradient=oracle.split(direction),
            state={POWER: call.power, **kept},
            diagnostics={
                "outer_loss": call.outer_loss,
                "step_size": call.step_size,
                "residual": call.residual,
            },
        )

    @abstractmethod
    def advance(self, call: Call) -> tuple[Tensor, Tensors]:
        """The direction, one vector over all λ, and the state to carry: v as :data:`SOLUTION`, where it is kept."""


class Call:
    """One call of an estimator: where it is, what it was given, and the batches it draws one after the other.

    Attributes:
        state: the carried state, or empty.
        cold: whether there is no v in it.
        step_size: of v.
        power: the vector of the power iteration.
        outer_loss, residual: diagnostics, as of the last draws.
    """

    def __init__(
        self, config: StochasticConfig, oracle: Oracle, trajectory: Trajectory, state: Tensors
    ) -> None:
        self.config, self.oracle, self.state, self.cold = config, oracle, state, SOLUTION not in state
        self.trajectory, self.ctx = trajectory, trajectory.ctx
        self._next_inner = self._next_outer = trajectory.end_step
        self.outer_loss = self.residual = math.nan
        self.step_size, self.power = self._curvature()

    def inner(self, v: Tensor) -> InnerSample:
        """On the next inner batches."""
        step, count = self._next_inner, self.config.inner_batches
        self._next_inner += count
        sample = self.oracle.inner_mean(step, self.ctx, v, count)
        self.seen(v, sample.hv)
        return sample

    def outer(self) -> OuterSample:
        """On the next outer batches."""
        step, count = self._next_outer, self.config.outer_batches
        self._next_outer += count
        sample = self.oracle.outer_mean(step, self.ctx, count)
        self.outer_loss = sample.value
        return sample

    def seen(self, v: Tensor, hv: Tensor, scale: float = 1.0) -> None:
        """Shorten the steps where ``scale`` · ‖H v‖ / ‖v‖ shows more curvature on a batch than was found so far."""
        length = float(torch.linalg.vector_norm(v))
        if self.config.step_size is None and length > 0.0:
            bound = scale * float(torch.linalg.vector_norm(hv)) / length
            if math.isfinite(bound) and bound * self.step_size > 1.0:
                self.step_size = 1.0 / bound

    def moved(self, v: Tensor, hv: Tensor, slope: Tensor) -> Tensor:
        """v after one gradient step on vᵀHv/2 - vᵀ∂L_out/∂θ."""
        rest = hv - slope
        size = float(torch.linalg.vector_norm(slope))
        self.residual = float(torch.linalg.vector_norm(rest)) / size if size else 0.0
        return v - self.step_size * rest

    def start(self) -> Tensor:
        """The carried v, or what ``cold_steps`` steps make of zero."""
        if not self.cold:
            return self.state[SOLUTION].to(self.oracle.zero)
        v = self.oracle.zero
        for _ in range(self.config.cold_steps):
            v = self.moved(v, self.inner(v).hv, self.outer().slope)
        return v

    def _curvature(self) -> tuple[float, Tensor]:
        zero, step = self.oracle.zero, self.trajectory.end_step
        if self.config.step_size is not None:
            return self.config.step_size, torch.empty(0)
        system = LinearSystem(
            product=lambda v: self.oracle.inner_mean(step, self.ctx, v, self.config.inner_batches).hv,
            b=zero,
            seed=self.ctx.at(step=step, stream="power").stream_seed,
        )
        last = self.state.get(POWER)
        warm = last is not None and last.shape == zero.shape
        largest, power = largest_curvature(
            system, last.to(zero) if warm and last is not None else None, steps=1 if warm else POWER_STEPS
        )
        return (1.0 / largest if largest > 0.0 else 1.0), power


def require_finite(direction: Tensor, task: str) -> None:
    """Refuse a direction that is not finite.

    Raises:
        DivergenceError: naming the task.
    """
    if not bool(torch.isfinite(direction).all()):
        raise DivergenceError(
            f"the stochastic hypergradient is not finite (task '{task}'): lower step_size, raise the damping, or "
            "look at the second derivatives of inner_loss and the first of outer_loss"
        )
