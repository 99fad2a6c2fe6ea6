"""Random directions in the coordinates that λ is stored in, and inner loops at λ moved along them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, DivergenceError
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory, resolve_parameters
from chronos_common.problem.solving import fresh_state, inner_step, outer_objective

CALLS = "calls"
"""The entry of an estimator's state that counts its calls: each draws numbers of its own."""


def require_sampling(samples: int, sigma: float, what: str) -> None:
    """Check settings that all zeroth-order estimators have.

    Raises:
        ConfigurationError: fewer than one sample, or no width.
    """
    if samples < 1:
        raise ConfigurationError(f"{what} must be at least 1, not {samples}")
    if not sigma > 0.0:
        raise ConfigurationError(f"sigma must be above 0, not {sigma}")


class Perturbations:
    """λ moved by σ · ε in stored coordinates (log λ where ``scale="log"``), within its bounds.

    Args:
        run: the finished inner loop whose λ it is; its seed, version, task and shard seed the directions.
        problem: whose.
        sigma: σ.
        state: the estimator's, for :data:`CALLS`.
        stream: a name of the estimator's own.
    """

    def __init__(
        self, run: Trajectory, problem: InnerProblem, *, sigma: float, state: Tensors, stream: str
    ) -> None:
        self._run, self._problem, self._sigma = run, problem, sigma
        self._parameters = resolve_parameters(problem.outer_parameters())
        self._calls = int(state[CALLS]) if CALLS in state else 0
        self._generator = run.ctx.at(step=run.end_step, stream=f"{stream}/{self._calls}").generator

    def counted(self) -> Tensors:
        """State after this call."""
        return {CALLS: torch.tensor(self._calls + 1)}

    def draw(self) -> Tensors:
        """The next direction ε: standard normal, like λ."""
        return {
            k: torch.randn(v.shape, generator=self._generator, dtype=torch.float64).to(v.device, v.dtype)
            for k, v in self._run.outer.items()
        }

    def moved(self, direction: Tensors, sign: float = 1.0) -> Tensors:
        """λ at u + sign · σ · ε."""
        by = sign * self._sigma
        values: Tensors = {}
        for name, value in self._run.outer.items():
            declared = self._parameters[name]
            step = by * direction[name]
            raw = value * step.exp() if declared.scale == "log" else value + step
            values[name] = raw.clamp(*declared.limits())
        return values

    def natural(self, gradient: Tensors) -> Tensors:
        """dL/dλ of dL/du."""
        log = {k for k, declared in self._parameters.items() if declared.scale == "log"}
        return {k: v / self._run.outer[k] if k in log else v for k, v in gradient.items()}

    def start(self, outer: Tensors) -> InnerState:
        """Where a loop at ``outer`` begins: at ``init_inner`` if the trajectory did, else where that began."""
        run = self._run
        if not run.from_init_inner:
            return run.initial
        with torch.no_grad():
            return fresh_state(self._problem, outer, run.start_step, run.ctx).detach()

    def end(self, outer: Tensors, begin: InnerState) -> InnerState:
        """Where the trajectory's steps lead from ``begin`` at ``outer``, on the same batches and numbers."""
        run, inner = self._run, begin
        for step in range(run.start_step, run.end_step):
            inner = inner_step(self._problem, inner, outer, step, run.ctx, differentiable=False).state
        return inner

    def loss(self, outer: Tensors, at: InnerState) -> float:
        """The outer loss there.

        Raises:
            DivergenceError: it is not finite.
        """
        run = self._run
        with torch.no_grad():
            value = float(outer_objective(self._problem, at, outer, run.end_step, run.ctx))
        if not math.isfinite(value):
            raise DivergenceError(
                "the outer loss is not finite at a perturbed λ; lower sigma, or bound the outer parameters"
            )
        return value


def accumulate(total: Tensors, direction: Tensors, weight: Tensor | float) -> Tensors:
    """``total + weight · direction``; an empty total is zero."""
    return {k: total[k] + weight * v if total else weight * v for k, v in direction.items()}


def explain_unused_anywhere(name: str) -> str:
    """What estimators that only look at values would say; their estimates contain every parameter."""
    return f"outer parameter '{name}' was not perturbed"
