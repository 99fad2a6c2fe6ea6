"""Digits with a long tail (100 samples of the most frequent class, 1 of the rarest): what do learnt weights give?

Balanced test accuracy (%) of one model with one final training, by what it is trained on: the long-tailed samples as
they are (plain), weighted by inverse class frequency, or by weights learnt on 100 balanced validation samples
(reweighted); those validation samples alone; and each weighting together with them. Sizes and settings were chosen on
seeds 100 to 102.

    python -m benchmarks.long_tail [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks._harness import Options, Report, mean_and_spread, run
from examples.long_tail import arms

SEEDS = range(5)


def measure(options: Options) -> Report:
    """Every arm for every seed."""
    seeds = SEEDS[:2] if options.quick else SEEDS
    report = Report(benchmark="long_tail", seeds=list(seeds))
    torch.set_num_threads(1)
    for seed in options.progress.track(seeds, description="long_tail"):
        row: dict[str, Any] = {"seed": seed}
        report.rows.append(row | {arm: 100.0 * accuracy for arm, accuracy in arms(seed).items()})
    for arm in (key for key in report.rows[0] if key != "seed"):
        mean, spread = mean_and_spread(row[arm] for row in report.rows)
        report.summary.append({"trained on": arm, "balanced accuracy": mean, "±": spread})
    gain, _ = mean_and_spread(row["reweighted"] - row["plain"] for row in report.rows)
    report.require("reweighted − plain, points", gain, ">=", 5.0)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("long_tail", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
