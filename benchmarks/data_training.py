"""Uneven text on uneven processes: how many steps a second, and to which loss, against torch's DistributedSampler?

Four processes on gloo train a language model on paragraphs of Python's documentation; one of them takes twice as long
for the same bytes. Each step's computing is padded by a timer in proportion to its share's bytes (3 % noise), so that
the cores of this machine do not decide; "cpu" is the share of a core that a process really used. Arms: torch's
DistributedSampler with equal counts; Chronos with shares by measured speed, its times shared by an all-gather. Both
minimise the mean over all bytes of a batch, see all samples once an epoch and start from the same network; paired
seeds, the arms in turn. Steps a second are taken over the first epoch, in which the speeds are still to be found out.
The loss is that after two epochs without pads, where the ranks report the times that the pads would have taken.

    python -m benchmarks.data_training [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks._harness import Options, Report, run
from benchmarks.training.ranks import BASELINE, CHRONOS, WORLD, Job

SEEDS = range(20, 28)
TIMED = 3
STUDENT_95 = {4: 3.182, 8: 2.365}
"""Two-sided 95 % quantiles of Student's t, by the number of seeds."""


def measure(options: Options) -> Report:
    """All runs, by the same four processes one after another."""
    seeds = SEEDS[:4] if options.quick else SEEDS
    timed = seeds[: 1 if options.quick else TIMED]
    runs = [(seed, True) for seed in timed] + [(seed, False) for seed in seeds]
    jobs = [
        Job(arm=arm, seed=seed, epochs=1 if padded else 2, padded=padded)
        for seed, padded in runs
        for arm in ((BASELINE, CHRONOS) if seed % 2 else (CHRONOS, BASELINE))
    ]
    report = Report(benchmark="data_training", seeds=list(seeds))
    report.rows = run_jobs(jobs, options)
    report.summary = [summary_of(report.rows, arm) for arm in (BASELINE, CHRONOS)]
    speed = ratios(report.rows, "steps_per_second", padded=True)
    losses = [ratio - 1.0 for ratio in ratios(report.rows, "loss", padded=False)]
    report.require(
        "steps a second, times those of DistributedSampler (median of pairs)",
        statistics.median(speed),
        ">=",
        1.5,
    )
    low, high = interval(losses)
    report.require(
        "held-out loss above DistributedSampler's, relative: upper end of the 95 % interval", high, "<=", 0.01
    )
    report.require("the same, lower end", low, "<=", 0.0)
    return report


def run_jobs(jobs: list[Job], options: Options) -> list[dict[str, Any]]:
    """One row for each job, as rank 0 saw it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "jobs.json").write_text(json.dumps([asdict(job) for job in jobs]))
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "GLOO_SOCKET_IFNAME": "lo"}
        ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.training.ranks", str(rank), name],
                stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                env=environment,
                text=True,
            )
            for rank in range(WORLD)
        ]
        try:
            out = ranks[0].stdout
            assert out is not None
            for _ in options.progress.track(jobs, description="data_training"):
                if not out.readline():
                    break
            codes = [rank.wait() for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        if any(codes):
            raise SystemExit(f"a rank failed: exit codes {codes}")
        rows: list[dict[str, Any]] = json.loads((folder / "0.json").read_text())
        return rows


def ratios(rows: list[dict[str, Any]], column: str, *, padded: bool) -> list[float]:
    """Chronos' value over that of DistributedSampler, for each seed."""
    values = {(row["seed"], row["arm"]): row[column] for row in rows if row["padded"] == padded}
    seeds = sorted({seed for seed, _ in values})
    return [values[seed, CHRONOS] / values[seed, BASELINE] for seed in seeds]


def summary_of(rows: list[dict[str, Any]], arm: str) -> dict[str, Any]:
    """One line of the table."""
    mine = [row for row in rows if row["arm"] == arm]
    timed = [row for row in mine if row["padded"]]
    low, high = interval([row["loss"] for row in mine if not row["padded"]])
    return {
        "arm": arm,
        "steps a second": statistics.median(row["steps_per_second"] for row in timed),
        "cpu": statistics.median(row["cpu"] for row in timed),
        "held-out loss (nats a byte)": statistics.fmean(row["loss"] for row in mine if not row["padded"]),
        "95 % interval": f"{low:.4f}–{high:.4f}",
    }


def interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of the mean."""
    mean = statistics.fmean(values)
    half = STUDENT_95[len(values)] * statistics.stdev(values) / len(values) ** 0.5
    return mean - half, mean + half


def main() -> int:
    """The command line."""
    return run("data_training", __doc__ or "", measure)


if __name__ == "__main__":
    sys.exit(main())
