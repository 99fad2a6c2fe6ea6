"""What a demo found: plain data, from which report, table and figure are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_common.cli.chaos import Moment
from chronos_common.cli.paces import Prediction
from chronos_common.cli.run_report import run_json
from chronos_common.engine import RunView

PROBLEM = "hypercleaning"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Figures by version: outer loss and test accuracy (a fraction), measured at the version before."""

    versions: Sequence[int]
    outer_loss: Sequence[float]
    test_accuracy: Sequence[float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """One demo.

    Attributes:
        noise: probability that a training label was flipped.
        seed: seed of the data and of the run.
        workers: number of worker processes.
        accuracy: test accuracy of every arm, a fraction.
        f1: of the learnt cleaning; positive = clean.
        weights: learnt weights σ(λ) of the training samples, shape ``(800,)``.
        clean: which training labels are right, shape ``(800,)``, bool.
        curves: by arm: ``"chronos"``, ``"single_node"`` and ``"control"``.
        run: the run of the arm ``"chronos"`` at its end, as the coordinator counted it.
        total_seconds: wall clock of that run, from its creation to its last version.
        kills: processes that were killed from outside, by kind.
        moments: what was done to processes while ``"chronos"`` ran.
        prediction: what was predicted of its workers, and what they took.
    """

    noise: float
    seed: int
    workers: int
    accuracy: Mapping[str, float]
    f1: float
    weights: NDArray[np.float64]
    clean: NDArray[np.bool_]
    curves: Mapping[str, Curve]
    run: RunView
    total_seconds: float
    kills: Mapping[str, int]
    moments: Sequence[Moment] = ()
    prediction: Prediction = field(default_factory=Prediction)

    def to_json(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        return {
            "problem": PROBLEM,
            "seed": self.seed,
            "workers": self.workers,
            "noise": self.noise,
            "accuracy": dict(self.accuracy),
            "f1": self.f1,
            **run_json(self.run, self.total_seconds, self.prediction),
            "kills": dict(self.kills),
            **({"chaos": [asdict(moment) for moment in self.moments]} if self.moments else {}),
        }
