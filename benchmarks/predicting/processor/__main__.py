"""Fits the weights of ``prediction/processor.py`` on this machine: ``python -m benchmarks.predicting.processor``.

Robust least squares on log(measured / predicted), drawn to plausible weights; the spread is that of models left out.
"""

from __future__ import annotations

import json
import sys
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from benchmarks.predicting.processor import developed
from benchmarks.predicting.processor.measuring import Timed, measured
from chronos_common.prediction.processor import LAUNCHES, WORK, terms
from chronos_common.prediction.trees import Floats

NAMES: Final = (*WORK, *LAUNCHES)
PLAUSIBLE: Final = {"norm_bytes": 2.0, "kernels": 2.0, "matmul_kernels": 3.0, "conv_kernels": 10.0}
PLAUSIBLE_UPDATE: Final = {"update_kernels": 2.0, "step": 20.0}
PULL: Final = 0.4
ROUNDS: Final = 7


def fit(rows: list[Timed]) -> dict[str, float]:
    """The weights."""
    work = np.array([[terms(row.query)[name] for name in NAMES] for row in rows])
    target = np.log([row.milliseconds for row in rows])
    centre = np.log([(PLAUSIBLE | PLAUSIBLE_UPDATE).get(name, 1.0) for name in NAMES])

    def residuals(weights: Floats) -> Floats:
        return np.concatenate([np.log(work @ np.exp(weights)) - target, PULL * (weights - centre)])

    found = least_squares(residuals, centre, loss="soft_l1", f_scale=0.2).x
    return {name: float(f"{weight:.3g}") for name, weight in zip(NAMES, np.exp(found), strict=True)}


def left_out(rows: list[Timed]) -> Floats:
    """log(measured / predicted) of each model by weights fitted to the others."""
    errors = []
    for name in dict.fromkeys(row.name for row in rows):
        weights = fit([row for row in rows if row.name != name])
        for row in (row for row in rows if row.name == name):
            predicted = sum(weights[term] * value for term, value in terms(row.query).items())
            errors.append(np.log(row.milliseconds / predicted))
    return np.array(errors)


def main() -> int:
    """Measures, fits, prints."""
    machine, rows = measured(developed.models(), developed.BATCHES, rounds=ROUNDS)
    errors = left_out(rows)
    found = {
        "weights": fit(rows),
        "spread": float(np.quantile(np.abs(errors), 0.9) / 1.645),
        "MAPE % of models left out": float(100 * np.abs(np.expm1(-errors)).mean()),
        "machine": machine.to_json(),
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
