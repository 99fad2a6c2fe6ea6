"""The interface of hypergradient estimators, and what is the same for all of them."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, DivergenceError, OuterParameterUnusedError
from chronos_common.hypergradient.meta import MetaOptimizer, MetaState
from chronos_common.hypergradient.outer_space import OuterSpace
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import (
    InnerProblem,
    Tensors,
    Trajectory,
    require_parts,
)
from chronos_common.problem.solving import Recorder


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TaskHypergradient:
    """The contribution of one trajectory.

    Attributes:
        gradient: dL_outer/dλ by name, without the parameters that the computation did not contain.
        state: warm start for the same task's next computation.
        diagnostics: figures about this computation, among them ``outer_loss``.
    """

    gradient: Tensors
    state: Tensors
    diagnostics: dict[str, float]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class HypergradientResult:
    """The derivative of the outer loss, averaged over tasks.

    Attributes:
        gradient: dL_outer/dλ for every outer parameter, in natural coordinates, with its shape and dtype.
        state: warm starts, as named tensors; pass it to the next ``compute_hypergradient``.
        diagnostics: means over the tasks: ``outer_loss``, ``gradient_norm`` (Euclidean, of the average)
            and the estimator's own figures.
        outer: the λ it was computed at.
        problem: whose λ it is, for :meth:`HypergradientEstimator.step`.
    """

    gradient: Tensors
    state: Tensors
    diagnostics: dict[str, float]
    outer: Tensors
    problem: InnerProblem


class HypergradientEstimator(ABC):
    """Computes dL_outer/dλ from finished inner loops.

    A subclass implements :meth:`differentiate` for one trajectory, is listed in ``registry.py``, and gets
    a row in the contract test.

    Args:
        optimizer: what :meth:`step` steps λ with; the default is gradient descent at rate 0.1, in stored
            coordinates (log λ where ``scale="log"``). A distributed run does not use it: there the
            coordinator steps.
    """

    requires: ClassVar[tuple[str, ...]] = ("init_inner", "inner_loss", "outer_loss")
    """Methods that the problem must define."""

    def __init__(self, *, optimizer: OuterConfig | OuterOptimizer | None = None) -> None:
        self._optimizer = MetaOptimizer(optimizer)
        self.meta: MetaState | None = None
        """Outer values, optimiser state and version after the last :meth:`step`."""

    @property
    def keep_last(self) -> int:
        """How many of the last inner states ``solve`` should keep for this estimator."""
        return 0

    def recorder(self) -> Recorder | None:
        """What should take the steps of the next ``solve``, one for each trajectory; None where nothing gains by it."""
        return None

    @abstractmethod
    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """The hypergradient of one trajectory; ``state`` is what the same task returned last, or empty."""

    @abstractmethod
    def explain_unused(self, name: str) -> str:
        """Where ``name`` was looked for in vain, and what to do: the message of an error."""

    def compute_hypergradient(
        self,
        trajectories: Trajectory | Sequence[Trajectory],
        problem: InnerProblem,
        state: Tensors | None = None,
    ) -> HypergradientResult:
        """Differentiate the outer loss by λ.

        Args:
            trajectories: from ``problem.solve``; several are several tasks at one λ, with equal weights.
            problem: the problem that they came from.
            state: ``HypergradientResult.state`` of the last call, or None for a cold start.

        Raises:
            MissingPartError: the problem lacks one of :attr:`requires`.
            OuterParameterUnusedError: no trajectory's computation contains the parameter, which is not
                the same as a derivative of zero.
            DivergenceError: the outer loss or the hypergradient is not finite.
            ConfigurationError: no trajectory.
        """
        require_parts(problem, self.requires, type(self).__name__)
        runs = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
        if not runs:
            raise ConfigurationError("compute_hypergradient needs at least one trajectory")
        outer, new_state = runs[0].outer, dict(state or {})
        parts: list[TaskHypergradient] = []
        for run in runs:
            prefix = f"{run.ctx.task.name}/"
            # A state that came through a file is on the CPU.
            device = run.ctx.device
            warm = {
                k.removeprefix(prefix): v.to(device) for k, v in new_state.items() if k.startswith(prefix)
            }
            part = self.differentiate(run, problem, warm)
            parts.append(part)
            new_state |= {prefix + k: v for k, v in part.state.items()}
        gradient = {name: self._average(name, value, parts) for name, value in outer.items()}
        diagnostics = _mean(parts)
        diagnostics["gradient_norm"] = _checked_norm(gradient)
        return HypergradientResult(
            gradient=gradient,
            state=new_state,
            diagnostics=diagnostics,
            outer=outer,
            problem=problem,
        )

    def _average(self, name: str, like: Tensor, parts: Sequence[TaskHypergradient]) -> Tensor:
        if len(parts) == 1 and name in parts[0].gradient:
            return parts[0].gradient[name].to(like.dtype)
        present = [part.gradient[name] for part in parts if name in part.gradient]
        if not present:
            raise OuterParameterUnusedError(self.explain_unused(name), name=name)
        total = present[0] if len(present) == 1 else torch.stack(present).sum(dim=0)
        return (total / len(parts)).to(like.dtype)

    def step(self, result: HypergradientResult) -> Tensors:
        """Step λ with the attached optimiser, within its bounds, and return it in natural coordinates.

        The optimiser's memory lives in :attr:`meta` and goes on from call to call.
        """
        space = OuterSpace.of(result.problem)
        self.meta = self._optimizer.step(self.meta, result.outer, result.gradient, space)
        device = next(iter(result.outer.values())).device
        return space.natural(self.meta.stored, device)


def _mean(parts: Sequence[TaskHypergradient]) -> dict[str, float]:
    first = parts[0].diagnostics
    if len(parts) == 1:
        return dict(first)
    return {key: sum(part.diagnostics[key] for part in parts) / len(parts) for key in first}


def outer_value(loss: Tensor) -> float:
    """The outer loss as a number.

    Raises:
        DivergenceError: it is not finite.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise DivergenceError("the outer loss is not finite; look at outer_loss and at the range of θ")
    return value


def _checked_norm(gradient: Tensors) -> float:
    norms = {name: float(torch.linalg.vector_norm(g, dtype=torch.float64)) for name, g in gradient.items()}
    for name, norm in norms.items():
        if not math.isfinite(norm):
            raise DivergenceError(
                f"the hypergradient of '{name}' is not finite; lower the inner learning rate, "
                "raise the damping, or bound the outer parameter",
                name=name,
            )
    return math.hypot(*norms.values())
