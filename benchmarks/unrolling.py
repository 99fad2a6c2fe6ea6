"""Derivatives through the inner loop: how fast against the other libraries, how large, and against black-box search.

Everything runs in one process, in turns, in float64 on one thread. The peers are those that can be imported; see
``benchmarks.hyper.peers`` for how to get them, and which are missing is said in the report.

    python -m benchmarks.unrolling [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from benchmarks._harness import Options, Report, mean_and_spread, run
from benchmarks.hyper import memory, search, unrolled
from benchmarks.hyper.cases import Case, network, ridge
from benchmarks.hyper.long import LongLoop
from benchmarks.hyper.timing import interleaved, ratio
from chronos_common.hypergradient import make_estimator

STEPS = 100
CASES: Sequence[tuple[Callable[[], Case], int]] = (
    (partial(ridge, 100), 40),
    (partial(ridge, 1000), 10),
    (partial(network, (16, 32, 10), samples=64, steps=5), 20),
)
"""Problem, and rounds."""
QUICK_ROUNDS = 3
SEEDS = (0, 1, 2, 3, 4)
LOOPS = 64
"""What each arm of the search may spend, in inner loops."""

LENGTHS = (10, 100, 1000, 10_000)
MEMORY: dict[str, tuple[int, float | None]] = {
    "unrolled": (1000, None),
    "recompute": (10_000, 0.6),
    "reversible": (10_000, None),
    "forward": (10_000, 0.05),
    "implicit": (10_000, 0.05),
}
"""Estimators, the longest loop, and the bar of the slope of log bytes against log inner steps."""


def times(report: Report, options: Options) -> None:
    """A whole outer iteration: 100 inner steps and the derivative through them."""
    for build, rounds in options.progress.track(CASES, description="unrolled"):
        case = build()
        arms, missing = unrolled.peers(case, STEPS)
        arms = {unrolled.OURS: unrolled.ours(case, STEPS), **arms}
        compile_seconds: dict[str, float] = {}
        for name, backend in unrolled.COMPILED.items():
            arms[name], compile_seconds[name] = unrolled.compiled(case, STEPS, backend)
        errors = {name: case.error(arm()) for name, arm in arms.items()}
        seconds = interleaved(arms, QUICK_ROUNDS if options.quick else rounds)
        medians = {name: statistics.median(taken) for name, taken in seconds.items()}
        rivals = {name: medians[name] for name in unrolled.PEERS if name in medians}
        fastest = min(rivals, key=lambda name: rivals[name], default=unrolled.OURS)
        report.rows += [
            {
                "part": "unrolled",
                "case": case.name,
                "arm": name,
                "time × fastest peer": ratio(seconds, name, fastest),
                "ms": 1e3 * medians[name],
                "error": errors[name],
                "compile s": compile_seconds.get(name),
            }
            for name in arms
        ]
        report.rows += [
            {"part": "unrolled", "case": case.name, "arm": f"{name}: missing"} for name in missing
        ]
        if rivals:
            report.require(
                f"{case.name}: time × fastest peer", ratio(seconds, unrolled.OURS, fastest), "<=", 1.0
            )
            compiled = min(ratio(seconds, name, fastest) for name in unrolled.COMPILED)
            report.require(f"{case.name}: compiled, time × fastest peer", compiled, "<=", 0.8)
            worst = max(errors[name] for name in (unrolled.OURS, *unrolled.COMPILED))
            worst /= min(errors[name] for name in rivals)
            report.require(f"{case.name}: error × best peer", worst, "<=", 1.001)


def live_bytes(report: Report, options: Options) -> None:
    """Peak of live tensors against the number of inner steps."""
    problem = LongLoop()
    for name, (longest, bound) in options.progress.track(MEMORY.items(), description="memory"):
        lengths = [n for n in LENGTHS if n <= (1000 if options.quick else longest)]
        peaks = [memory.peak_bytes(problem, make_estimator(name), steps) for steps in lengths]
        report.rows += [
            {"part": "memory", "case": "long loop", "arm": name, "inner steps": steps, "peak bytes": peak}
            for steps, peak in zip(lengths, peaks, strict=True)
        ]
        slope = memory.slope(lengths, peaks)
        report.rows.append({"part": "memory slope", "case": "long loop", "arm": name, "slope": slope})
        if bound is not None:
            report.require(f"{name}: slope of bytes against steps", slope, "<=", bound)


def black_boxes(report: Report, options: Options) -> None:
    """Learning rate and weight decay by hypergradients, and by search, for the same number of inner gradients."""
    seeds = SEEDS[:2] if options.quick else SEEDS
    for name, arm in options.progress.track(search.ARMS.items(), description="search"):
        began = time.thread_time()
        try:
            found = [arm(seed, LOOPS) for seed in seeds]
        except ImportError:
            report.rows.append({"part": "search", "case": "rate and decay", "arm": f"{name}: missing"})
            continue
        validation, _ = mean_and_spread(f.validation for f in found)
        test, spread = mean_and_spread(f.test for f in found)
        report.rows.append(
            {
                "part": "search",
                "case": "rate and decay",
                "arm": name,
                "inner loops": LOOPS,
                "validation loss": validation,
                "test loss": test,
                "± test": spread,
                "CPU s": (time.thread_time() - began) / len(seeds),
            }
        )


def measure(options: Options) -> Report:
    """Every part."""
    torch.set_num_threads(1)
    report = Report(benchmark="unrolling", seeds=SEEDS[:2] if options.quick else SEEDS)
    for part in (times, live_bytes, black_boxes):
        part(report, options)
    # The bytes at each length are for the picture.
    report.summary = [row for row in report.rows if row["part"] != "memory"]
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("unrolling", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
