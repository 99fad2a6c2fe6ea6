"""Data plans as JSON, as tables and as lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from chronos_common.data.views import DataView


def plan_json(view: DataView) -> dict[str, Any]:
    """How a plan stands; a rank of -1 is none."""
    fields = asdict(view)
    return {**fields, "steps": view.config.steps, "members": [asdict(member) for member in view.members]}


def plans_table(views: Sequence[DataView]) -> Table:
    """All plans."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("plan", "samples", "epoch", "step", "finished", "members", "imbalance"):
        table.add_column(column)
    for view in views:
        table.add_row(
            view.plan_id,
            f"{view.config.samples:,}",
            str(view.epoch),
            f"{view.next_step} of {view.config.steps}",
            _finished(view),
            str(len(view.members)),
            _imbalance(view),
        )
    return table


def plan_summary(view: DataView) -> Table:
    """One plan."""
    table = Table(box=None, show_header=False, title=f"data plan {view.plan_id}", title_justify="left")
    plan = view.config.plan
    rows = [
        ("samples", f"{view.config.samples:,}, {plan.batch_size:,} in a step; {plan.kind}, {plan.cost} cost"),
        ("sizes", _sizes(view)),
        ("epoch", f"{view.epoch}{', over' if view.over else ''}"),
        ("step", f"{view.next_step} of {view.config.steps} dealt"),
        ("finished", _finished(view)),
        ("open", f"{view.open:,} with members, {view.returned:,} came back"),
        ("imbalance", _imbalance(view)),
    ]
    for name, text in rows:
        table.add_row(name, text)
    return table


def members_table(view: DataView) -> Table:
    """A plan's members."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("worker", "rank", "node", "seconds per cost", "fixed seconds", "finished", "shares held"):
        table.add_column(column)
    for one in view.members:
        table.add_row(
            one.worker_id,
            str(one.rank) if one.rank >= 0 else "-",
            str(one.node),
            f"{one.beta_seconds:.4g}",
            f"{one.alpha_seconds:.4g}",
            f"{one.finished:,}",
            str(one.open_shares),
        )
    return table


def plan_line(view: DataView) -> str:
    """A plan in one line."""
    return (
        f"epoch {view.epoch} step {view.next_step} of {view.config.steps}: {_finished(view)} samples finished, "
        f"{len(view.members)} members, imbalance {_imbalance(view)}{', over' if view.over else ''}"
    )


def _finished(view: DataView) -> str:
    return f"{view.finished:,} of {view.config.samples_of_epoch:,}"


def _imbalance(view: DataView) -> str:
    return "-" if view.imbalance is None else f"{view.imbalance:.4f}"


def _sizes(view: DataView) -> str:
    if view.sized == view.config.samples:
        return "all there"
    return f"{view.sized:,} there, the first that is missing is {view.first_missing:,}"
