"""Does a clan train better than what one would do without it, for the same samples, the same FLOPs, the same time?

Per task and seed every arm of ``benchmarks.population.arms`` trains 8 members from the same weights: character model
(``lm``), digits with wrong labels (``digits``), and spirals, which was not looked at while the algorithm was developed.
*Equal samples*: all arms take the same number of steps. *Equal FLOPs*: arms that evaluate pay for it with steps (a
training sample costs 3 forward passes, an evaluated one 1; choosing the best member at the end is free for all). CPU
seconds are those of the simulation, all members in one process. Reported is the test loss of the member with the best
validation loss.

    python -m benchmarks.clan [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from benchmarks._harness import Options, Report, mean_and_spread, run
from benchmarks.population.arms import ARMS, FIXED, GRID, HIGH, LOW, PBT, PLUS, PROBED, trained

SEEDS = range(10)
"""Development used seeds from 100."""

ABLATION_SEEDS = 3

Losses = Mapping[tuple[str, str, str], Mapping[int, float]]
"""Test losses by task, arm and budget, then by seed; infinite where training diverged."""


def wanted(task: str, arm: str, place: int, quick: bool) -> bool:
    """Whether an arm runs on a task for the seed at this place: ablations, start rates, 8× compute on ``lm`` alone."""
    if quick:
        return task != "spirals" and arm in (PBT, PROBED, PLUS)
    if ARMS[arm].ablation:
        return task == "lm" and place < ABLATION_SEEDS
    return task == "lm" or arm not in (LOW, HIGH, FIXED)


def measure(options: Options) -> Report:
    """Every arm on every task for every seed."""
    seeds = SEEDS[:2] if options.quick else SEEDS
    report = Report(benchmark="clan", seeds=list(seeds))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_prepare) as pool:
        jobs = [
            pool.submit(rows_of, task, arm, seed, options.quick)
            for place, seed in enumerate(seeds)
            for task in ("lm", "digits", "spirals")
            for arm in ARMS
            if wanted(task, arm, place, options.quick)
        ]
        for job in options.progress.track(jobs, description="clan"):
            report.rows += job.result()
    report.summary = summarise(report.rows)
    require(report, losses_of(report.rows), options.quick)
    return report


def _prepare() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def rows_of(task: str, arm: str, seed: int, quick: bool) -> list[dict[str, Any]]:
    """Both budgets; an arm for which they are the same is trained once."""
    first = trained(task, arm, seed, equal_flops=True, quick=quick)
    if not ARMS[arm].evaluates:
        return [first, {**first, "budget": "samples"}]
    if ARMS[arm].ablation or ARMS[arm].factor != 1.0:
        return [first]
    return [first, trained(task, arm, seed, equal_flops=False, quick=quick)]


def losses_of(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], dict[int, float]]:
    """Rows by what they are of."""
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for row in rows:
        loss = float("inf") if row["test_loss"] is None else float(row["test_loss"])
        found.setdefault((row["task"], row["arm"], row["budget"]), {})[row["seed"]] = loss
    return found


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread of the test loss by task and arm, one column for each budget, and the seconds."""
    losses = losses_of(rows)
    summary = []
    for task, arm in dict.fromkeys((row["task"], row["arm"]) for row in rows):
        line: dict[str, Any] = {"task": task, "arm": arm}
        for budget in ("samples", "flops"):
            found = losses.get((task, arm, budget))
            if found:
                mean, spread = mean_and_spread(found.values())
                line |= {f"equal {budget}": mean, f"± {budget}": spread, "seeds": len(found)}
        seconds = [row["cpu_seconds"] for row in rows if (row["task"], row["arm"]) == (task, arm)]
        summary.append({**line, "CPU seconds": statistics.median(seconds)})
    return summary


def excess(losses: Losses, task: str, arm: str, other: str) -> list[float]:
    """By seed, how much an arm's loss is above another's at equal FLOPs, as a share of it."""
    mine, theirs = losses[task, arm, "flops"], losses[task, other, "flops"]
    return [mine[seed] / theirs[seed] - 1.0 for seed in sorted(set(mine) & set(theirs))]


def require(report: Report, losses: Losses, quick: bool) -> None:
    """The bars, on means over seeds and counts of seeds."""
    pbt, probed = excess(losses, "lm", PLUS, PBT), excess(losses, "lm", PLUS, PROBED)
    report.require("lm: seeds with Clan+ 10 % below PBT / seeds", share(pbt, -0.10), ">=", 1.0)
    report.require("lm: seeds with Clan+ 1 % below probe + cosine / seeds", share(probed, -0.01), ">=", 0.8)
    report.require(
        "digits: Clan+ against PBT", statistics.fmean(excess(losses, "digits", PLUS, PBT)), "<", 0.0
    )
    if quick:
        return
    fixed = statistics.fmean(excess(losses, "lm", PLUS, FIXED))
    report.require("lm: Clan+ above the best fixed rate at 8× compute", fixed, "<=", 0.01)
    for arm in (LOW, HIGH):
        report.require(
            f"lm: {arm}, above a good start", statistics.fmean(excess(losses, "lm", arm, PLUS)), "<=", 0.03
        )
    grid = statistics.fmean(excess(losses, "digits", PLUS, GRID))
    report.require("digits: Clan+ above the small-batch grid (reported)", grid, "<=", 1.0)


def share(differences: Sequence[float], bound: float) -> float:
    """Of the differences that are at or below the bound."""
    return sum(difference <= bound for difference in differences) / len(differences)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("clan", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
