"""A heterogeneous cluster behind a barrier (8 workers, speeds 1 to 4 times, simulated clock): what do predictions save?

Every version needs all workers. ``uniform`` gives each the whole inner loop; ``predicted`` gives each a share in
proportion to its measured speed. Idle time is what workers spend between their commit and the next version, per
version; a false straggler is a piece of work after which a worker that had not changed was called one. In each seed
one worker slows down to a third of its speed half-way in a second run, which says how soon that is noticed. Settings
were chosen on seeds 100 to 104.

    python -m benchmarks.prediction_cluster [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Sequence

from benchmarks._harness import Options, Report, run
from benchmarks.pacing.simulation import Cluster, Outcome, Slowdown, simulate

SEEDS = range(10)
WORKERS = 8
VERSIONS = 120
WARM_UP = 5
"""Versions that do not count: nothing is known before the first."""
NOISES = (0.02, 0.05, 0.1)


def cluster(seed: int, noise: float) -> Cluster:
    """Workers whose inner loops take 10 to 40 seconds: the fastest, the slowest, and others between."""
    between = random.Random(seed)
    return Cluster(
        seconds=(10.0, 40.0, *(10.0 * 4.0 ** between.random() for _ in range(WORKERS - 2))), noise=noise
    )


def measure(options: Options) -> Report:
    """Both pacings for every seed and noise."""
    seeds = SEEDS[:3] if options.quick else SEEDS
    report = Report(benchmark="prediction_cluster", seeds=list(seeds))
    for seed in options.progress.track(seeds, description="prediction_cluster"):
        for noise in NOISES:
            workers = cluster(seed, noise)
            arms = {
                pacing: simulate(workers, pacing=pacing, versions=VERSIONS, warm_up=WARM_UP, seed=seed)
                for pacing in ("uniform", "predicted")
            }
            slow = Slowdown(worker=seed % WORKERS, version=VERSIONS // 2, factor=3.0)
            found = simulate(
                workers, pacing="predicted", versions=VERSIONS, warm_up=WARM_UP, seed=seed, slowdown=slow
            ).detected
            noticed = {"pieces until noticed": float(VERSIONS if found is None else found)}
            report.rows.append(
                {"seed": seed, "noise": noise, **_row(arms["uniform"], arms["predicted"]), **noticed}
            )
    _summarise(report)
    return report


def _row(uniform: Outcome, predicted: Outcome) -> dict[str, float]:
    return {
        "uniform idle": uniform.idle_share,
        "predicted idle": predicted.idle_share,
        "idle saved": 1.0 - predicted.idle / uniform.idle,
        "idle per work saved": 1.0 - (predicted.idle / predicted.work) / (uniform.idle / uniform.work),
        "work per second": (predicted.work / predicted.seconds) / (uniform.work / uniform.seconds),
        "false stragglers": (uniform.flagged + predicted.flagged) / (uniform.pieces + predicted.pieces),
        "below p95": predicted.covered / len(predicted.ratios),
        "median error": statistics.median(abs(ratio - 1.0) for ratio in predicted.ratios),
    }


def _summarise(report: Report) -> None:
    for noise in NOISES:
        rows = [row for row in report.rows if row["noise"] == noise]
        means = {
            name: statistics.fmean(row[name] for row in rows)
            for name in rows[0]
            if name not in ("seed", "noise")
        }
        report.summary.append({"noise": noise, **means})
    report.require(
        "idle time saved, least of all seeds", min(row["idle saved"] for row in report.rows), ">=", 0.6
    )
    per_work = min(row["idle per work saved"] for row in report.summary)
    report.require("idle time per work saved, mean of seeds, least of all noises", per_work, ">=", 0.6)
    report.require("false stragglers, most", max(row["false stragglers"] for row in report.rows), "<=", 0.02)
    report.require(
        "pieces until a slow-down is noticed, most",
        max(row["pieces until noticed"] for row in report.rows),
        "<=",
        5.0,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("prediction_cluster", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
