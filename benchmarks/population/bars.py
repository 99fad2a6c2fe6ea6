"""What the clan benchmark promises: bars on means over seeds and on shares of the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks._harness import Report
from benchmarks.population.arms import FIXED, HIGH, LOW, PBT, PLUS, PROBED, RAY
from benchmarks.population.known_optimum import Regression, found_dropout
from benchmarks.population.summary import excess, losses_of


def require(report: Report, *, quick: bool) -> None:
    """Adds the bars to a report with rows; one against a library that was not there is missed."""
    losses = losses_of(report.rows)
    seeds = len(report.seeds)
    ray = excess(losses, "lm", PLUS, RAY)
    missing = "" if ray else ", which was NOT THERE"
    wanted = 1 if quick else seeds
    report.require(
        f"lm: seeds with Clan+ 10 % below Ray Tune PBT{missing} / seeds",
        sum(found <= -0.10 for found in ray) / wanted,
        ">=",
        1.0,
    )
    report.require(
        "lm: seeds with Clan+ 10 % below PBT by Ray's rules / seeds",
        share(excess(losses, "lm", PLUS, PBT), -0.10),
        ">=",
        1.0,
    )
    report.require(
        "lm: seeds with Clan+ 1 % below probe + cosine / seeds",
        share(excess(losses, "lm", PLUS, PROBED), -0.01),
        ">=",
        0.8,
    )
    report.require(
        "digits: Clan+ against PBT by Ray's rules",
        statistics.fmean(excess(losses, "digits", PLUS, PBT)),
        "<",
        0.0,
    )
    if quick:
        return
    against_ray = excess(losses, "digits", PLUS, RAY)
    if against_ray:
        report.require("digits: Clan+ against Ray Tune PBT", statistics.fmean(against_ray), "<", 0.0)
    fixed = statistics.fmean(excess(losses, "lm", PLUS, FIXED))
    report.require("lm: Clan+ above the best fixed rate at 8× compute", fixed, "<=", 0.01)
    for arm in (LOW, HIGH):
        above = statistics.fmean(excess(losses, "lm", arm, PLUS))
        report.require(f"lm: {arm}, above a good start", above, "<=", 0.03)
    distances = [
        abs(found_dropout(problem, seed) - problem.optimum())
        for seed, problem in ((seed, Regression(seed)) for seed in report.seeds)
    ]
    report.require(
        "dropout with a known optimum: mean distance of what is found",
        statistics.fmean(distances),
        "<=",
        0.05,
    )


def share(differences: Sequence[float], bound: float) -> float:
    """Of the differences that are at or below the bound; 0 of none."""
    return sum(difference <= bound for difference in differences) / max(len(differences), 1)
