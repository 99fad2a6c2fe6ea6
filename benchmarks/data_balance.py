"""How even is the load when samples and workers are not?

Epoch time over that of perfect balance (a step takes as long as its slowest worker, perfect is the mean), with sizes
drawn like those of data sets that people train on. Beside Chronos: torch's DistributedSampler, Hugging Face's length
groups, Karmarkar–Karp in the batch, first-fit packing, and filling by nearest size in the manner of Chronica's static
(to the mean) and dynamic (to a pivot) kinds; all written for comparison.
Planning times are this process's CPU time.

    python -m benchmarks.data_balance [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._harness import Options, Report, run
from benchmarks.balance.estimates import Estimates
from benchmarks.balance.measures import laps, over_perfect, padded_over_perfect, partners
from benchmarks.balance.others import OTHERS
from benchmarks.balance.sizes import SIZES
from chronos_common.data import Groups, PlanConfig, Planner, Speeds

SEED = 20
EVEN = (("UCF", 8, 8, 300), *((name, 64, 32, 50) for name in ("UCF", "Libri", "sentences", "log-normal")))
LARGE = tuple((name, 512, 64, 3) for name in ("UCF", "Libri", "sentences", "log-normal"))
Row = dict[str, Any]
Reals = NDArray[np.float64]


def drawn(name: str, workers: int, each: int, steps: int) -> Reals:
    """Sizes of an epoch of ``steps``."""
    return SIZES[name](np.random.default_rng(SEED), workers * each * steps)


def even(report: Report, quick: bool) -> None:
    """Equal workers, the plain shuffled batch."""
    for name, workers, each, steps in EVEN if quick else EVEN + LARGE:
        sizes = drawn(name, workers, each, steps)
        planner = Planner(sizes, PlanConfig(batch_size=workers * each, seed=SEED))
        speeds = Speeds.equal(workers)
        row: Row = {"what": f"{name}, {workers}×{each}"}
        for other, divide in OTHERS.items():
            if other == "Karmarkar–Karp" and workers > 64:
                continue
            loads = divide(sizes, workers, each, np.random.default_rng(SEED + 1))
            row[other] = float(loads.max(axis=1).sum() / (loads.sum() / workers))
        ours = over_perfect(planner.plans(0, 0, planner.steps, speeds), sizes, speeds)
        row["Chronos"] = ours
        report.rows.append(row)
        report.require(f"{name}, {workers}×{each}", ours, "<=", 1.0005 if workers == 8 else 1.001)


def uneven(report: Report) -> None:
    """Half of the workers at half speed, known; and a worker that slows down in mid-epoch."""
    sizes = drawn("UCF", 64, 32, 24)
    speeds = Speeds(alpha=np.zeros(64), beta=np.where(np.arange(64) < 32, 1.0, 2.0))
    planner = Planner(sizes, PlanConfig(batch_size=2048, seed=SEED))
    ours = over_perfect(planner.plans(0, 0, planner.steps, speeds), sizes, speeds)
    loads = OTHERS["DistributedSampler"](sizes, 64, 32, np.random.default_rng(SEED + 1))
    plain = (loads * speeds.beta).max(axis=1).sum() / (loads.sum() / (1 / speeds.beta).sum())
    report.rows.append(
        {"what": "UCF, 64×32, half 2× slower", "DistributedSampler": float(plain), "Chronos": ours}
    )
    report.require("half of the workers 2× slower, speeds known", ours, "<=", 1.002)
    ratio, bare = slowing()
    report.rows.append(
        {"what": "one of 8 turns 2× slower, ÷ oracle", "DistributedSampler": bare, "Chronos": ratio}
    )
    report.require("one turns 2× slower in mid-epoch, 3 % noise, ÷ oracle", ratio, "<=", 1.02)


def slowing() -> tuple[float, float]:
    """Time with measured speeds, and of equal shares, over that with the speeds known; 8 × 32, 400 steps."""
    workers, steps = 8, 400
    sizes = drawn("UCF", workers, 32, steps)
    planner = Planner(sizes, PlanConfig(batch_size=workers * 32, seed=SEED))
    rng = np.random.default_rng(SEED + 2)
    table = Estimates()
    names = [str(worker) for worker in range(workers)]
    ours = oracle = plain = 0.0
    for step in range(steps):
        beta = np.ones(workers)
        beta[0] = 2.0 if step >= steps // 2 else 1.0
        noise = rng.normal(1, 0.03, workers).clip(0.5)
        found = table.speeds(names)
        plan = planner.plan(0, step, Speeds(alpha=found.alpha, beta=found.beta, version=found.version))
        costs = np.array([sizes[plan.share(worker)].sum() for worker in range(workers)])
        seconds = beta * costs * noise
        for name, cost, took in zip(names, costs, seconds, strict=True):
            table.observe(name, float(cost), float(took))
        best = planner.plan(0, step, Speeds(alpha=np.zeros(workers), beta=beta))
        ours += seconds.max()
        oracle += max(beta[w] * noise[w] * sizes[best.share(w)].sum() for w in range(workers))
        plain += (sizes[planner.batch(0, step)].reshape(-1, workers).sum(axis=0) * beta * noise).max()
    return float(ours / oracle), float(plain / oracle)


def special(report: Report) -> None:
    """Padding, a heavy tail, a partitioned data set, and whom a sample meets."""
    sizes = drawn("UCF", 64, 32, 24)
    speeds = Speeds.equal(64)
    guided = Planner(sizes, PlanConfig(batch_size=2048, kind="guided", cost="padded", seed=SEED))
    ours = padded_over_perfect(guided.plans(0, 0, guided.steps, speeds), sizes, 64)
    report.rows.append({"what": "UCF, 64×32, padded", **_padded(sizes), "Chronos": ours})
    report.require("padded, UCF, 64×32", ours, "<=", 1.05)

    tail = drawn("heavy tail", 64, 32, 64)
    loads = OTHERS["DistributedSampler"](tail, 64, 32, np.random.default_rng(SEED + 1))
    row: Row = {
        "what": "heavy tail, 64×32",
        "DistributedSampler": float(loads.max(axis=1).sum() / (loads.sum() / 64)),
    }
    for randomness in ("strict", "window:8", "noisy:0.5", "auto"):
        planner = Planner(tail, PlanConfig(batch_size=2048, randomness=randomness, workers=64, seed=SEED))
        key = "Chronos" if randomness == "auto" else randomness
        row[key] = over_perfect(planner.plans(0, 0, planner.steps, speeds), tail, speeds)
    report.rows.append(row)
    report.require(f"heavy tail, auto ({planner.randomness})", row["Chronos"], "<=", 1.005)

    partitioned(report)
    rate = partners(Planner(sizes, PlanConfig(batch_size=2048, seed=SEED)), speeds, 4)
    report.require("partners met again, strict ÷ chance", rate, ">=", 0.8)
    report.require("partners met again, strict ÷ chance", rate, "<=", 1.25)
    windowed = PlanConfig(batch_size=2048, randomness="window:8", workers=64, seed=SEED)
    report.rows.append(
        {
            "what": "partners met again ÷ chance, heavy tail, window:8",
            "window:8": partners(Planner(tail, windowed), speeds, 4),
        }
    )


def _padded(sizes: Reals) -> Row:
    rng = np.random.default_rng(SEED + 1)
    order = rng.permutation(len(sizes))
    plain = sizes[order].reshape(-1, 32, 64).max(axis=1).max(axis=1).sum() * 32
    grouped = np.sort(sizes[order]).reshape(-1, 32, 64).max(axis=1).max(axis=1).sum() * 32
    return {
        "DistributedSampler": float(plain / (sizes.sum() / 64)),
        "length groups": float(grouped / (sizes.sum() / 64)),
    }


def partitioned(report: Report) -> None:
    """Eight nodes of eight workers, samples on the nodes where they happen to be."""
    sizes = drawn("UCF", 64, 32, 32)
    nodes = np.random.default_rng(SEED + 3).permutation(np.arange(len(sizes)) % 8)
    groups = Groups(samples=nodes, workers=np.arange(64) // 8)
    speeds = Speeds.equal(64)
    row: Row = {"what": "UCF, 64×32, 8 nodes, window:32"}
    for randomness, key in (("strict", "strict"), ("window:32", "Chronos")):
        config = PlanConfig(batch_size=2048, randomness=randomness, workers=64, seed=SEED)
        planner = Planner(sizes, config, groups)
        row[key] = over_perfect(planner.plans(0, 0, planner.steps, speeds), sizes, speeds)
    report.rows.append(row)
    report.require("partitioned, 8 nodes, window 32", row["Chronos"], "<=", 1.025)


def planning(report: Report, quick: bool) -> None:
    """How long a plan takes."""
    for speed, speeds in (
        ("equal", Speeds.equal(64)),
        ("measured", Speeds(alpha=np.full(64, 0.01), beta=np.random.default_rng(SEED).uniform(0.8, 1.2, 64))),
    ):
        sizes = drawn("UCF", 64, 32, 48 if quick else 489)
        found = laps(sizes, PlanConfig(batch_size=2048), speeds)
        report.require(f"ms of a step of 64×32, {speed} speeds", found.step * 1e3, "<=", 1.0)
        report.require(f"µs a sample, planned ahead, {speed} speeds", found.sample * 1e6, "<=", 0.5)
        report.require(f"s to the first of 1e6 samples, {speed} speeds", found.first, "<=", 0.2)


def measure(options: Options) -> Report:
    """Everything."""
    report = Report(benchmark="data_balance", seeds=[SEED])
    even(report, options.quick)
    uneven(report)
    special(report)
    planning(report, options.quick)
    return report


if __name__ == "__main__":
    sys.exit(run("data_balance", (__doc__ or "").split("\n\n")[0], measure))
