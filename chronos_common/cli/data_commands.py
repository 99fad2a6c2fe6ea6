"""`chronos data list | show | watch`: data plans, who works on them, and how evenly."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from chronos_common.cli.options import AsJson, Coordinator, coordinator_address
from chronos_common.cli.output import emit_json, results
from chronos_common.cli.securing import connect, securable

data = typer.Typer(
    name="data",
    help="Data plans: which samples each worker takes in each step, and how evenly their seconds come out.",
    no_args_is_help=True,
)

PlanId = Annotated[str, typer.Argument(metavar="PLAN", help="The data plan.")]


@data.command("list")
@securable
def list_plans(coordinator: Coordinator = None, as_json: AsJson = False) -> None:
    """List all data plans."""
    from chronos_common.cli.data_views import plan_json, plans_table

    with connect(coordinator_address(coordinator)) as client:
        found = client.list_data_plans()
    if as_json:
        emit_json({"plans": [plan_json(view) for view in found]})
    elif found:
        results().print(plans_table(found))
    else:
        results().print("there is no data plan")


@data.command()
@securable
def show(plan_id: PlanId, coordinator: Coordinator = None, as_json: AsJson = False) -> None:
    """Show how a data plan stands and how fast its members are."""
    from chronos_common.cli.data_views import members_table, plan_json, plan_summary

    with connect(coordinator_address(coordinator)) as client:
        view = client.describe_data(plan_id)
    if as_json:
        emit_json(plan_json(view))
        return
    results().print(plan_summary(view))
    if view.members:
        results().print(members_table(view))


@data.command()
@securable
def watch(
    plan_id: PlanId,
    coordinator: Coordinator = None,
    every: Annotated[
        float, typer.Option("--every", min=0.05, help="Seconds from one line to the next.")
    ] = 1.0,
    count: Annotated[
        int, typer.Option("--count", min=0, help="Lines to print; 0 is until the epoch is over.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Print a line on a data plan every so often, until its epoch is over."""
    from chronos_common.cli.data_views import plan_json, plan_line

    with connect(coordinator_address(coordinator)) as client:
        printed = 0
        while True:
            view = client.describe_data(plan_id)
            printed += 1
            if as_json:
                emit_json(plan_json(view))
            else:
                results().print(plan_line(view))
            if printed == count or (not count and view.over):
                return
            time.sleep(every)
