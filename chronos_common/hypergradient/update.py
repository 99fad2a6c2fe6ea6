"""From a version of λ to an update: the one function of the single-node loop and of served workers.

Everything that decides the result is an argument, so that the same arguments give the same update in any
process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from chronos_common.errors import ProblemError
from chronos_common.hypergradient.base import HypergradientEstimator
from chronos_common.hypergradient.outer_space import OuterSpace
from chronos_common.problem import (
    Context,
    InnerProblem,
    InnerState,
    Shard,
    Task,
    Tensors,
    Trajectory,
    require_parts,
)
from chronos_common.tensors import Array, Arrays

_INNER, _ESTIMATOR, _VERSION, _NEXT_STEP = "inner/", "estimator/", "base_version", "next_step"


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Carry:
    """What one update leaves for the next: warm starts, and where the batches stopped.

    Attributes:
        base_version: the version the last update was computed at.
        next_step: the inner step that comes next if work goes on at the same version.
        inner: the last θ of each task, by the task's name.
        estimator: the estimator's warm starts.
    """

    base_version: int
    next_step: int
    inner: dict[str, InnerState]
    estimator: Tensors

    def to_tensors(self) -> Tensors:
        """Flat named tensors, for files."""
        flat = {_VERSION: torch.tensor(self.base_version), _NEXT_STEP: torch.tensor(self.next_step)}
        for task, state in self.inner.items():
            # Names of tasks may hold slashes; the length says where they end.
            flat |= {f"{_INNER}{len(task)}/{task}/{k}": v for k, v in state.to_tensors().items()}
        return flat | {_ESTIMATOR + k: v for k, v in self.estimator.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Carry:
        """The inverse of :meth:`to_tensors`.

        Raises:
            ProblemError: tensors that :meth:`to_tensors` did not produce.
        """
        states: dict[str, Tensors] = {}
        estimator: Tensors = {}
        try:
            for name, value in tensors.items():
                if name.startswith(_INNER):
                    length, _, rest = name.removeprefix(_INNER).partition("/")
                    task, key = rest[: int(length)], rest[int(length) + 1 :]
                    states.setdefault(task, {})[key] = value
                elif name.startswith(_ESTIMATOR):
                    estimator[name.removeprefix(_ESTIMATOR)] = value
            return cls(
                base_version=int(tensors[_VERSION]),
                next_step=int(tensors[_NEXT_STEP]),
                inner={task: InnerState.from_tensors(part) for task, part in states.items()},
                estimator=estimator,
            )
        except (KeyError, ValueError) as error:
            raise ProblemError(f"these tensors are not a warm start: {error}") from error


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class InnerUpdate:
    """What a worker commits, and what it keeps.

    Attributes:
        gradient: dL_outer/du in stored coordinates, each parameter in its own dtype.
        work: share of the assigned inner steps that were done, in (0, 1].
        metrics: ``outer_loss``, ``inner_loss`` (before the last step), the problem's own ``evaluate``
            when asked for; means over the tasks done.
        diagnostics: the estimator's figures.
        samples: training samples seen.
        tasks: tasks done.
        carry: pass it to the next update for a warm start.
    """

    gradient: dict[str, Array]
    work: float
    metrics: dict[str, float]
    diagnostics: dict[str, float]
    samples: int
    tasks: int
    carry: Carry


def compute_update(
    problem: InnerProblem,
    estimator: HypergradientEstimator,
    stored: Arrays,
    *,
    num_inner_steps: int,
    seed: int = 0,
    base_version: int = 0,
    shard: Shard | None = None,
    device: torch.device | None = None,
    carry: Carry | None = None,
    should_stop: Callable[[], bool] | None = None,
    evaluate: bool = False,
) -> InnerUpdate:
    """Solve the inner problem at one version of λ and differentiate the outer loss.

    With several tasks they are split over the shards (task i goes to shard i modulo count; shards without
    one repeat another's) and each sees all of its data; with one task the problem splits the data.

    Args:
        problem: the problem; it must define what ``estimator`` requires.
        estimator: computes the hypergradient; its optimiser is not used.
        stored: u, by name, as the version's snapshot holds it.
        num_inner_steps: inner steps per task, at least 0.
        seed: the run's seed.
        base_version: the version of ``stored``.
        shard: which of several workers this is; default the only one.
        device: where to compute; default the CPU.
        carry: the last update's, to start warm; None starts from ``init_inner`` (MAML needs that).
        should_stop: asked between steps: the deadline. At least one step of one task is always done.
        evaluate: also call ``problem.evaluate``.

    Raises:
        MissingPartError, OuterParameterUnusedError, DivergenceError: see the estimator.
        PayloadError: ``stored`` does not fit the problem's declared outer parameters.
        ProblemError: a part of the problem broke its contract.
    """
    require_parts(problem, estimator.requires, type(estimator).__name__)
    device = device or torch.device("cpu")
    space = OuterSpace.of(problem)
    outer = space.natural(stored, device)
    root = Context(seed=seed, base_version=base_version, device=device)
    tasks = _tasks(problem, root)
    shard = shard or Shard()
    mine = [tasks[i] for i in shard.positions(len(tasks))] if len(tasks) > 1 else list(tasks)
    root = root if len(tasks) > 1 else root.at(shard=shard)

    start_step = carry.next_step if carry is not None and carry.base_version == base_version else 0
    trajectories: list[Trajectory] = []
    for task in mine:
        if trajectories and should_stop is not None and should_stop():
            break
        _, trajectory = problem.solve(
            outer,
            init=carry.inner.get(task.name) if carry is not None else None,
            num_steps=num_inner_steps,
            ctx=root.at(task=task),
            start_step=start_step,
            should_stop=should_stop,
            keep_last=estimator.keep_last,
            # What a recorder keeps lives as long as its trajectory: one at a time, or memory grows with the tasks.
            recorder=estimator.recorder() if len(mine) == 1 else None,
        )
        trajectories.append(trajectory)

    result = estimator.compute_hypergradient(
        trajectories, problem, None if carry is None else carry.estimator
    )
    return InnerUpdate(
        gradient=space.gradient(result.gradient, outer),
        work=sum(t.work for t in trajectories) / len(mine),
        metrics=_metrics(problem, trajectories, result.diagnostics, evaluate=evaluate),
        diagnostics=result.diagnostics,
        samples=sum(t.samples for t in trajectories),
        tasks=len(trajectories),
        carry=_next_carry(tasks, trajectories, carry, result.state),
    )


def _tasks(problem: InnerProblem, ctx: Context) -> Sequence[Task]:
    tasks = problem.tasks(ctx.at(stream="tasks"))
    names = [task.name for task in tasks]
    if not names:
        raise ProblemError("tasks() is empty; return at least one Task")
    if len(set(names)) != len(names) or [task.index for task in tasks] != list(range(len(tasks))):
        raise ProblemError("tasks() must number its tasks 0, 1, ... in order and give each its own name")
    return tasks


def _metrics(
    problem: InnerProblem,
    trajectories: Sequence[Trajectory],
    diagnostics: Mapping[str, float],
    *,
    evaluate: bool,
) -> dict[str, float]:
    metrics = {"outer_loss": diagnostics["outer_loss"]}
    figures = [_figures(problem, trajectory, evaluate=evaluate) for trajectory in trajectories]
    for name in dict.fromkeys(key for each in figures for key in each):
        values = [each[name] for each in figures if name in each]
        metrics[name] = sum(values) / len(values)
    return metrics


def _figures(problem: InnerProblem, trajectory: Trajectory, *, evaluate: bool) -> dict[str, float]:
    figures = {name: float(value) for name, value in trajectory.metrics.items()}
    if trajectory.num_steps:
        figures["inner_loss"] = float(trajectory.losses[-1])
    if evaluate:
        ctx = trajectory.ctx.at(step=trajectory.end_step, stream="evaluate", training=False)
        figures |= problem.evaluate(trajectory.final, trajectory.outer, ctx)
    return figures


def _next_carry(
    tasks: Sequence[Task], trajectories: Sequence[Trajectory], carry: Carry | None, estimator: Tensors
) -> Carry:
    """Warm starts of this update, and older ones of tasks that still exist."""
    names = {task.name for task in tasks}
    inner = {} if carry is None else {k: v for k, v in carry.inner.items() if k in names}
    inner |= {t.ctx.task.name: t.final for t in trajectories}
    return Carry(
        base_version=trajectories[0].ctx.base_version,
        next_step=max(t.end_step for t in trajectories),
        inner=inner,
        estimator={k: v for k, v in estimator.items() if any(k.startswith(f"{name}/") for name in names)},
    )
