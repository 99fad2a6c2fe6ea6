"""What `chronos diagnose` does: solve the problem's tasks once, and compare a hypergradient with a careful one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronos_common.cli.imports import import_path

if TYPE_CHECKING:
    from chronos_common.hypergradient import Diagnosis


def diagnosed(
    path: str,
    config: Mapping[str, Any],
    paths: tuple[Path, ...],
    *,
    estimator: str,
    estimator_config: Mapping[str, Any],
    inner_steps: int,
    seed: int,
    max_tasks: int,
    batches: int,
    curvature: bool,
) -> Diagnosis:
    """The report for ``path``; imports torch.

    Raises:
        ProblemError: the problem cannot be imported, or a part of it broke its contract.
        ConfigurationError: settings that cannot work.
        DivergenceError: the inner loop or a derivative is not finite.
    """
    from chronos_common.cli.running import require_torch

    require_torch()
    from chronos_common.hypergradient import diagnose, make_estimator
    from chronos_common.problem import Context, load_problem

    chosen = make_estimator(estimator, **estimator_config)
    with import_path(paths):
        problem = load_problem(path, config, allow=[path])
        ctx = Context(seed=seed)
        tasks = problem.tasks(ctx.at(stream="tasks"))[:max_tasks]
        runs = [
            problem.solve(num_steps=inner_steps, ctx=ctx.at(task=task), keep_last=chosen.keep_last)[1]
            for task in tasks
        ]
        return diagnose(
            chosen,
            runs,
            problem,
            max_tasks=max_tasks,
            batches=batches,
            curvature_steps=None if curvature else 0,
        )
