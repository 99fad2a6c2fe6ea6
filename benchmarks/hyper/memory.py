"""Live tensor bytes against the number of inner steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chronos_common.hypergradient import HypergradientEstimator
from chronos_common.hypergradient.live_bytes import LiveBytes
from chronos_common.problem import InnerProblem


def peak_bytes(problem: InnerProblem, estimator: HypergradientEstimator, steps: int) -> int:
    """The most bytes alive at once in an inner loop of ``steps`` steps and the hypergradient after it."""
    with LiveBytes() as counter:
        _, trajectory = problem.solve(num_steps=steps, keep_last=estimator.keep_last)
        estimator.compute_hypergradient(trajectory, problem)
    return int(counter.peak)


def slope(steps: Sequence[int], peaks: Sequence[int]) -> float:
    """The slope of log bytes against log steps, by least squares."""
    x, y = [math.log(n) for n in steps], [math.log(n) for n in peaks]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    along = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return along / sum((a - mean_x) ** 2 for a in x)
