"""How far off is the predictor, split by split, beside the published method on the same rows?

Ours is trained within each split, its recipes chosen on inner folds (``chronos_common.prediction.training``). Errors
are mean absolute percentages over rows. The rows are not part of this repository: name the folder that holds them.

    python -m benchmarks.prediction --data FOLDER [--processes N] [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._harness import Options, Report, run
from benchmarks.predicting import memory, queries, splits
from chronos_common.errors import ConfigurationError
from chronos_common.prediction.predictor import TrainingTimePredictor, step_time_model
from chronos_common.prediction.step_time import basis
from chronos_common.prediction.training.__main__ import data_folder
from chronos_common.prediction.training.rows import FAMILIES

SEEDS = range(42, 45)
GROUPED, ZERO_SHOT, FEW, MODEL = (
    "grouped by configuration",
    "leave one GPU out",
    "leave one GPU out, 10 measured",
    "leave one model out",
)
BOUNDS: Mapping[str, Sequence[float | None]] = {
    "random 80/10/10": (6.5, 9.0, 6.2),
    GROUPED: (7.2, 14.0, 8.2),
    ZERO_SHOT: (42, 50, 48),
    FEW: (20, 28, 14),
    MODEL: (35, None, 52),
    "epochs, 5-fold": (19, 15, 28),
}
QUERIES = 50


SPLITS = ("grouped", "random", "device", "model", "epochs", "shipped")
"""Parts of the work that are done side by side, the longest first."""


def rows_of(folder: Path, name: str, split: str, seeds: range) -> list[dict[str, Any]]:
    """The rows of one split of a family."""
    if split == "epochs":
        return [{"family": name, **splits.convergence(folder, name, seeds)}]
    family = splits.Family.read(folder, name)
    if split == "random":
        found = [splits.random_split(family, seeds)]
    elif split == "grouped":
        found = [splits.grouped(family, seeds[0])]
    elif split == "shipped":
        found = [same_answers(family)]
    else:
        found = splits.leave_one_out(family, split, f"new_{split}", seeds[0])
    return [{"family": name, **row} for row in found]


def same_answers(family: splits.Family) -> dict[str, Any]:
    """The shipped front door against the path that evaluation takes, and how long a warm question lasts."""
    model = step_time_model().families[family.name]
    chosen = [row.query for row in family.rows[:: max(1, len(family.rows) // QUERIES)]]
    expected = np.array([model.predict([query], basis(model, query))[0][0] for query in chosen]) / 1000
    answers, seconds, own = [], [], []
    for query in chosen:
        began, mine = time.perf_counter(), time.process_time()
        predictor = TrainingTimePredictor(
            model=query.counts, dataset=query.data, optimizer=query.optimizer, batch_size=query.batch_size,
            precision=query.precision, gpu=query.device,
        )  # fmt: skip
        answers.append(predictor.predict_epoch_time() / predictor.steps_per_epoch)
        predictor.predict_total()
        seconds.append(time.perf_counter() - began)
        own.append(time.process_time() - mine)
    worst = float(np.abs(np.array(answers) / expected - 1).max())
    return {
        "split": "shipped API",
        "difference": worst,
        "query ms": 1000 * float(np.median(seconds)),
        "query CPU ms": 1000 * float(np.median(own)),
    }


def measure(folder: Path, processes: int, options: Options) -> Report:
    """Every split of every family."""
    seeds = SEEDS[:1] if options.quick else SEEDS
    report = Report(benchmark="prediction", seeds=list(seeds))
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = {
            (name, split): pool.submit(rows_of, folder, name, split, seeds)
            for split in SPLITS
            for name in FAMILIES
        }
        for part in options.progress.track(parts.values(), description="prediction"):
            part.result()
    for name in FAMILIES:
        report.rows += [row for split in SPLITS for row in parts[name, split].result()]
    report.rows += queries.measure()
    report.rows += memory.measure()
    report.summary = [row for row in report.rows if row["split"] != "memory"]
    require(report)
    return report


def require(report: Report) -> None:
    """The bars."""
    by_name = {(row["split"], row["family"]): row for row in report.summary}
    for split, bounds in BOUNDS.items():
        for name, bound in zip(FAMILIES, bounds, strict=True):
            row = by_name[split, name]
            if bound is not None:
                report.require(f"{split}, {name}: MAPE %", row["MAPE %"], "<=", bound)
            if "published %" in row:
                report.require(
                    f"{split}, {name}: published / ours", row["published %"] / row["MAPE %"], ">=", 1.0
                )
    for name in FAMILIES:
        covered = by_name[GROUPED, name]["coverage"]
        report.require(f"coverage of 90 % intervals, {name}, low", covered, ">=", 0.85)
        report.require(f"coverage of 90 % intervals, {name}, high", covered, "<=", 0.95)
    shipped = [row for row in report.summary if row["split"] == "shipped API"]
    report.require(
        "shipped API against evaluation, relative", max(r["difference"] for r in shipped), "<=", 1e-6
    )
    # Of CPU time: a machine that others use, too, says nothing about the predictor by its clock on the wall.
    warm = [row["query CPU ms"] for row in report.summary if "query CPU ms" in row]
    report.require("warm query, modules included, CPU ms, median", max(warm), "<=", 50)
    worst = max(abs(row["error %"]) for row in report.rows if row["split"] == "memory")
    report.require("memory on the CPU, worst error %", worst, "<=", 10)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    arguments, others = parser.parse_known_args(argv)
    try:
        folder = data_folder(arguments.data)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return run(
        "prediction", __doc__ or "", lambda options: measure(folder, arguments.processes, options), others
    )


if __name__ == "__main__":
    sys.exit(main())
