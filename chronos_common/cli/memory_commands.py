"""`chronos memory show | similar | predict | sources`: what a run remembers."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from chronos_common.cli.options import AsJson, Coordinator, RunId, coordinator_address
from chronos_common.cli.output import emit_json, results
from chronos_common.cli.securing import connect, securable

memory = typer.Typer(
    name="memory",
    help="What a run remembers: what was measured at which outer parameters, and which of them failed.",
    no_args_is_help=True,
)

Count = Annotated[
    int, typer.Option("-k", "--count", min=0, help="Entries to look at; 0 is the run's own number.")
]


@memory.command()
@securable
def show(
    run_id: RunId,
    coordinator: Coordinator = None,
    window: Annotated[
        int, typer.Option("--window", min=1, help="Newest entries that the trend is drawn through.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Show how full a run's memory is, how the losses go, and the places that failed."""
    from chronos_common.cli.memory_views import memory_json, memory_summary

    with connect(coordinator_address(coordinator)) as client:
        view = client.describe_memory(run_id, window=window)
    if as_json:
        emit_json({"run_id": run_id, **memory_json(view)})
    else:
        results().print(memory_summary(run_id, view))


@memory.command()
@securable
def similar(
    run_id: RunId,
    coordinator: Coordinator = None,
    count: Count = 0,
    metric: Annotated[str, typer.Option("--metric", help="distance or cosine.")] = "distance",
    as_json: AsJson = False,
) -> None:
    """List the entries that are most like a run's newest version, in stored coordinates."""
    from chronos_common.cli.memory_views import neighbour_json, neighbours_table

    with connect(coordinator_address(coordinator)) as client:
        found = client.retrieve_similar(run_id, k=count, metric=metric)
    if as_json:
        emit_json({"run_id": run_id, "entries": [neighbour_json(one) for one in found]})
    elif found:
        results().print(neighbours_table(found))
    else:
        results().print(f"run {run_id} remembers nothing yet")


@memory.command()
@securable
def predict(
    run_id: RunId, coordinator: Coordinator = None, count: Count = 0, as_json: AsJson = False
) -> None:
    """Predict the hypergradient at a run's newest version from the entries near it."""
    from chronos_common.cli.views import outer_json, outer_table

    with connect(coordinator_address(coordinator)) as client:
        found = client.predict_gradient(run_id, k=count)
    if as_json:
        facts: dict[str, Any] = {
            name: value if math.isfinite(value) else None
            for name, value in (
                ("nearest", found.nearest),
                ("loss", found.loss),
                ("mean_cosine", found.cosine),
            )
        }
        gradient = outer_json(found.gradient)
        emit_json({"run_id": run_id, "neighbours": found.neighbours, **facts, "gradient": gradient})
    elif found.neighbours:
        results().print(f"from {found.neighbours} entries, the nearest {found.nearest:.4g} away:")
        results().print(outer_table(found.gradient))
    else:
        results().print(f"run {run_id} remembers nothing yet")


@memory.command()
@securable
def sources(run_id: RunId, coordinator: Coordinator = None, as_json: AsJson = False) -> None:
    """List the finished runs that a new run like this one could begin from, and why others could not."""
    from chronos_common.cli.memory_views import source_json, sources_table

    with connect(coordinator_address(coordinator)) as client:
        config = client.get_run(run_id).config
        found = [one for one in client.find_warm_starts(config) if one.run_id != run_id]
    if as_json:
        emit_json({"run_id": run_id, "sources": [source_json(one) for one in found]})
    elif found:
        results().print(sources_table(found))
    else:
        results().print("no other run has finished")
