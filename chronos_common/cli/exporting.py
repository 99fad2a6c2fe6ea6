"""The result of a run as a safetensors file: λ in natural coordinates, and θ solved for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from chronos_common.cli.imports import import_path
from chronos_common.cli.securing import connect
from chronos_common.cli.values import newest_values
from chronos_common.engine import RunConfig, WorkSpec
from chronos_common.errors import ConfigurationError
from chronos_common.outer import to_natural
from chronos_common.tensors import Array

WARM_START_FACTOR = 10
"""A run's inner loops go on from each other's θ: one from the start needs more steps to get as far."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The newest version of a run, in stored coordinates."""

    run_id: str
    version: int
    digest: str
    config: RunConfig
    stored: dict[str, Array]


def fetch_result(address: str, run_id: str) -> Result:
    """The newest version, from a coordinator.

    Raises:
        RunNotFoundError: no such run.
        PayloadError: the answer is damaged.
    """
    with connect(address) as client:
        config = client.get_run(run_id).config
        newest = newest_values(client, run_id, config)
    return Result(
        run_id=run_id,
        version=newest.version,
        digest=newest.digest,
        config=config,
        stored=dict(newest.stored),
    )


def read_result(store: str, run_id: str) -> Result:
    """The newest version, from a store without a coordinator; raises as ``state_offline``."""
    from chronos_common.cli.offline import state_offline

    state = state_offline(store, run_id)
    return Result(
        run_id=run_id,
        version=state.version,
        digest=state.digest,
        config=state.config,
        stored=dict(state.published),
    )


def solve_inner(result: Result, paths: Sequence[Path], num_steps: int) -> dict[str, Array]:
    """θ from its start at the result's λ: ``<name>`` for one task, ``<task>.<name>`` for several.

    Args:
        result: names the problem and holds λ.
        paths: directories to import the problem from.
        num_steps: inner steps; 0 is ten times those of the run.

    Raises:
        ProblemError: the problem cannot be imported, or broke its contract.
        ConfigurationError: the run names no problem.
    """
    import torch

    from chronos_common.hypergradient import OuterSpace
    from chronos_common.problem import Context, load_problem

    work: WorkSpec = result.config.work
    if not work.problem:
        raise ConfigurationError(f"run {result.run_id} names no problem")
    with import_path(paths):
        problem = load_problem(work.problem, work.problem_config, allow=[work.problem])
        outer = OuterSpace.of(problem).natural(result.stored, torch.device("cpu"))
        ctx = Context(seed=work.seed, base_version=result.version)
        tasks = problem.tasks(ctx.at(stream="tasks"))
        steps = num_steps or WARM_START_FACTOR * work.inner_steps
        solved = {
            task.name: problem.solve(outer, num_steps=steps, ctx=ctx.at(task=task))[0] for task in tasks
        }
    found: dict[str, Array] = {}
    for task, inner in solved.items():
        prefix = f"{task}." if len(tasks) > 1 else ""
        for name, value in {**inner.params, **inner.buffers}.items():
            found[prefix + name] = np.asarray(value.cpu().numpy(), order="C")
    return found


def save(result: Result, inner: dict[str, Array], path: Path) -> list[str]:
    """Writes ``outer.*`` and ``inner.*`` with the run's id, version and digest as metadata; the names.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    natural = to_natural(result.stored, result.config.parameters)
    tensors = {f"outer.{name}": np.asarray(value, order="C") for name, value in natural.items()}
    tensors |= {f"inner.{name}": value for name, value in inner.items()}
    metadata = {
        "format": "chronos.v1",
        "run_id": result.run_id,
        "version": str(result.version),
        "digest": result.digest,
        "problem": result.config.work.problem,
        "problem_config": result.config.work.problem_config,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata=metadata)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror or error}") from error
    return sorted(tensors)
