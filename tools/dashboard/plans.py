"""The row about data plans: balance, progress, planning, speeds."""

from __future__ import annotations

from typing import Final

from tools.dashboard.panels import Panel, Row
from tools.dashboard.promql import quantile, total

PLANS: Final = Row(
    title="Data plans",
    panels=[
        Panel(
            title="Slowest member over the mean",
            about="Compute seconds, averaged over the newest turns; 1 is perfect balance. It stays high where members "
            "report no seconds of their own, or one sample costs more than a member's share.",
            unit="short",
            queries={"{{plan}}": "max by (plan) (chronos_data_imbalance_ratio)"},
            width=6,
        ),
        Panel(
            title="Samples finished in this epoch",
            about="It falls to nothing when an epoch begins, and stands still while sizes or members are missing.",
            unit="short",
            queries={
                "{{plan}}": "max by (plan) (chronos_data_finished_samples)",
                "{{plan}} members": "max by (plan) (chronos_data_members)",
            },
            width=6,
        ),
        Panel(
            title="Samples dealt again",
            about="A second, of members that were gone before they had finished them.",
            unit="short",
            queries={"{{plan}}": total("chronos_data_returned_samples_total", "plan")},
            width=6,
        ),
        Panel(
            title="Shares by outcome",
            about="A second: delivered for the first time, or dealt again from members that were gone.",
            unit="ops",
            queries={"{{plan}} {{outcome}}": total("chronos_data_shares_total", "plan, outcome")},
            width=6,
        ),
        Panel(
            title="Epoch",
            about="From 0.",
            unit="short",
            queries={"{{plan}}": "max by (plan) (chronos_data_epoch)"},
            width=6,
        ),
        Panel(
            title="Planning of a turn",
            about="99th percentile. The first turn of a plan also orders its samples.",
            unit="s",
            queries={"{{plan}}": quantile(0.99, "chronos_data_planning_seconds", "plan")},
            width=6,
        ),
        Panel(
            title="Seconds for one unit of cost",
            about="As estimated of each member: the smaller, the faster.",
            unit="s",
            queries={"{{plan}} {{worker}}": "max by (plan, worker) (chronos_data_worker_cost_seconds)"},
            width=6,
        ),
        Panel(
            title="Fixed seconds of a turn",
            about="As estimated of each member: what a share takes whatever it costs.",
            unit="s",
            queries={"{{plan}} {{worker}}": "max by (plan, worker) (chronos_data_worker_fixed_seconds)"},
            width=6,
        ),
    ],
)
