"""Trains the predictor from a data folder: ``python -m chronos_common.prediction.training --data FOLDER``.

``--score`` instead says how well the artefact that is there predicts the rows of a folder, by family, in MAPE %.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ChronosError, ConfigurationError
from chronos_common.prediction import artefact as artefacts
from chronos_common.prediction.artefact import Artefact
from chronos_common.prediction.step_time import HEADS, Family, StepTimeModel
from chronos_common.prediction.training.epochs import runs_of, train_epochs
from chronos_common.prediction.training.heads import train_family
from chronos_common.prediction.training.rows import FAMILIES, convergence_rows, time_rows
from chronos_common.prediction.training.samples import collapse

VARIABLE = "CHRONOS_PREDICTION_DATA"
SHIPPED = Path(__file__).resolve().parent.parent / "predictor.npz"


def data_folder(given: Path | None) -> Path:
    """The folder of ``--data``, or of the environment.

    Raises:
        ConfigurationError: neither names one; says what it must hold.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is None:
        raise ConfigurationError(
            f"no data: name a folder with --data FOLDER or {VARIABLE} that holds time_FAMILY.csv and "
            f"convergence_FAMILY.csv for {', '.join(FAMILIES)}",
            field="data",
        )
    return named


def train(folder: Path) -> Artefact:
    """Everything, from every row of a folder."""
    about: dict[str, Any] = {"step_time": {}, "epochs": {}}
    arrays: dict[str, NDArray[np.generic]] = {}
    for name in FAMILIES:
        family = train_family(collapse(time_rows(folder, name)), HEADS)
        about["step_time"][name] = step_time_about(name, family, arrays)
        ensemble = train_epochs(runs_of(convergence_rows(folder, name)))
        about["epochs"][name] = {
            "names": list(ensemble.names),
            "share": ensemble.share,
            "errors": ensemble.errors.tolist(),
        }
        arrays |= ensemble.process.arrays(f"epochs.{name}.process")
        arrays |= ensemble.forest.arrays(f"epochs.{name}.forest")
    return Artefact(about=about, arrays=arrays)


def step_time_about(name: str, family: Family, arrays: dict[str, NDArray[np.generic]]) -> dict[str, Any]:
    """What of a family is not an array; its arrays are added to those given."""
    heads = {}
    for head, made in family.heads.items():
        heads[head] = {"features": list(made.features), "trust": made.trust, "errors": made.errors.tolist()}
        for part, trees in (("boosted", made.boosted), ("forest", made.forest)):
            if trees is not None:
                arrays |= trees.arrays(f"{name}.{head}.{part}")
    return {
        "physics": family.physics.to_json(),
        "heads": heads,
        "devices": sorted(family.devices),
        "models": sorted(family.models),
    }


def score(folder: Path, path: Path) -> dict[str, float]:
    """MAPE % of an artefact on the rows of a folder, by family and head."""
    model = StepTimeModel.read(artefacts.read(path))
    found: dict[str, list[float]] = {}
    for name in FAMILIES:
        for row in time_rows(folder, name):
            predicted = model.predict(row.query)
            error = abs(predicted.seconds.p50 * 1000 / row.total_ms - 1)
            found.setdefault(f"{name}, {predicted.basis}", []).append(error)
    return {name: 100 * float(np.mean(errors)) for name, errors in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chronos_common.prediction.training", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=f"measured rows; also {VARIABLE}")
    parser.add_argument(
        "--artefact", type=Path, metavar="FILE", default=SHIPPED, help="what is written, or scored"
    )
    parser.add_argument("--score", action="store_true", help="score the artefact instead of training it")
    arguments = parser.parse_args(argv)
    try:
        folder = data_folder(arguments.data)
        if arguments.score:
            lines = [f"{name}: {value:.1f} %" for name, value in score(folder, arguments.artefact).items()]
        else:
            train(folder).write(arguments.artefact)
            lines = [f"{arguments.artefact}: {arguments.artefact.stat().st_size} bytes"]
    except ChronosError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
