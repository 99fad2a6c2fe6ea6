"""The demo's report: ``report.json``, ``report.png`` and the table that ends it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table

from chronos_common.cli.demo.arms import ARMS
from chronos_common.cli.demo.outcome import Outcome
from chronos_common.cli.paces import accuracy_line
from chronos_common.cli.report_files import write_files


def write_report(outcome: Outcome, directory: Path) -> tuple[Path, Path]:
    """Writes both files, and returns their paths.

    Raises:
        ConfigurationError: the directory cannot be written to.
    """
    from chronos_common.cli.demo.figure import draw

    return write_files(outcome.to_json(), lambda path: draw(outcome, path), directory, option="--out")


def summary(outcome: Outcome, paths: Sequence[Path] = ()) -> RenderableType:
    """What a person wants to see at the end."""
    return Group(_accuracies(outcome), _figures(outcome, paths))


def _accuracies(outcome: Outcome) -> Table:
    table = Table(box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.title = (
        f"Digits with {outcome.noise:.0%} wrong labels, seed {outcome.seed}: test accuracy "
        "after the same final training"
    )
    table.add_column("arm", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("trained on")
    for arm, about in ARMS.items():
        if arm in outcome.accuracy:
            style = "bold" if arm.startswith("chronos") else ""
            table.add_row(arm, f"{outcome.accuracy[arm]:.1%}", about, style=style)
    return table


def _figures(outcome: Outcome, paths: Sequence[Path]) -> Table:
    report = outcome.to_json()
    commits, traffic, seconds = report["commits"], report["bytes"], report["seconds"]
    staleness = ", ".join(f"{count} × {versions}" for versions, count in report["staleness"].items())
    moved = traffic["sent"] + traffic["received"]
    kills = ", ".join(f"{count} {kind}" for kind, count in outcome.kills.items() if count) or "none"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    grid.add_row("wrong labels found", f"F1 {outcome.f1:.3f} (positive: clean, predicted by σ(λ) > ½)")
    grid.add_row("versions", f"{report['versions']}, from {outcome.workers} workers")
    lost = commits.pop("residuals_lost")
    grid.add_row("commits", ", ".join(f"{count} {name}" for name, count in commits.items()))
    if lost or outcome.kills.get("worker"):
        grid.add_row("residuals", f"{lost} declared lost by workers that came back without state")
    grid.add_row("staleness", f"{staleness} (commits × versions behind)")
    grid.add_row(
        "traffic",
        f"{moved / 1e6:.2f} MB both ways, {traffic['saved_fraction']:.1%} less than dense transfers",
    )
    grid.add_row(
        "time",
        f"{seconds['total']:.1f} s; over all workers {seconds['compute']:.1f} s compute, "
        f"{seconds['wait']:.1f} s wait, {seconds['communication']:.1f} s communication",
    )
    grid.add_row("prediction", accuracy_line(outcome.prediction))
    grid.add_row("killed", kills)
    if outcome.moments:
        struck = (f"{m.what} at version {m.version} ({m.seconds:.1f} s)" for m in outcome.moments)
        grid.add_row("chaos", ", ".join(struck) + "; the journal verifies")
    if paths:
        grid.add_row("report", "  ".join(str(path) for path in paths))
    return grid
