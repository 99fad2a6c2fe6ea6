"""The series of data plans."""

from __future__ import annotations

from typing import Final

from chronos_common.metrics.declaration import FAST_BUCKETS, Series

_PLAN: Final = ("plan",)
_PLAN_WORKER: Final = ("plan", "worker")

DATA_IMBALANCE = Series(
    name="chronos_data_imbalance_ratio",
    kind="gauge",
    help="Compute seconds of the slowest member of a data plan over the mean of all, an average over the newest turns; "
    "1 is perfect, NaN before the first reports.",
    labels=_PLAN,
)
DATA_SHARES = Series(
    name="chronos_data_shares_total",
    kind="counter",
    help="Shares by outcome: delivered (of a step, for the first time), redelivered (of samples that a member who was "
    "gone had not finished).",
    labels=("plan", "outcome"),
)
DATA_RETURNED = Series(
    name="chronos_data_returned_samples_total",
    kind="counter",
    help="Samples that a member who was gone had not finished, and that were dealt again.",
    labels=_PLAN,
)
DATA_PLANNING = Series(
    name="chronos_data_planning_seconds",
    kind="histogram",
    help="Time that the planning of one turn took.",
    labels=_PLAN,
    buckets=FAST_BUCKETS,
)
DATA_FINISHED = Series(
    name="chronos_data_finished_samples", kind="gauge", help="Samples finished in this epoch.", labels=_PLAN
)
DATA_EPOCH = Series(
    name="chronos_data_epoch", kind="gauge", help="Epoch of a data plan, from 0.", labels=_PLAN
)
DATA_MEMBERS = Series(name="chronos_data_members", kind="gauge", help="Members of a data plan.", labels=_PLAN)
DATA_BETA = Series(
    name="chronos_data_worker_cost_seconds",
    kind="gauge",
    help="Estimated seconds that a member needs for one unit of cost: the smaller, the faster.",
    labels=_PLAN_WORKER,
)
DATA_ALPHA = Series(
    name="chronos_data_worker_fixed_seconds",
    kind="gauge",
    help="Estimated seconds that a member needs for a share whatever it costs.",
    labels=_PLAN_WORKER,
)

DATA_SERIES: Final = (
    DATA_IMBALANCE,
    DATA_SHARES,
    DATA_RETURNED,
    DATA_PLANNING,
    DATA_FINISHED,
    DATA_EPOCH,
    DATA_MEMBERS,
    DATA_BETA,
    DATA_ALPHA,
)
