"""Predicted against measured steps on this machine's processor, for models that nothing was fitted to.

The processor is probed, and the steps of twelve models at three batch sizes are timed (one thread, time of the
process, interleaved rounds, medians). ``zero-shot`` predicts from the probe alone; then 3 and 10 of the measured steps,
which the predictor chooses, calibrate it, and the others are predicted. Errors are mean absolute percentages.

    python -m benchmarks.prediction_cpu [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from benchmarks._harness import Options, Report, run
from benchmarks.predicting.processor import reported
from benchmarks.predicting.processor.measuring import Timed, measured
from chronos_common.prediction.calibration import coordinates, design
from chronos_common.prediction.names import DatasetSpec
from chronos_common.prediction.predictor import TrainingTimePredictor
from chronos_common.prediction.processor import processor_parts
from chronos_common.prediction.trees import Floats

ROUNDS: Final = 9
STEPS: Final = 100
"""Of the epoch that is asked about."""
MEASURED: Final = (0, 3, 10)
BOUNDS: Final = {0: 50.0, 3: 40.0, 10: 30.0}


def measure(options: Options) -> Report:
    """Every model and batch size."""
    report = Report(benchmark="prediction_cpu", seeds=[0])
    with options.progress:
        machine, rows = measured(reported.models(), reported.BATCHES, rounds=3 if options.quick else ROUNDS)
    places = coordinates([row.query for row in rows], processor_parts([row.query for row in rows]))
    found = {count: answers(rows, design(places, count).tolist() if count else []) for count in MEASURED}
    for index, row in enumerate(rows):
        answer = {f"after {count} %": found[count][index] for count in MEASURED}
        report.rows.append(
            {
                "model": row.name,
                "batch size": row.query.batch_size,
                "optimiser": row.query.optimizer.value,
                "measured ms": row.milliseconds,
                "noise": row.noise,
                **{name: value["error %"] for name, value in answer.items() if value is not None},
                "inside 90 %": bool(found[0][index]["inside"]),
            }
        )
    _summarise(report, found, len(rows))
    report.summary[0]["probed GFLOP/s"] = 1000 * machine.matmul_tflops["float32"]
    report.summary[0]["probed GB/s"] = machine.bandwidth_gb_per_second
    report.summary[0]["probed launch us"] = machine.launch_microseconds
    return report


def answers(rows: list[Timed], chosen: list[int]) -> list[Any]:
    """What is predicted of each step that was not chosen for calibration; ``None`` of those that were."""
    known = [(rows[index].query, rows[index].milliseconds / 1000) for index in chosen]
    return [None if index in chosen else _answer(row, known) for index, row in enumerate(rows)]


def _answer(row: Timed, known: list[Any]) -> dict[str, Any]:
    query = row.query
    predictor = TrainingTimePredictor(
        model=query.counts,
        dataset=DatasetSpec(samples=STEPS * query.batch_size, classes=0),
        optimizer=query.optimizer,
        batch_size=query.batch_size,
        gpu=query.device,
    )
    if known:
        predictor.calibrate([(replace(each, data=predictor.data), seconds) for each, seconds in known])
    actual = STEPS * row.milliseconds / 1000
    found = predictor.predict_epoch_interval()
    return {"error %": 100 * (found.p50 / actual - 1), "inside": found.low <= actual <= found.high}


def _summarise(report: Report, found: dict[int, list[Any]], count: int) -> None:
    for points, each in found.items():
        kept = [answer for answer in each if answer is not None]
        errors: Floats = np.array([answer["error %"] for answer in kept])
        report.summary.append(
            {
                "measured steps": points,
                "predicted steps": len(kept),
                "MAPE %": float(np.abs(errors).mean()),
                "median error %": float(np.median(np.abs(errors))),
                "bias %": float(100 * math.expm1(np.log1p(errors / 100).mean())),
                "coverage": float(np.mean([answer["inside"] for answer in kept])),
            }
        )
        name = f"MAPE % after {points} of {count} steps" if points else "MAPE % from the probe alone"
        report.require(name, report.summary[-1]["MAPE %"], "<=", BOUNDS[points])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("prediction_cpu", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
