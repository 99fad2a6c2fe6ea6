"""Uneven workers: how much traffic and time does Chronos save against a synchronous barrier, and at what accuracy?

Four worker processes, one of them four times slower, and a coordinator, on two problems: hyper-cleaning of digits (800
outer parameters) and of a larger set (100,000). So that the cores of this machine do not decide who wins, every inner
step is padded by a timer to a fixed duration, above twice its CPU time, in all arms; "cpu" is the share that it takes
of it. Arms: a barrier with dense float32; Chronos with dense float32; Chronos with its default compression; and the
published rule, one version per commit, three in flight, refused beyond two behind. Paired seeds; the settings were
chosen on seeds from 100 on. Bytes are those of all messages between workers and coordinator, framing included, against
the same messages with dense tensors. Time is from the run's creation to the first version whose outer loss is at most
that of the barrier's last one; a run that does not get there has saved nothing.

    python -m benchmarks.headline [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks._harness import Options, Report, run
from benchmarks.uneven.arms import ARMS, BARRIER, CHRONOS, IDENTITY, PUBLISHED
from benchmarks.uneven.cases import CASES, Case
from benchmarks.uneven.pace import WORKERS
from benchmarks.uneven.runs import Trial
from benchmarks.uneven.trial import serve
from chronos_common.cli.cluster import ClusterConfig, LocalCluster

SEEDS = range(20)
SAVED_BYTES = {"digits": 0.60, "mixture": 0.85}
STUDENT_95 = {3: 4.303, 20: 2.093}
"""Two-sided 95 % quantiles of Student's t, by the number of seeds."""


def measure(options: Options) -> Report:
    """Every case, seed and arm on one cluster."""
    torch.set_num_threads(1)
    seeds = SEEDS[:3] if options.quick else SEEDS
    report = Report(benchmark="headline", seeds=list(seeds))
    jobs = [(case, seed) for case in CASES for seed in seeds]
    with tempfile.TemporaryDirectory() as folder:
        config = ClusterConfig(
            store=Path(folder) / "data",
            logs=Path(folder) / "logs",
            workers=WORKERS,
            problems=("benchmarks.uneven.*",),
            paths=(Path(__file__).parent.parent,),
        )
        with LocalCluster(config) as cluster:
            cluster.wait_for_workers()
            for case in CASES:
                serve(cluster, case, ARMS[BARRIER], seed=10_000, versions=2)  # imports are nobody's time
            for case, seed in options.progress.track(jobs, description="headline"):
                report.rows += compare(cluster, case, seed)
    for case in CASES:
        report.summary += [summary_of(report.rows, case.name, arm) for arm in ARMS]
        require(report, case.name, len(seeds))
    return report


def compare(cluster: LocalCluster, case: Case, seed: int) -> list[dict[str, Any]]:
    """One row for each arm, the barrier's first."""
    rows: list[dict[str, Any]] = []
    target, barrier_seconds = 0.0, 0.0
    for name, arm in ARMS.items():
        trial = serve(cluster, case, arm, seed, round(arm.versions_factor * case.versions))
        if name == BARRIER:
            target = case.losses(seed, trial.values[-1:])[0]
            reached: float | None = trial.seconds[-1]
            barrier_seconds = trial.seconds[-1]
        else:
            reached = case.seconds_to(seed, trial, target)
        row = row_of(case, seed, name, trial)
        row["accuracy"] = case.accuracy(seed, trial.values[-1])
        row["seconds_to_target"] = reached
        row["time_saved"] = 0.0 if reached is None else 1.0 - reached / barrier_seconds
        rows.append(row)
    return rows


def row_of(case: Case, seed: int, arm: str, trial: Trial) -> dict[str, Any]:
    """What a run counted."""
    view, seconds = trial.view, trial.seconds[-1]
    return {
        "case": case.name,
        "seed": seed,
        "arm": arm,
        "bytes": view.bytes_sent + view.bytes_received,
        "dense_bytes": view.bytes_dense,
        "versions": view.version,
        "versions_per_second": view.version / seconds,
        "commits_per_second": view.accepted / seconds,
        "commits": view.accepted,
        "pairs": trial.pairs,
        "refused": view.refused,
        "cpu": trial.cpu_share,
    }


def of(rows: Sequence[dict[str, Any]], case: str, arm: str) -> list[dict[str, Any]]:
    """The rows of one arm, by seed."""
    return [row for row in rows if (row["case"], row["arm"]) == (case, arm)]


def bytes_saved(rows: Sequence[dict[str, Any]], case: str, arm: str) -> float:
    """Share of all runs' bytes."""
    found = of(rows, case, arm)
    return float(1.0 - sum(row["bytes"] for row in found) / sum(row["dense_bytes"] for row in found))


def summary_of(rows: Sequence[dict[str, Any]], case: str, arm: str) -> dict[str, Any]:
    """Medians over the seeds, totals of what is refused, the mean accuracy (%)."""
    found = of(rows, case, arm)

    def median(name: str) -> float:
        return float(statistics.median(row[name] for row in found))

    return {
        "case": case,
        "arm": arm,
        "bytes saved %": round(100.0 * bytes_saved(rows, case, arm), 1),
        "kB": round(median("bytes") / 1000.0),
        "time saved %": round(100.0 * median("time_saved"), 1),
        "reached": f"{sum(row['seconds_to_target'] is not None for row in found)}/{len(found)}",
        "versions/s": round(median("versions_per_second"), 1),
        "commits/s": round(median("commits_per_second"), 1),
        "pairs/commits": round(median("pairs") / median("commits"), 2),
        "refused": sum(row["refused"] for row in found),
        "accuracy %": round(statistics.fmean(row["accuracy"] for row in found), 2),
        "cpu": round(max(row["cpu"] for row in found), 2),
    }


def lower_bound(rows: Sequence[dict[str, Any]], case: str, seeds: int) -> float:
    """Of the paired difference in accuracy to the barrier, in points: the lower end of its 95 % interval."""
    pairs = zip(of(rows, case, CHRONOS), of(rows, case, BARRIER), strict=True)
    differences = [chronos["accuracy"] - barrier["accuracy"] for chronos, barrier in pairs]
    spread = statistics.stdev(differences) / len(differences) ** 0.5
    return float(statistics.fmean(differences) - STUDENT_95[seeds] * spread)


def require(report: Report, case: str, seeds: int) -> None:
    """The bars of one case."""
    rows = report.rows
    saved = {arm: statistics.median(row["time_saved"] for row in of(rows, case, arm)) for arm in ARMS}
    report.require(f"{case}: bytes saved", bytes_saved(rows, case, CHRONOS), ">=", SAVED_BYTES[case])
    report.require(f"{case}: time saved, median", saved[CHRONOS], ">=", 0.5)
    report.require(
        f"{case}: time saved beyond the published rule's", saved[CHRONOS] - saved[PUBLISHED], ">", 0.0
    )
    refused = sum(row["refused"] for arm in (CHRONOS, IDENTITY) for row in of(rows, case, arm))
    report.require(f"{case}: commits refused", refused, "==", 0)
    report.require(f"{case}: accuracy, lower 95 % bound", lower_bound(rows, case, seeds), ">", -0.5)
    cpu = max(row["cpu"] for row in rows if row["case"] == case)
    report.require(f"{case}: CPU share of an inner step", cpu, "<=", 0.5)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("headline", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
