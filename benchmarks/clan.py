"""Does a clan train better than what one would do without it, for the same samples, the same FLOPs, the same time?

Per task and seed every arm of ``benchmarks.population.arms`` trains 8 members from the same weights: character model
(``lm``), digits with wrong labels (``digits``), and spirals, which was not looked at while the algorithm was developed.
*Equal samples*: all arms take the same number of steps. *Equal FLOPs*: arms that evaluate pay for it with steps (a
training sample costs 3 forward passes, an evaluated one 1; choosing the best member at the end is free for all).
*Equal seconds*: CPU seconds of one process in which all members are one batch of tensors; each arm takes as many steps
as fit in the time that the probe with data-parallel training takes. That counts what decisions and averages cost,
but no communication between processes. Reported is the test loss of the member with the best validation loss.

Ray Tune and Optuna are looked for in PYTHONPATH (see ``benchmarks/population/peers``). Ray starts its own processes.

    PYTHONPATH=.peers python -m benchmarks.clan [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from benchmarks._harness import Options, Report, run
from benchmarks.population.bars import require
from benchmarks.population.plan import jobs
from benchmarks.population.summary import summarise

SEEDS = range(10)
"""Development used seeds from 100."""


def measure(options: Options) -> Report:
    """Every arm on every task for every seed; arms with processes of their own last, one by one."""
    seeds = SEEDS[:2] if options.quick else SEEDS
    found = list(jobs(seeds, quick=options.quick))
    together = [job for job in found if not job.alone]
    rows: list[dict[str, Any]] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_prepare) as pool:
        running = [pool.submit(job.rows) for job in together]
        for done in options.progress.track(running, description="clan"):
            rows += done.result()
    _prepare()
    for alone in options.progress.track([job for job in found if job.alone], description="Ray Tune"):
        rows += alone.rows()
    return reported(rows, seeds, quick=options.quick)


def reported(rows: Sequence[dict[str, Any]], seeds: Sequence[int], *, quick: bool) -> Report:
    """The report on rows, wherever they were made."""
    report = Report(benchmark="clan", seeds=list(seeds), rows=list(rows), summary=summarise(rows))
    require(report, quick=quick)
    return report


def _prepare() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("clan", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
