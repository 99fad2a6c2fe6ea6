"""Trains the predictor from a data folder: ``python -m chronos_common.prediction.training --data FOLDER``.

``--score`` instead says how well the artefact that is there predicts the step times of a folder, which may hold only
some families: by family and basis in MAPE %, and how many rows lie within their 90 % intervals.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ChronosError, ConfigurationError
from chronos_common.prediction import artefact as artefacts
from chronos_common.prediction.artefact import Artefact
from chronos_common.prediction.step_time import HEADS, Family, StepTime, StepTimeModel
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
        members = {"boosted": made.boosted, "forest": made.forest, "smooth": made.smooth}
        there = {part: member for part, member in members.items() if member is not None}
        heads[head] = {
            "features": list(made.features),
            "members": list(there),
            "shares": list(made.shares),
            "trust": made.trust,
            "errors": made.errors.tolist(),
        }
        for part, member in there.items():
            arrays |= member.arrays(f"{name}.{head}.{part}")
    return {
        "physics": family.physics.to_json(),
        "heads": heads,
        "devices": sorted(family.devices),
        "models": sorted(family.models),
    }


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well an artefact predicts some rows.

    Attributes:
        rows: how many.
        error_percent: mean absolute percentage error.
        coverage: share of rows within their 90 % intervals.
    """

    rows: int
    error_percent: float
    coverage: float

    def __str__(self) -> str:
        within = f"{100 * self.coverage:.0f} % of {self.rows} rows within their 90 % intervals"
        return f"{self.error_percent:.1f} %, {within}"


def score(folder: Path, path: Path) -> dict[str, Score]:
    """How well an artefact predicts the rows of a folder, by family and basis; families without a file are left out.

    Raises:
        ConfigurationError: the folder has no step times.
        ArtefactError: the artefact cannot be read.
    """
    model = StepTimeModel.read(artefacts.read(path))
    there = [name for name in FAMILIES if (folder / f"time_{name}.csv").is_file()]
    found: dict[str, list[tuple[float, bool]]] = {}
    for name in there or FAMILIES:
        known: dict[str, StepTime] = {}
        for row in time_rows(folder, name):
            if row.configuration not in known:
                known[row.configuration] = model.predict(row.query)
            predicted, actual = known[row.configuration], row.total_ms / 1000
            within = predicted.seconds.low <= actual <= predicted.seconds.high
            error = abs(predicted.seconds.p50 / actual - 1)
            found.setdefault(f"{name}, {predicted.basis}", []).append((error, within))
    return {name: _score(pairs) for name, pairs in found.items()}


def _score(pairs: Sequence[tuple[float, bool]]) -> Score:
    errors, within = np.array(pairs, dtype=np.float64).T
    return Score(rows=len(pairs), error_percent=100 * float(errors.mean()), coverage=float(within.mean()))


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
            lines = [f"{name}: {value}" for name, value in score(folder, arguments.artefact).items()]
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
