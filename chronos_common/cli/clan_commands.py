"""`chronos clan list | show | watch | report | verify`: populations, their genes, their fitness, their family tree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chronos_common.cli.options import AsJson, Coordinator, coordinator_address
from chronos_common.cli.output import emit_json, results
from chronos_common.cli.securing import connect, securable

clan = typer.Typer(
    name="clan",
    help="Clans: populations that train as one while their members' optimiser schedules compete.",
    no_args_is_help=True,
)

ClanId = Annotated[str, typer.Argument(metavar="CLAN", help="The clan.")]


@clan.command("list")
@securable
def list_clans(coordinator: Coordinator = None, as_json: AsJson = False) -> None:
    """List all clans."""
    from chronos_common.cli.clan_views import clan_json, clans_table

    with connect(coordinator_address(coordinator)) as client:
        found = [client.describe_clan(clan_id) for clan_id in client.list_clans()]
    if as_json:
        emit_json({"clans": [clan_json(view) for view in found]})
    elif found:
        results().print(clans_table(found))
    else:
        results().print("there is no clan")


@clan.command()
@securable
def show(clan_id: ClanId, coordinator: Coordinator = None, as_json: AsJson = False) -> None:
    """Show how a clan stands: its members, their genes and what they reached."""
    from chronos_common.cli.clan_views import clan_json, clan_line, members_table

    with connect(coordinator_address(coordinator)) as client:
        view = client.describe_clan(clan_id)
    if as_json:
        emit_json(clan_json(view))
        return
    results().print(clan_line(view))
    results().print(members_table(view))


@clan.command()
@securable
def watch(
    clan_id: ClanId,
    coordinator: Coordinator = None,
    every: Annotated[
        float, typer.Option("--every", min=0.05, help="Seconds from one look to the next.")
    ] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Show genes and fitness round by round, until the training is over; one line or document for each round."""
    from chronos_common.cli.clan_watch import watch_clan

    with connect(coordinator_address(coordinator)) as client:
        watch_clan(client, clan_id, every_seconds=every, as_json=as_json)


@clan.command()
@securable
def report(
    clan_id: ClanId,
    coordinator: Coordinator = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory of the report.")] = Path("chronos-out"),
) -> None:
    """Write report.json and report.png: genes over rounds, fitness, family tree."""
    from chronos_common.cli.clan_report import write_report

    with connect(coordinator_address(coordinator)) as client:
        view, history = client.describe_clan(clan_id), client.clan_history(clan_id)
    for path in write_report(view, history, out):
        results().print(str(path), soft_wrap=True)


@clan.command()
@securable
def verify(clan_id: ClanId, coordinator: Coordinator = None, as_json: AsJson = False) -> None:
    """Replay a clan's journal, decide everything again, and compare."""
    from dataclasses import asdict

    with connect(coordinator_address(coordinator)) as client:
        found = client.verify_clan(clan_id)
    begin = f"from the snapshot at entry {found.from_entry}" if found.from_entry else "from the first entry"
    if as_json:
        emit_json(asdict(found))
    elif found.clean:
        results().print(
            f"clean: {found.rounds} rounds decided again from {found.entries} entries, {begin}",
            soft_wrap=True,
        )
    else:
        results().print(f"not clean, {begin}: {found.problem}", soft_wrap=True)
    if not found.clean:
        raise typer.Exit(1)
