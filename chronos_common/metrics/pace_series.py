"""The declaration of the series of predicted and actual times."""

from __future__ import annotations

from typing import Final

from chronos_common.metrics.declaration import SLOW_BUCKETS, Series

_RUN_WORKER: Final = ("run", "worker")

PREDICTED_SECONDS = Series(
    name="chronos_worker_predicted_seconds",
    kind="gauge",
    help="Median that was predicted for a worker's last piece of work, from checkout to commit; absent while nothing "
    "was known.",
    labels=_RUN_WORKER,
)
ACTUAL_SECONDS = Series(
    name="chronos_worker_actual_seconds",
    kind="gauge",
    help="How long a worker's last piece of work took, from checkout to commit.",
    labels=_RUN_WORKER,
)
PREDICTION_ERROR = Series(
    name="chronos_prediction_error_seconds",
    kind="histogram",
    help="How far predicted medians were from the actual seconds of pieces of work, either way.",
    labels=("run",),
    buckets=SLOW_BUCKETS,
)
STRAGGLING = Series(
    name="chronos_worker_straggling",
    kind="gauge",
    help="1 while a worker's last pieces of work took longer than its own band (two in a row above the predicted p95).",
    labels=_RUN_WORKER,
)
WORK_SHARE = Series(
    name="chronos_worker_work_share",
    kind="gauge",
    help="How much of the inner loop a worker would be given next, in (0, 1]; below 1 only under pacing predicted.",
    labels=_RUN_WORKER,
)

PACE_SERIES: Final = (PREDICTED_SECONDS, ACTUAL_SECONDS, PREDICTION_ERROR, STRAGGLING, WORK_SHARE)
