"""How many outer steps does a warm start save, and what does it cost where nothing transfers?

Per seed: a run on the ``source`` data, then runs on ``shifted`` and ``unrelated`` data (``benchmarks.warming.problem``
defines them), each cold, and warm from the source run by the rule of ``chronos run --warm-start``: the start with the
lower outer loss after one update is taken. The target is the cold run's last outer loss plus 1 % of what it gained.
Steps of warm runs count the two updates that the choice costs. ``forced`` begins from the source run without asking.

    python -m benchmarks.warm_start [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks._harness import Options, Report, run
from benchmarks.warming.runs import Served, cluster, serve

SEEDS = range(5, 10)
"""Not those that the problem's sizes were chosen on."""

VERSIONS = 100
WITHIN = 0.01

ARMS: dict[str, dict[str, Any]] = {
    "cold": {},
    "warm": {"warm_start": True},
    "warm, optimiser too": {"warm_start": True, "keep_optimizer": True},
    "forced": {"warm_start": True, "force": True},
}


def rows_of(seed: int, versions: int) -> list[dict[str, Any]]:
    """Every arm on both problems."""
    rows = []
    with cluster() as client:
        source = serve(client, "source", seed, versions=versions)
        for shift in ("shifted", "unrelated"):
            cold: Served | None = None
            for arm, settings in ARMS.items():
                wanted = {**settings, "warm_start": source.run_id} if settings else {}
                found = serve(client, shift, seed, versions=versions, **wanted)
                cold = cold or found
                rows.append(row(seed, shift, arm, found, cold))
    return rows


def row(seed: int, shift: str, arm: str, found: Served, cold: Served) -> dict[str, Any]:
    """One run against the cold one of its problem; steps are those of the whole run where the target is not met."""
    target = cold.losses[-1] + WITHIN * (cold.losses[0] - cold.losses[-1])
    own = cold.steps_to(target) or len(cold.losses) - 1
    steps = found.steps_to(target)
    return {
        "seed": seed,
        "problem": shift,
        "arm": arm,
        "began_warm": bool(found.warm_from),
        "first_loss": found.losses[0],
        "last_loss": found.losses[-1],
        "target": target,
        "reached": steps is not None,
        "steps": len(found.losses) - 1 + found.trials if steps is None else steps,
        "steps_of_cold": own,
    }


def summarise(rows: Sequence[dict[str, Any]], versions: int) -> list[dict[str, Any]]:
    """Means over the seeds by problem and arm."""
    summary = []
    for shift in ("shifted", "unrelated"):
        cold = {r["seed"]: r["last_loss"] for r in rows if (r["problem"], r["arm"]) == (shift, "cold")}
        for arm in ARMS:
            mine = [r for r in rows if (r["problem"], r["arm"]) == (shift, arm)]
            summary.append(
                {
                    "problem": shift,
                    "arm": arm,
                    "began warm": f"{sum(r['began_warm'] for r in mine)}/{len(mine)}",
                    "first loss": statistics.fmean(r["first_loss"] for r in mine),
                    "last loss": statistics.fmean(r["last_loss"] for r in mine),
                    "reached": f"{sum(r['reached'] for r in mine)}/{len(mine)}",
                    "steps": statistics.fmean(r["steps"] for r in mine),
                    "of the run": statistics.fmean(r["steps"] / versions for r in mine),
                    "of cold's steps": statistics.fmean(r["steps"] / r["steps_of_cold"] for r in mine),
                    "worst last loss / cold": max(r["last_loss"] / cold[r["seed"]] for r in mine),
                }
            )
    return summary


def measure(options: Options) -> Report:
    """Every arm for every seed."""
    seeds = SEEDS[:2] if options.quick else SEEDS
    report = Report(benchmark="warm_start", seeds=list(seeds))
    torch.set_num_threads(1)
    for seed in options.progress.track(seeds, description="warm_start"):
        report.rows += rows_of(seed, VERSIONS)
    report.summary = summarise(report.rows, VERSIONS)
    by_arm = {(r["problem"], r["arm"]): r for r in report.summary}
    shifted, unrelated = by_arm["shifted", "warm"], by_arm["unrelated", "warm"]
    reached = sum(r["reached"] for r in report.rows if (r["problem"], r["arm"]) == ("shifted", "warm"))
    report.require("shifted: warm runs that reach the target", reached, "==", len(seeds))
    report.require("shifted: steps of warm / outer steps of the cold run", shifted["of the run"], "<=", 0.6)
    report.require(
        "shifted: steps of warm / steps of cold to the target", shifted["of cold's steps"], "<=", 0.6
    )
    report.require(
        "unrelated: last loss of warm / of cold, worst seed", unrelated["worst last loss / cold"], "<=", 1.05
    )
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("warm_start", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
