"""When will a run stop? Predicted after its first epochs, on recorded trainings that taught the predictor nothing.

The curves are our own (``python -m benchmarks.predicting.curves`` records them): small trainings on the CPU, three
seeds of each configuration, early stopping with patience 5. Held out are whole data sets, and a third of the
configurations of the others, all seeds together (``training/curves.py``). ``curves`` is the shipped extrapolation;
``prior`` the ensemble of ``epochs.py``, trained on the same taught runs, before the start; ``line`` continues a line
through the last five losses. Errors are mean absolute percentages of the epoch at which the run stopped, over runs that
still went on.

    python -m benchmarks.prediction_curves [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks._harness import Options, Report, run
from chronos_common.prediction.continuations import Stopping
from chronos_common.prediction.curves import extrapolate
from chronos_common.prediction.epochs import EpochQuery
from chronos_common.prediction.training.curves import HELD_DATA_SETS, HELD_SETTINGS, TAUGHT, part
from chronos_common.prediction.training.epochs import Runs, train_epochs
from chronos_common.prediction.training.recorded import Curve, read
from chronos_common.prediction.trees import Floats

CURVES: Final = Path(__file__).resolve().parent / "results" / "curves.json.gz"
RULE: Final = Stopping()
ASKED_AFTER: Final = (5, 10, 20)
LAST: Final = 5
ARMS: Final = ("curves", "prior", "line")


def measure(options: Options) -> Report:
    """Every held-out run after each number of epochs."""
    curves = read(CURVES)
    taught = [curve for curve in curves if part(curve.setting) == TAUGHT]
    report = Report(benchmark="prediction_curves", seeds=sorted({curve.seed for curve in curves}))
    prior = train_epochs(_runs(taught))
    for name in (HELD_SETTINGS, HELD_DATA_SETS):
        held = [curve for curve in curves if part(curve.setting) == name][:: 5 if options.quick else 1]
        believed = prior.epochs([_query(curve) for curve in held])
        for count in ASKED_AFTER:
            report.rows.append(_row(name, count, held, believed))
    for row in report.rows:
        label = f"{row['held out']}, after {row['epochs seen']}"
        for arm in ARMS[1:]:
            report.require(f"{label}: MAPE %, {arm} / curves", row[f"{arm} %"] / row["curves %"], ">", 1.0)
    for name in (HELD_SETTINGS, HELD_DATA_SETS):
        rows = [row for row in report.rows if row["held out"] == name]
        covered = sum(row["coverage"] * row["runs"] for row in rows) / sum(row["runs"] for row in rows)
        report.require(f"coverage of 90 % intervals, {name}, low", covered, ">=", 0.85)
        report.require(f"coverage of 90 % intervals, {name}, high", covered, "<=", 0.95)
    return report


def _row(name: str, count: int, held: list[Curve], believed: Floats) -> dict[str, Any]:
    errors: dict[str, list[float]] = {arm: [] for arm in ARMS}
    inside, widths = [], []
    for curve, before in zip(held, believed, strict=True):
        stopped = _stopped(curve)
        if stopped <= count:
            continue
        seen = np.array(curve.validation[:count])
        found = extrapolate(curve.validation[:count], RULE)
        for arm, answer in zip(ARMS, (found.p50, float(before), line(seen)), strict=True):
            errors[arm].append(abs(answer / stopped - 1))
        inside.append(found.low <= stopped <= found.high)
        widths.append(found.high / found.low)
    return {
        "held out": name,
        "epochs seen": count,
        "runs": len(inside),
        **{f"{arm} %": 100 * float(np.mean(each)) for arm, each in errors.items()},
        "coverage": float(np.mean(inside)),
        "width": float(np.median(widths)),
    }


def line(seen: Floats) -> float:
    """Where early stopping ends a line through the last losses, which ends at zero."""
    places = np.arange(len(seen) - LAST, len(seen))
    slope, height = np.polyfit(places, seen[-LAST:], 1)
    after = np.maximum(height + slope * np.arange(len(seen), RULE.max_epochs), 0.0)
    return float(RULE.epoch(np.concatenate([seen, after])) or RULE.max_epochs)


def _stopped(curve: Curve) -> int:
    return RULE.epoch(curve.validation) or len(curve.validation)


def _query(curve: Curve) -> EpochQuery:
    setting = curve.setting
    return EpochQuery(
        counts=setting.counts,
        data=setting.about,
        optimizer=setting.optimizer,
        batch_size=setting.batch_size,
        learning_rate=setting.learning_rate,
        patience=RULE.patience,
    )


def _runs(curves: list[Curve]) -> Runs:
    return Runs(
        queries=[_query(curve) for curve in curves],
        epochs=np.array([float(_stopped(curve)) for curve in curves]),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("prediction_curves", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
