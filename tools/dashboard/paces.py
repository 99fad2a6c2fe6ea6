"""The row about predicted and actual times."""

from __future__ import annotations

from typing import Final

from tools.dashboard.panels import Panel, Row
from tools.dashboard.promql import RUN, newest, quantile

PACES: Final = Row(
    title="Pace",
    panels=[
        Panel(
            title="Predicted and actual seconds of a piece of work",
            about="From checkout to commit, of each worker's last one; the prediction is its median.",
            unit="s",
            queries={
                "{{worker}} predicted": newest("chronos_worker_predicted_seconds", "worker"),
                "{{worker}} actual": newest("chronos_worker_actual_seconds", "worker"),
            },
        ),
        Panel(
            title="Error of predictions",
            about="Median distance of the predicted medians from what the work took.",
            unit="s",
            queries={"{{run}}": quantile(0.5, "chronos_prediction_error_seconds", "run", RUN)},
        ),
        Panel(
            title="Stragglers",
            about="1 while a worker takes longer than its own band.",
            unit="short",
            queries={"{{worker}}": newest("chronos_worker_straggling", "worker")},
        ),
        Panel(
            title="Share of the inner loop",
            about="What a worker is given next; below 1 only under pacing predicted.",
            unit="short",
            queries={"{{worker}}": newest("chronos_worker_work_share", "worker")},
        ),
    ],
)
