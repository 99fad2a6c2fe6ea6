"""`chronos diagnose`: how good is an estimator's hypergradient on a problem, and what does it keep in memory?"""

from __future__ import annotations

from typing import Annotated

import typer

from chronos_common.cli.options import HERE, AsJson, ProblemPath, keyword_arguments
from chronos_common.cli.output import emit_json, results
from chronos_common.cli.run_command import (
    Config,
    Estimator,
    EstimatorSetting,
    InnerSteps,
    Problem,
    Seed,
    Setting,
)

Tasks = Annotated[
    int, typer.Option("--tasks", min=1, help="The most tasks of the problem that are looked at.")
]
Batches = Annotated[
    int, typer.Option("--batches", min=1, help="Inner and outer batches that the reference averages over.")
]
Curvature = Annotated[
    bool,
    typer.Option(help="Whether to measure the curvature along each parameter: two more inner loops each."),
]


def diagnose(
    problem: Problem,
    config: Config = "",
    setting: Setting = None,
    path: ProblemPath = HERE,
    estimator: Estimator = "implicit",
    estimator_setting: EstimatorSetting = None,
    inner_steps: InnerSteps = 100,
    seed: Seed = 0,
    tasks: Tasks = 4,
    batches: Batches = 1,
    curvature: Curvature = True,
    as_json: AsJson = False,
) -> None:
    """Compare a hypergradient at the problem's start with a careful one, here on the CPU, without a coordinator.

    Shows the cosine with the reference, the residual of the linear solve, how solved the inner problem is, the
    curvature along each outer parameter, and the bytes of tensors that the estimate keeps. Example:

        chronos diagnose mylab.problems:Cleaning --estimator neumann --estimator-set steps=20
    """
    from chronos_common.cli.diagnosing import diagnosed

    found = diagnosed(
        problem,
        keyword_arguments(config, setting or [], "problem"),
        tuple(path),
        estimator=estimator,
        estimator_config=keyword_arguments("", estimator_setting or [], "estimator"),
        inner_steps=inner_steps,
        seed=seed,
        max_tasks=tasks,
        batches=batches,
        curvature=curvature,
    )
    if as_json:
        emit_json({"problem": problem, "estimator": estimator, **found.to_json()})
    else:
        results().print("\n".join(found.lines()), markup=False, highlight=False)
