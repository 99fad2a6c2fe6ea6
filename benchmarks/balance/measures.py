"""What is measured of a plan: its epoch's time, who meets whom again, and how long it takes to make."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_common.data import PlanConfig, Planner, Speeds, StepPlan

Reals = NDArray[np.float64]


def over_perfect(plans: Sequence[StepPlan], costs: Reals, speeds: Speeds) -> float:
    """Epoch time over that of costs that could be cut at will; alpha is 0."""
    slowest = [
        max(float(speeds.beta[worker] * costs[plan.share(worker)].sum()) for worker in range(speeds.workers))
        for plan in plans
    ]
    whole = sum(float(costs[plan.indices].sum()) for plan in plans)
    return sum(slowest) / (whole / float((1 / speeds.beta).sum()))


def padded_over_perfect(plans: Sequence[StepPlan], sizes: Reals, workers: int) -> float:
    """Epoch time of count times longest, over that without any padding."""
    slowest = [
        max(
            len(share) * float(sizes[share].max(initial=0))
            for share in (plan.share(worker) for worker in range(workers))
        )
        for plan in plans
    ]
    return sum(slowest) / (float(sizes[np.concatenate([plan.indices for plan in plans])].sum()) / workers)


def partners(planner: Planner, speeds: Speeds, epochs: int) -> float:
    """Pairs in one share that are in one share again next epoch, relative to what chance gives."""
    met = expected = 0.0
    before: Reals | None = None
    last = np.empty(0, dtype=np.int64)
    for epoch in range(epochs):
        place = np.empty(planner.samples, dtype=np.int64)
        counts = []
        for plan in planner.plans(epoch, 0, planner.steps, speeds):
            place[plan.indices] = np.repeat(
                np.arange(speeds.workers) + plan.step * speeds.workers, plan.counts
            )
            counts.append(plan.counts)
        sizes = np.concatenate(counts).astype(np.float64)
        if before is not None:
            joint = np.unique(np.stack([last, place]), axis=1, return_counts=True)[1].astype(np.float64)
            met += float((joint * (joint - 1)).sum())
            pairs = planner.samples * (planner.samples - 1.0)
            expected += float((before * (before - 1)).sum()) * float((sizes * (sizes - 1)).sum()) / pairs
        before, last = sizes, place
    return met / expected


@dataclass(frozen=True, kw_only=True)
class Laps:
    """Seconds of this process's time."""

    first: float
    step: float
    sample: float


def laps(sizes: Reals, config: PlanConfig, speeds: Speeds) -> Laps:
    """Until the first batch, of one step (median of 50), and of one sample over an epoch planned ahead."""
    start = time.process_time()
    fresh = Planner(sizes, config)
    fresh.plan(0, 0, speeds)
    first = time.process_time() - start
    steps = []
    for step in range(1, min(51, fresh.steps)):
        start = time.process_time()
        fresh.plan(0, step, speeds)
        steps.append(time.process_time() - start)
    start = time.process_time()
    fresh.plans(1, 0, fresh.steps, speeds)
    return Laps(first=first, step=float(np.median(steps)), sample=(time.process_time() - start) / len(sizes))
