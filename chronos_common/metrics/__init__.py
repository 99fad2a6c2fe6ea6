"""Every Prometheus series, declared once.

``series`` holds the declarations in one table for each service; ``coordinator`` and ``worker`` put them into
a registry of the caller's, behind methods that say what happened, so that nobody else knows Prometheus;
``serving`` shows a registry over HTTP. ``docs/metrics.md`` is generated from the tables. To add a series: a
constant and its row in ``series``, and a method of the service's class.

Labels stay bounded: ``run`` and ``worker`` disappear with the run that they belong to (what arrives later is
counted under the empty run), all others come from closed sets.
"""

from chronos_common.metrics.coordinator import CoordinatorMetrics
from chronos_common.metrics.declaration import Series
from chronos_common.metrics.series import (
    COORDINATOR_SERIES,
    PROCESS_SERIES,
    WORKER_SERIES,
    metrics_table,
)
from chronos_common.metrics.serving import MetricsConfig, MetricsServer, serve_metrics, show_process
from chronos_common.metrics.worker import WorkerMetrics

__all__ = [
    "COORDINATOR_SERIES",
    "PROCESS_SERIES",
    "WORKER_SERIES",
    "CoordinatorMetrics",
    "MetricsConfig",
    "MetricsServer",
    "Series",
    "WorkerMetrics",
    "metrics_table",
    "serve_metrics",
    "show_process",
]
