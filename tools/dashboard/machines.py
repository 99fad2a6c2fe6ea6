"""The rows about who does the work: workers, the coordinator's store and calls, processes."""

from __future__ import annotations

from typing import Final

from tools.dashboard.panels import Panel, Row
from tools.dashboard.promql import RATE, RUN, per_second, quantile, total

_OURS: Final = "and on (job, instance) (chronos_live_workers or chronos_worker_version)"
"""Keeps the processes that are a coordinator or a worker, whatever their jobs are called."""

WORKERS: Final = Row(
    title="Workers",
    panels=[
        Panel(
            title="Alive, and lost",
            about="Workers whose heartbeats arrive, and those that fell silent, since the coordinator's start.",
            unit="short",
            queries={
                "alive": "sum(chronos_live_workers)",
                "lost": "sum(chronos_workers_lost_total)",
            },
        ),
        Panel(
            title="Where workers' time goes",
            about="Share of compute, wait (for a version) and communication, as commits report them.",
            unit="percentunit",
            queries={"{{run}} {{activity}}": f"run_activity:chronos_worker_time:share5m{{{RUN}}}"},
            stacked=True,
            maximum=1.0,
        ),
        Panel(
            title="Busy with computing",
            about="Seconds of inner loops and hypergradients in each second, by worker.",
            unit="percentunit",
            queries={
                "{{run}} {{worker}}": per_second(
                    "chronos_reported_worker_seconds_total", "run, worker", ', activity="compute"'
                )
            },
        ),
        Panel(
            title="Duration of an update",
            about="Inner loop and hypergradient: the median and the slowest twentieth, by worker process.",
            unit="s",
            queries={
                "{{instance}} p50": quantile(0.5, "chronos_worker_update_seconds", "instance"),
                "{{instance}} p95": quantile(0.95, "chronos_worker_update_seconds", "instance"),
            },
        ),
        Panel(
            title="Version being worked on",
            about="By worker process; those far below the others are slow, or hang.",
            unit="short",
            queries={"{{instance}}": "max by (instance) (chronos_worker_version)"},
        ),
        Panel(
            title="Residual of the workers",
            about="Norm of what was refused, left out by compression or held back, and goes with the next update.",
            unit="short",
            queries={"{{instance}}": "max by (instance) (chronos_worker_residual_norm)"},
        ),
        Panel(
            title="Retries per second",
            about="Calls that were sent again, by the reason of the failure; none while the coordinator is up.",
            unit="ops",
            queries={"{{instance}} {{reason}}": total("chronos_worker_retries_total", "instance, reason")},
        ),
        Panel(
            title="Trouble per second",
            about="Inner problems that did not stay finite, updates with less than the assigned work, and times that "
            "the state directory could not be read or written.",
            unit="ops",
            queries={
                "{{instance}} diverged": total("chronos_worker_diverged_total", "instance"),
                "{{instance}} cut short": total("chronos_worker_cut_short_total", "instance"),
                "{{instance}} state {{operation}}": total(
                    "chronos_worker_state_failures_total", "instance, operation"
                ),
            },
        ),
        Panel(
            title="Writing to the state directory",
            about="What is owed is written before a commit leaves: the slowest hundredth, by worker process.",
            unit="s",
            queries={"{{instance}} p99": quantile(0.99, "chronos_worker_state_write_seconds", "instance")},
        ),
    ],
)

STORE: Final = Row(
    title="Store and calls",
    panels=[
        Panel(
            title="Durable writes",
            about="From submission until durable: the median and the slowest hundredth, by operation. Every commit "
            "waits for a transaction (commit); above half a second for 10 minutes, ChronosSlowWrites fires.",
            unit="s",
            queries={
                "{{operation}} p50": quantile(0.5, "chronos_store_write_seconds", "operation"),
                "{{operation}} p99": quantile(0.99, "chronos_store_write_seconds", "operation"),
            },
            log=True,
        ),
        Panel(
            title="Writes per second",
            about="By operation. Fewer transactions (commit) than entries (append) mean that writes share their "
            "fsync.",
            unit="ops",
            queries={"{{operation}}": total("chronos_store_write_seconds_count", "operation")},
        ),
        Panel(
            title="Room of the store",
            about="Free share of its file system. Below 15 %, ChronosStoreLow fires, below 5 % ChronosStoreFull.",
            unit="percentunit",
            queries={"{{instance}}": "instance:chronos_store_free:ratio"},
            maximum=1.0,
        ),
        Panel(
            title="Checkouts",
            about="Leases that have not expired, and checkouts that wait for a version.",
            unit="short",
            queries={
                "{{run}} in flight": f"sum by (run) (chronos_checkouts_in_flight{{{RUN}}})",
                "{{run}} waiting": f"sum by (run) (chronos_checkouts_waiting{{{RUN}}})",
            },
        ),
        Panel(
            title="Duration of calls",
            about="The slowest twentieth, by method; a checkout's includes its wait for a version.",
            unit="s",
            queries={"{{method}} p95": quantile(0.95, "chronos_rpc_seconds", "method")},
            log=True,
        ),
        Panel(
            title="Calls per second",
            about="By status code. DEADLINE_EXCEEDED is a wait that expired, which workers expect.",
            unit="ops",
            queries={"{{code}}": total("chronos_rpc_seconds_count", "code")},
            stacked=True,
        ),
        Panel(
            title="Snapshots",
            about="Snapshots of a run's state in the window; one that failed makes the next restart slower.",
            unit="short",
            queries={
                "{{run}} {{outcome}}": f"sum by (run, outcome) (increase(chronos_snapshots_total{{{RUN}}}{RATE}))"
            },
        ),
    ],
)

PROCESSES: Final = Row(
    title="Processes",
    panels=[
        Panel(
            title="Memory",
            about="Resident memory, by process. The coordinator's should not grow with the length of a run.",
            unit="bytes",
            queries={"{{job}} {{instance}}": f"process_resident_memory_bytes {_OURS}"},
        ),
        Panel(
            title="CPU",
            about="Cores in use, by process.",
            unit="short",
            queries={
                "{{job}} {{instance}}": f"rate(process_cpu_seconds_total{RATE}) {_OURS}",
            },
        ),
        Panel(
            title="Open files",
            about="Share of the file descriptors that a process may have, sockets included.",
            unit="percentunit",
            queries={"{{job}} {{instance}}": f"process_open_fds / process_max_fds {_OURS}"},
        ),
    ],
)

MACHINE_ROWS: Final = (WORKERS, STORE, PROCESSES)
