"""`chronos runs | show | watch | stop | verify`: what is asked of a coordinator about its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from chronos_common.cli.options import AsJson, Coordinator, RunId, StorePath, coordinator_address
from chronos_common.cli.output import emit_json, messages, results
from chronos_common.cli.securing import connect

if TYPE_CHECKING:
    from chronos_common.engine import VerifyReport


def runs(coordinator: Coordinator = None, as_json: AsJson = False) -> None:
    """List all runs, newest first."""
    from chronos_common.cli.views import run_json, runs_table

    with connect(coordinator_address(coordinator)) as client:
        views = client.list_runs()
    if as_json:
        emit_json({"runs": [run_json(view) for view in views]})
    elif views:
        results().print(runs_table(views))
    else:
        results().print("no runs yet; `chronos run` creates one")


def show(run_id: RunId, coordinator: Coordinator = None, as_json: AsJson = False) -> None:
    """Show one run: its definition, how it stands, its workers."""
    from chronos_common.cli.views import run_json, run_summary

    with connect(coordinator_address(coordinator)) as client:
        view = client.get_run(run_id)
    if as_json:
        emit_json(run_json(view))
    else:
        results().print(run_summary(view))


def watch(
    run_id: RunId,
    coordinator: Coordinator = None,
    after: Annotated[
        int, typer.Option("--after", metavar="VERSION", min=0, help="Begin after this version.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one JSON object a line and version to stdout, nothing else.")
    ] = False,
) -> None:
    """Follow a run until it ends. Interrupting ends the command, not the run."""
    from chronos_common.cli.following import follow
    from chronos_common.cli.progress import RunProgress
    from chronos_common.cli.views import version_json
    from chronos_common.engine import VersionRecord

    with (
        connect(coordinator_address(coordinator)) as client,
        RunProgress(messages(), quiet=as_json) as progress,
    ):
        goal = client.get_run(run_id).config.max_versions
        progress.step(run_id, total=goal, start=after)

        def published(record: VersionRecord) -> None:
            if as_json:
                emit_json(version_json(record, run_id), indent=None)
            progress.record(record)

        status = follow(client, run_id, on_version=published, after_version=after)
    if not as_json:
        results().print(f"run {run_id} has {status}")


def stop(
    run_id: RunId,
    coordinator: Coordinator = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for people.")] = "",
    as_json: AsJson = False,
) -> None:
    """End a run: its workers stop, its versions stay. Repeating it changes nothing."""
    from chronos_common.cli.views import run_json

    with connect(coordinator_address(coordinator)) as client:
        view = client.stop_run(run_id, reason=reason or "chronos stop")
    if as_json:
        emit_json(run_json(view))
    else:
        results().print(f"run {run_id} has {view.status} at version {view.version} ({view.reason})")


def verify(
    run_id: RunId,
    coordinator: Coordinator = None,
    store: StorePath = None,
    from_snapshot: Annotated[
        bool,
        typer.Option(
            "--from-snapshot", help="Prove only what follows the newest snapshot: quicker, and it says so."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a run's journal and compare every digest and every snapshot; exit code 1 if one differs.

    It begins at the journal's first entry, or where retention has dropped that, at the oldest snapshot.
    """
    if store is not None:
        from chronos_common.cli.offline import verify_offline

        report = verify_offline(store, run_id, from_snapshot=from_snapshot)
    else:
        with connect(coordinator_address(coordinator)) as client:
            report = client.verify_run(run_id, from_snapshot=from_snapshot)
    if as_json:
        emit_json(
            {
                "run_id": run_id,
                "clean": report.clean,
                "versions": report.versions,
                "entries": report.entries,
                "from_version": report.from_version,
                "from_entry": report.from_entry,
                "snapshots": report.snapshots,
                "problem": report.problem,
            }
        )
    else:
        replayed = f"{report.versions} versions from {report.entries} journal entries, {_extent(report)}"
        result = (
            f"clean: replayed {replayed}" if report.clean else f"NOT CLEAN after {replayed}: {report.problem}"
        )
        results().print(f"run {run_id} is {result}", highlight=False, soft_wrap=True)
    if not report.clean:
        raise typer.Exit(1)


def _extent(report: VerifyReport) -> str:
    """What was proved, and what was not."""
    begun = (
        f"beginning at the snapshot at entry {report.from_entry} (version {report.from_version}); what led to it "
        "was not proved"
        if report.from_entry
        else "beginning at the first"
    )
    agreed = {0: "", 1: "; 1 snapshot agrees"}.get(report.snapshots, f"; {report.snapshots} snapshots agree")
    return begun + agreed
