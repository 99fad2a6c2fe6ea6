"""How fast, how accurate and how large is a hypergradient, against a hand-written one and the other libraries?

Everything runs in one process, in turns, in float64 on one thread. The peers are those that can be imported; see
``benchmarks.hyper.peers`` for how to get them, and which are missing is said in the report.

    python -m benchmarks.hypergradient [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch

from benchmarks._harness import Options, Report, run
from benchmarks.hyper import arms, memory
from benchmarks.hyper.cases import Case, network, ridge, wide
from benchmarks.hyper.timing import interleaved, ratio
from chronos_common.hypergradient import make_estimator

CG_STEPS = 20
CASES: Sequence[tuple[Callable[[], Case], int, float]] = (
    (partial(ridge, 100), 400, 1.10),
    (partial(ridge, 1000), 100, 1.05),
    (network, 50, 1.05),
)
"""Problem, rounds, and the bar of its time against the reference."""
QUICK_ROUNDS = 10

LENGTHS = (10, 100, 1000, 10_000)
MEMORY = {
    "implicit": 0.05,
    "normal_cg": 0.05,
    "gmres": 0.05,
    "neumann": 0.05,
    "fixed_point": 0.05,
    "nystrom": 0.05,
}
"""Estimators, and the bar of the slope of log bytes against log inner steps."""


def conjugate_gradient(report: Report, options: Options) -> None:
    """CG20 of everybody."""
    for build, rounds, bound in options.progress.track(CASES, description="CG20"):
        case = build()
        found, missing = arms.conjugate_gradient(case, CG_STEPS)
        errors = {name: case.error(arm()) for name, arm in found.items()}
        seconds = interleaved(found, QUICK_ROUNDS if options.quick else rounds)
        times = {name: ratio(seconds, name, arms.REFERENCE) for name in found}
        report.rows += [
            {
                "part": "CG20",
                "case": case.name,
                "arm": name,
                "time × reference": times[name],
                "ms": 1e3 * statistics.median(seconds[name]),
                "error": errors[name],
            }
            for name in found
        ]
        report.rows += [{"part": "CG20", "case": case.name, "arm": f"{name}: missing"} for name in missing]
        report.require(f"{case.name}: time × reference", times[arms.OURS], "<=", bound)
        report.require(
            f"{case.name}: error × reference", errors[arms.OURS] / errors[arms.REFERENCE], "<=", 1.001
        )
        rivals = [times[name] for name in found if name in arms.CG_PEERS]
        if rivals:
            report.require(f"{case.name}: time × fastest peer", times[arms.OURS] / min(rivals), "<", 1.0)


def live_bytes(report: Report, options: Options) -> None:
    """Peak of live tensors against the number of inner steps."""
    lengths = LENGTHS[:3] if options.quick else LENGTHS
    case = wide(4000, samples=100)
    problem, _ = case.trajectory()
    for name, bound in options.progress.track(MEMORY.items(), description="memory"):
        peaks = [memory.peak_bytes(problem, make_estimator(name), steps) for steps in lengths]
        report.rows += [
            {"part": "memory", "case": case.name, "arm": name, "inner steps": steps, "peak bytes": peak}
            for steps, peak in zip(lengths, peaks, strict=True)
        ]
        report.require(f"{name}: slope of bytes against steps", memory.slope(lengths, peaks), "<=", bound)


def measure(options: Options) -> Report:
    """Every part."""
    torch.set_num_threads(1)
    report = Report(benchmark="hypergradient", seeds=[0])
    for part in (conjugate_gradient, live_bytes):
        part(report, options)
    # Of the bytes at each length the bars show the slope.
    report.summary = [row for row in report.rows if row["part"] != "memory"]
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("hypergradient", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
