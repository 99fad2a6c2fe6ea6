"""`chronos export`: the result of a run as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chronos_common.cli.options import (
    HERE,
    AsJson,
    Coordinator,
    ProblemPath,
    RunId,
    StorePath,
    coordinator_address,
)
from chronos_common.cli.output import emit_json, remark, results
from chronos_common.errors import ChronosError

if TYPE_CHECKING:
    from chronos_common.cli.exporting import Result
    from chronos_common.tensors import Array


def export(
    run_id: RunId,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The safetensors file to write.")],
    coordinator: Coordinator = None,
    store: StorePath = None,
    path: ProblemPath = HERE,
    steps: Annotated[
        int,
        typer.Option(
            "--steps", min=0, help="Inner steps from the start for θ; 0 is ten times those of the run."
        ),
    ] = 0,
    outer_only: Annotated[bool, typer.Option("--outer-only", help="Leave θ out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the newest λ of a run, and θ trained for it from the start, as safetensors.

    λ is in natural coordinates, under the names outer.*; θ (parameters and buffers) under inner.*. The
    metadata hold run id, version and digest. Without the problem at hand only λ is written.
    """
    from chronos_common.cli.exporting import fetch_result, read_result, save

    result = (
        read_result(store, run_id)
        if store is not None
        else fetch_result(coordinator_address(coordinator), run_id)
    )
    inner = {} if outer_only else _solved(result, path, steps)
    names = save(result, inner, out)
    if as_json:
        emit_json({"file": str(out), "run_id": run_id, "version": result.version, "tensors": names})
    else:
        results().print(
            f"version {result.version} of run {run_id} is in {out}: {', '.join(names)}",
            highlight=False,
            soft_wrap=True,
        )


def _solved(result: Result, paths: list[Path], steps: int) -> dict[str, Array]:
    from chronos_common.cli.exporting import solve_inner

    try:
        return solve_inner(result, paths, steps)
    except ChronosError as error:
        remark(f"θ is left out: {error} (see --path; --outer-only leaves it out without a word)")
        return {}
    except ImportError as error:
        remark(f"θ is left out: {error}; install chronos-nested[worker]")
        return {}
