"""How far off continued curves are: ``python -m chronos_common.prediction.training.curves --curves FILE``.

Each recorded training is asked about after several numbers of epochs and under several rules of stopping. Some data
sets, and of each other a third of the configurations, are never taught (:func:`part`): they are what is reported on.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from chronos_common.errors import ChronosError
from chronos_common.prediction.artefact import Artefact
from chronos_common.prediction.continuations import Stopping, continued
from chronos_common.prediction.curves import SHARES, CurveModel
from chronos_common.prediction.training.recorded import Curve, Setting, read
from chronos_common.prediction.trees import Floats

SHIPPED: Final = Path(__file__).resolve().parent.parent / "curves.npz"
HELD_DATA: Final = ("source", "spirals", "wine")
TAUGHT, HELD_SETTINGS, HELD_DATA_SETS = "taught", "configurations held out", "data sets held out"
ASKED_AFTER: Final = (3, 5, 7, 10, 15, 20, 30, 50, 80)
RULES: Final = (Stopping(), Stopping(patience=7), Stopping(patience=5, min_delta=1e-3))
GROUPS: Final = 5


def part(setting: Setting) -> str:
    """Whether a configuration is taught, and if not, why not."""
    if setting.data in HELD_DATA:
        return HELD_DATA_SETS
    held = hashlib.sha256(setting.name.encode()).digest()[0] % 3 == 0
    return HELD_SETTINGS if held else TAUGHT


@dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """Questions with answers.

    Attributes:
        predicted: log(1 + epochs beyond the soonest), by continued power laws, ``(rows,)``.
        beyond: what it was, ``(rows,)``.
    """

    predicted: Floats
    beyond: Floats


def lessons(curves: Sequence[Curve]) -> Lessons:
    """What curves teach."""
    rows = [row for curve in curves for row in _of(curve)]
    return Lessons(predicted=np.array([row[0] for row in rows]), beyond=np.array([row[1] for row in rows]))


def _of(curve: Curve) -> Iterator[tuple[float, float]]:
    for rule in RULES:
        stops = rule.epoch(curve.validation)
        for count in ASKED_AFTER:
            if stops is None or count >= stops:
                break
            seen = np.array(curve.validation[:count])
            yield continued(seen, rule), float(np.log1p(stops - rule.soonest(seen)))


def teach(given: Lessons) -> CurveModel:
    """How far power laws are off, by how long they say that a run goes on."""
    edges = np.quantile(given.predicted, np.arange(1, GROUPS) / GROUPS)
    group = np.searchsorted(edges, given.predicted)
    errors = [
        np.quantile((given.beyond - given.predicted)[group == index], SHARES) for index in range(GROUPS)
    ]
    return CurveModel(edges=edges, errors=np.array(errors))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m chronos_common.prediction.training.curves", description=__doc__
    )
    parser.add_argument("--curves", type=Path, metavar="FILE", required=True, help="recorded curves")
    parser.add_argument("--artefact", type=Path, metavar="FILE", default=SHIPPED, help="what is written")
    arguments = parser.parse_args(argv)
    try:
        taught = [curve for curve in read(arguments.curves) if part(curve.setting) == TAUGHT]
    except ChronosError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    model = teach(lessons(taught))
    arrays = {"edges": model.edges, "errors": model.errors}
    Artefact(arrays=arrays).write(arguments.artefact)
    sys.stdout.write(f"{arguments.artefact}: taught by {len(taught)} curves\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
