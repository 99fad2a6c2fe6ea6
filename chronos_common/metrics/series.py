"""The declaration of every series; to add one, a constant and its row in a table here, and a method beside."""

from __future__ import annotations

from typing import Final

from chronos_common.metrics.clan_series import CLAN_SERIES
from chronos_common.metrics.data_series import DATA_SERIES
from chronos_common.metrics.declaration import FAST_BUCKETS, SLOW_BUCKETS, Series
from chronos_common.metrics.pace_series import PACE_SERIES

# --- the coordinator's -----------------------------------------------------------------------------------

_RUN: Final = ("run",)
_RUN_WORKER: Final = ("run", "worker")

VERSIONS = Series(name="chronos_versions_total", kind="counter", help="Versions published.", labels=_RUN)
VERSION = Series(name="chronos_version", kind="gauge", help="Newest published version.", labels=_RUN)
RUN_ACTIVE = Series(
    name="chronos_run_active",
    kind="gauge",
    help="1 while the run is being optimised, 0 once it has finished or was stopped.",
    labels=_RUN,
)
LAST_VERSION = Series(
    name="chronos_last_version_timestamp_seconds",
    kind="gauge",
    help="When the newest version was published, in unix seconds; before the first one, when this coordinator began to "
    "serve the run.",
    labels=_RUN,
)
COMMITS = Series(
    name="chronos_commits_total",
    kind="counter",
    help="Commits by outcome: accepted (with an update), skipped (accepted without one; a run's own count of "
    "accepted commits contains them), duplicate, refused, late (after the run's end).",
    labels=("run", "outcome"),
)
REFUSALS = Series(
    name="chronos_refusals_total",
    kind="counter",
    help="Refused commits by reason, the late ones (RUN_NOT_ACTIVE) among them.",
    labels=("run", "reason"),
)
RESIDUALS_LOST = Series(
    name="chronos_residuals_lost_total",
    kind="counter",
    help="Commits that declared what their worker had owed before as lost: it came back without a state directory, or "
    "its file was damaged. So often produced is more than the ledger's other terms.",
    labels=_RUN,
)
STALENESS = Series(
    name="chronos_commit_staleness_versions",
    kind="histogram",
    help="Staleness of accepted commits, in versions.",
    labels=_RUN,
    buckets=(0, 1, 2, 3, 4, 6, 8, 16),
)
MAX_STALENESS = Series(
    name="chronos_max_staleness_versions",
    kind="gauge",
    help="The run's bound: commits that are further behind are refused.",
    labels=_RUN,
)
IN_FLIGHT = Series(
    name="chronos_checkouts_in_flight", kind="gauge", help="Leases that have not expired.", labels=_RUN
)
LEASE = Series(
    name="chronos_lease_seconds",
    kind="gauge",
    help="How long a lease given now would last: the longest that a version waits for a silent worker.",
    labels=_RUN,
)
WAITING = Series(
    name="chronos_checkouts_waiting", kind="gauge", help="Checkouts that wait for a version.", labels=_RUN
)
LIVE_WORKERS = Series(name="chronos_live_workers", kind="gauge", help="Workers that count as alive.")
WORKERS_LOST = Series(
    name="chronos_workers_lost_total",
    kind="counter",
    help="Workers that fell silent and were expelled; those that said goodbye are none.",
)
EFFECTIVE_WEIGHT = Series(
    name="chronos_worker_effective_weight_total",
    kind="counter",
    help="What a worker's commits have counted for in the run's versions, from its first one on: staleness weight "
    "times its share of the work, added when a version is published; its influence on the run.",
    labels=_RUN_WORKER,
)
RECEIVED = Series(
    name="chronos_received_bytes_total",
    kind="counter",
    help="Bytes of the messages of checkouts and commits to the coordinator, gRPC's prefix of each included.",
    labels=_RUN,
)
SENT = Series(
    name="chronos_sent_bytes_total",
    kind="counter",
    help="Bytes of the messages of checkouts and commits from the coordinator, likewise.",
    labels=_RUN,
)
DENSE = Series(
    name="chronos_dense_equivalent_bytes_total",
    kind="counter",
    help="What the same calls would have moved, both ways, with every tensor dense and nothing left out.",
    labels=_RUN,
)
STORE_WRITE = Series(
    name="chronos_store_write_seconds",
    kind="histogram",
    help="From a write's submission until it was durable, by operation; commit is one transaction.",
    labels=("operation",),
    buckets=FAST_BUCKETS,
)
STORE_FREE = Series(
    name="chronos_store_free_bytes",
    kind="gauge",
    help="Room left for this process on the file system of the store; NaN where it cannot be told.",
)
STORE_CAPACITY = Series(
    name="chronos_store_capacity_bytes",
    kind="gauge",
    help="Size of the file system of the store, likewise.",
)
SNAPSHOTS = Series(
    name="chronos_snapshots_total",
    kind="counter",
    help="Snapshots of a run's state by outcome: kept, failed.",
    labels=("run", "outcome"),
)
RPC = Series(
    name="chronos_rpc_seconds",
    kind="histogram",
    help="Duration of calls, a checkout's wait included, by method and status code.",
    labels=("method", "code"),
    buckets=SLOW_BUCKETS,
)
WANTED_WORKERS = Series(
    name="chronos_wanted_workers",
    kind="gauge",
    help="Workers that the active runs ask for, whether they have them or not: the sum of their quorums, a run without "
    "one asking for 1. Where there are fewer live workers, work is waiting.",
)
REPORTED_TIME = Series(
    name="chronos_reported_worker_seconds_total",
    kind="counter",
    help="Where workers' time went, as their commits say: compute, wait, communication.",
    labels=("run", "worker", "activity"),
)
LEDGER = Series(
    name="chronos_ledger_mass",
    kind="gauge",
    help="Sums of all values of a run's accepted updates: produced = applied (in a version) + open (in the round that "
    "is collected) + discounted + discarded; gross is the sum of their magnitudes.",
    labels=("run", "term"),
)
RESIDUAL = Series(
    name="chronos_residual_norm",
    kind="gauge",
    help="Euclidean norm of x - p: what published versions still owe to their workers.",
    labels=_RUN,
)
LAG = Series(
    name="chronos_downlink_lag_ratio",
    kind="gauge",
    help="‖x - p‖ / ‖step‖ at the newest version; above its limit the density guard acts.",
    labels=_RUN,
)
LAG_LIMIT = Series(
    name="chronos_downlink_lag_limit",
    kind="gauge",
    help="The ratio above which the density guard acts; runs without compression have none.",
    labels=_RUN,
)
DENSITY = Series(
    name="chronos_downlink_density",
    kind="gauge",
    help="Share of the values that the next version sends, in (0, 1]; the guard raises it.",
    labels=_RUN,
)
RATE_SCALE = Series(
    name="chronos_outer_rate_scale",
    kind="gauge",
    help="What the next outer step is multiplied by, in (0, 1]; the guard lowers it.",
    labels=_RUN,
)
OUTER_LOSS = Series(
    name="chronos_outer_loss",
    kind="gauge",
    help="Outer loss, averaged over the commits of the newest version.",
    labels=_RUN,
)

MEMORY_ENTRIES = Series(
    name="chronos_memory_entries", kind="gauge", help="Entries in the run's memory.", labels=("run",)
)
MEMORY_BYTES = Series(
    name="chronos_memory_bytes",
    kind="gauge",
    help="What the run's memory costs, sketches and failed places included.",
    labels=("run",),
)
MEMORY_COSINE = Series(
    name="chronos_memory_cosine",
    kind="gauge",
    help="Mean cosine of the hypergradients that the memory predicted and those that were then measured; NaN before "
    "the first.",
    labels=("run",),
)
MEMORY_EVENTS = Series(
    name="chronos_memory_events",
    kind="gauge",
    help="What has happened to the run's memory since the run's beginning: entries stored and evicted, hits (an entry "
    "was among the nearest of one that was stored), predictions, failures reported, steps shortened before a failed "
    "place, steps that entered one.",
    labels=("run", "event"),
)

COORDINATOR_SERIES: Final = (
    VERSIONS,
    VERSION,
    RUN_ACTIVE,
    LAST_VERSION,
    COMMITS,
    REFUSALS,
    RESIDUALS_LOST,
    STALENESS,
    MAX_STALENESS,
    IN_FLIGHT,
    LEASE,
    WAITING,
    LIVE_WORKERS,
    WORKERS_LOST,
    EFFECTIVE_WEIGHT,
    RECEIVED,
    SENT,
    DENSE,
    STORE_WRITE,
    STORE_FREE,
    STORE_CAPACITY,
    SNAPSHOTS,
    RPC,
    WANTED_WORKERS,
    REPORTED_TIME,
    LEDGER,
    RESIDUAL,
    LAG,
    LAG_LIMIT,
    DENSITY,
    RATE_SCALE,
    MEMORY_ENTRIES,
    MEMORY_BYTES,
    MEMORY_COSINE,
    MEMORY_EVENTS,
    OUTER_LOSS,
    *DATA_SERIES,
    *CLAN_SERIES,
    *PACE_SERIES,
)

# --- the worker's ----------------------------------------------------------------------------------------

WORKER_TIME = Series(
    name="chronos_worker_seconds_total",
    kind="counter",
    help="Where the time went: compute, wait (for a version), communication.",
    labels=("activity",),
)
WORKER_COMMITS = Series(
    name="chronos_worker_commits_total",
    kind="counter",
    help="Commits by outcome: accepted, skipped, duplicate, refused.",
    labels=("outcome",),
)
WORKER_RETRIES = Series(
    name="chronos_worker_retries_total",
    kind="counter",
    help="Calls that were sent again, by the reason of the failure.",
    labels=("reason",),
)
WORKER_DIVERGED = Series(
    name="chronos_worker_diverged_total", kind="counter", help="Inner problems that did not stay finite."
)
WORKER_CUT = Series(
    name="chronos_worker_cut_short_total", kind="counter", help="Updates with less than the assigned work."
)
WORKER_UPDATE = Series(
    name="chronos_worker_update_seconds",
    kind="histogram",
    help="Duration of one update: inner loop and hypergradient.",
    buckets=SLOW_BUCKETS,
)
WORKER_RECEIVED = Series(
    name="chronos_worker_received_bytes_total",
    kind="counter",
    help="Bytes of the messages that answered checkouts and commits, gRPC's prefix of each included; of calls that "
    "failed, only the coordinator counts what came.",
)
WORKER_SENT = Series(
    name="chronos_worker_sent_bytes_total",
    kind="counter",
    help="Bytes of the messages that asked for checkouts and made commits, likewise.",
)
WORKER_VERSION = Series(name="chronos_worker_version", kind="gauge", help="Version being worked on.")
WORKER_RESIDUAL = Series(
    name="chronos_worker_residual_norm",
    kind="gauge",
    help="Euclidean norm of what was refused, left out or held back, and goes with the next update.",
)
WORKER_LEDGER = Series(
    name="chronos_worker_ledger_mass",
    kind="gauge",
    help="Sums of all values of updates: produced = applied (by the coordinator) + residual + pending + discounted "
    "+ discarded + lost; gross is the sum of their magnitudes. Since the worker's start, and with a state directory "
    "since the first process of that worker in the run that it works on.",
    labels=("term",),
)
WORKER_STATE_WRITE = Series(
    name="chronos_worker_state_write_seconds",
    kind="histogram",
    help="Writing to the state directory, before a commit leaves.",
    buckets=FAST_BUCKETS,
)
WORKER_STATE_FAILURES = Series(
    name="chronos_worker_state_failures_total",
    kind="counter",
    help="Times that a run's state could not be written (write), or was set aside because it could not be used (read).",
    labels=("operation",),
)

WORKER_SERIES: Final = (
    WORKER_TIME,
    WORKER_COMMITS,
    WORKER_RETRIES,
    WORKER_DIVERGED,
    WORKER_CUT,
    WORKER_UPDATE,
    WORKER_RECEIVED,
    WORKER_SENT,
    WORKER_VERSION,
    WORKER_RESIDUAL,
    WORKER_LEDGER,
    WORKER_STATE_WRITE,
    WORKER_STATE_FAILURES,
)

# --- of every process, by the Prometheus client ------------------------------------------------------------

PROCESS_SERIES: Final = (
    Series(
        name="process_cpu_seconds_total",
        kind="counter",
        help="Total user and system CPU time spent in seconds.",
    ),
    Series(name="process_resident_memory_bytes", kind="gauge", help="Resident memory size in bytes."),
    Series(name="process_virtual_memory_bytes", kind="gauge", help="Virtual memory size in bytes."),
    Series(
        name="process_start_time_seconds",
        kind="gauge",
        help="Start time of the process since unix epoch in seconds.",
    ),
    Series(name="process_open_fds", kind="gauge", help="Number of open file descriptors."),
    Series(name="process_max_fds", kind="gauge", help="Maximum number of open file descriptors."),
)

SERIES_BY_SERVICE: Final = {
    "chronos-coordinator": COORDINATOR_SERIES,
    "chronos-worker": WORKER_SERIES,
    "Every process, on Linux": PROCESS_SERIES,
}


def metrics_table() -> str:
    """All series as a Markdown document."""
    lines = [
        "# Metrics",
        "",
        "Generated by `python -m chronos_common.metrics > docs/metrics.md`. Counters and histograms come",
        "with a `_created` series each (the time of their first value), as the Prometheus client makes them.",
        "",
    ]
    for service, table in SERIES_BY_SERVICE.items():
        lines += [f"## {service}", "", "| series | type | labels | meaning |", "|---|---|---|---|"]
        for series in table:
            labels = ", ".join(f"`{label}`" for label in series.labels)
            lines.append(f"| `{series.name}` | {series.kind} | {labels} | {series.help} |")
        lines.append("")
    return "\n".join(lines)
