"""The rows about runs: progress, traffic, staleness, the ledger, the memory."""

from __future__ import annotations

from typing import Final

from tools.dashboard.panels import Panel, Row
from tools.dashboard.promql import RATE, RUN, newest, per_second

OVERVIEW: Final = Row(
    title="",
    panels=[
        Panel(
            title="Traffic saved",
            about="Share of the bytes, both ways and framing included, that did not have to move, against the same "
            "calls with dense tensors; over 5 minutes. Compression of commits alone could save at most half.",
            unit="percentunit",
            queries={"{{run}}": f"run:chronos_traffic_saved:ratio5m{{{RUN}}}"},
            kind="stat",
            width=5,
            height=5,
        ),
        Panel(
            title="Versions per second",
            about="Steps of the outer optimiser, over 5 minutes.",
            unit="ops",
            queries={"{{run}}": f"run:chronos_versions:rate5m{{{RUN}}}"},
            kind="stat",
            width=4,
            height=5,
        ),
        Panel(
            title="Newest version",
            about="How many steps the outer optimiser has made.",
            unit="short",
            queries={"{{run}}": newest("chronos_version")},
            kind="stat",
            width=4,
            height=5,
        ),
        Panel(
            title="Commits refused",
            about="Share of the decided commits that were refused, over 5 minutes; repeated and late ones do not "
            "count.",
            unit="percentunit",
            queries={"{{run}}": f"run:chronos_refused:ratio5m{{{RUN}}}"},
            kind="stat",
            width=4,
            height=5,
            limits={0.02: "orange", 0.1: "red"},
        ),
        Panel(
            title="Workers alive",
            about="Workers whose heartbeats arrive, of all runs.",
            unit="short",
            queries={"workers": "sum(chronos_live_workers)"},
            kind="stat",
            width=3,
            height=5,
        ),
        Panel(
            title="Alerts",
            about="Alerts of Chronos that are firing; each has a section in docs/observability.md.",
            unit="short",
            queries={
                "firing": 'count(ALERTS{alertname=~"Chronos.*", alertstate="firing"}) or vector(0)',
            },
            kind="stat",
            width=4,
            height=5,
            limits={1: "red"},
        ),
    ],
)

PROGRESS: Final = Row(
    title="Progress",
    panels=[
        Panel(
            title="Outer loss",
            about="Validation loss, the mean over the commits of each version, where the problem reports one.",
            unit="short",
            queries={"{{run}}": newest("chronos_outer_loss")},
            width=12,
        ),
        Panel(
            title="Versions per second",
            about="Published versions: steps of the outer optimiser.",
            unit="ops",
            queries={"{{run}}": per_second("chronos_versions_total", "run")},
            width=12,
        ),
        Panel(
            title="Commits per second",
            about="By what became of them. Many commits on few versions mean that workers repeat a base.",
            unit="ops",
            queries={"{{run}} {{outcome}}": per_second("chronos_commits_total", "run, outcome")},
            width=12,
            stacked=True,
        ),
        Panel(
            title="Age of the newest version",
            about="Of active runs, beside three leases: beyond that, and a minute, ChronosNoProgress fires.",
            unit="s",
            queries={
                "{{run}}": f"run:chronos_since_last_version:seconds{{{RUN}}}",
                "{{run}} three leases": f"3 * {newest('chronos_lease_seconds')}",
            },
            width=12,
        ),
    ],
)

TRAFFIC: Final = Row(
    title="Traffic",
    panels=[
        Panel(
            title="Traffic saved",
            about="As above, over time: 1 − bytes moved / bytes that dense tensors would have taken, both ways.",
            unit="percentunit",
            queries={
                "{{run}}": f"1 - ({per_second('chronos_received_bytes_total', 'run')} + "
                f"{per_second('chronos_sent_bytes_total', 'run')}) / "
                f"{per_second('chronos_dense_equivalent_bytes_total', 'run')}"
            },
            width=12,
        ),
        Panel(
            title="Bytes per second",
            about="Messages of checkouts and commits at the coordinator, and what they would have been if dense.",
            unit="Bps",
            queries={
                "{{run}} from workers": per_second("chronos_received_bytes_total", "run"),
                "{{run}} to workers": per_second("chronos_sent_bytes_total", "run"),
                "{{run}} dense, both ways": per_second("chronos_dense_equivalent_bytes_total", "run"),
            },
            width=12,
            log=True,
        ),
    ],
)

STALENESS: Final = Row(
    title="Staleness and influence",
    panels=[
        Panel(
            title="Staleness of accepted commits",
            about="How many versions had been published since a commit's base, by number of commits. A band that "
            "climbs towards the bound announces refusals.",
            unit="short",
            queries={
                "{{le}}": f"sum by (le) (increase(chronos_commit_staleness_versions_bucket{{{RUN}}}{RATE}))"
            },
            kind="heatmap",
            width=9,
        ),
        Panel(
            title="Mean staleness and bound",
            about="In versions. Above 80 % of the bound for 10 minutes, ChronosStalenessNearBound fires.",
            unit="short",
            queries={
                "{{run}} mean": f"run:chronos_commit_staleness_versions:mean5m{{{RUN}}}",
                "{{run}} bound": newest("chronos_max_staleness_versions"),
            },
            width=7,
        ),
        Panel(
            title="Influence of each worker",
            about="Its share of the effective weight in new versions: staleness weight times share of the work. Decay"
            " and refusal favour the fast; a worker that vanishes here does not count.",
            unit="percentunit",
            queries={
                "{{run}} {{worker}}": f"{per_second('chronos_worker_effective_weight_total', 'run, worker')} "
                f"/ on (run) group_left () {per_second('chronos_worker_effective_weight_total', 'run')}"
            },
            stacked=True,
        ),
    ],
)

LEDGER: Final = Row(
    title="Refusals and ledger",
    panels=[
        Panel(
            title="Refusals per second",
            about="By reason; docs/protocol.md lists them. RUN_NOT_ACTIVE came after the end of the run. Beside them,"
            " commits that declared what their worker had owed as lost.",
            unit="ops",
            queries={
                "{{run}} {{reason}}": per_second("chronos_refusals_total", "run, reason"),
                "{{run}} residual lost": per_second("chronos_residuals_lost_total", "run"),
            },
        ),
        Panel(
            title="What became of what was produced",
            about="Sums of all values of accepted updates, by term, divided by the sum of their magnitudes: signs "
            "cancel, so that it is the balance that counts, not the height.",
            unit="percentunit",
            queries={
                "{{run}} {{term}}": f'sum by (run, term) (chronos_ledger_mass{{{RUN}, term!="gross"}}) '
                f'/ on (run) group_left () sum by (run) (chronos_ledger_mass{{{RUN}, term="gross"}} > 0)'
            },
        ),
        Panel(
            title="Imbalance of the ledger",
            about="produced − (applied + open + discounted + discarded), as a share of all magnitudes: zero up to "
            "rounding. Anything else is a defect.",
            unit="percentunit",
            queries={"{{run}}": f"run:chronos_ledger_imbalance:ratio{{{RUN}}}"},
        ),
        Panel(
            title="Residual of the coordinator",
            about="‖x − p‖: what published versions still owe to their workers.",
            unit="short",
            queries={"{{run}}": newest("chronos_residual_norm")},
        ),
        Panel(
            title="Lag and its limit",
            about="‖x − p‖ / ‖step‖. Above the limit the density guard sends more, then lowers the outer rate.",
            unit="short",
            queries={
                "{{run}} lag": newest("chronos_downlink_lag_ratio"),
                "{{run}} limit": newest("chronos_downlink_lag_limit"),
            },
        ),
        Panel(
            title="What the guard has decided",
            about="Share of the values that a version sends, and what its outer step is multiplied by.",
            unit="percentunit",
            queries={
                "{{run}} density": newest("chronos_downlink_density"),
                "{{run}} rate": newest("chronos_outer_rate_scale"),
            },
            maximum=1.0,
        ),
    ],
)

MEMORY: Final = Row(
    title="Memory",
    panels=[
        Panel(
            title="Cosine of predicted hypergradients",
            about="Mean cosine of what the memory predicted and what was then measured, since the run's beginning; "
            "nothing before the first. Near 1, the memory knows where the optimisation is.",
            unit="short",
            queries={"{{run}}": newest("chronos_memory_cosine")},
            width=6,
        ),
        Panel(
            title="What has happened to the memory",
            about="Since the run's beginning. Entries that are evicted as fast as they are stored ask for a larger "
            "budget; steps that are shortened end short of a place that failed.",
            unit="short",
            queries={"{{run}} {{event}}": newest("chronos_memory_events", "run, event")},
            width=6,
        ),
        Panel(
            title="Entries in the memory",
            about="Of runs that remember; the definition's max_entries and max_bytes bound them.",
            unit="short",
            queries={"{{run}}": newest("chronos_memory_entries")},
            width=6,
        ),
        Panel(
            title="Bytes of the memory",
            about="Of the entries, their sketches and the places that failed.",
            unit="bytes",
            queries={"{{run}}": newest("chronos_memory_bytes")},
            width=6,
        ),
    ],
)

RUN_ROWS: Final = (OVERVIEW, PROGRESS, TRAFFIC, STALENESS, LEDGER, MEMORY)
