"""What a demo found: plain data, from which report, table and figure are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_common.cli.chaos import Moment
from chronos_common.engine import RunView, WorkerView

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

    def to_json(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        run, times = self.run, self.seconds()
        moved, dense = run.bytes_sent + run.bytes_received, run.bytes_dense
        return {
            "problem": PROBLEM,
            "seed": self.seed,
            "workers": self.workers,
            "noise": self.noise,
            "accuracy": dict(self.accuracy),
            "f1": self.f1,
            "versions": run.version,
            "commits": {
                "accepted": run.accepted,
                "refused": run.refused,
                "skipped": run.skipped,
                "duplicate": run.duplicate,
                "residuals_lost": run.residuals_lost,
            },
            "staleness": {str(versions): count for versions, count in sorted(run.staleness.items())},
            "bytes": {
                "sent": run.bytes_sent,
                "received": run.bytes_received,
                "dense_equivalent": dense,
                "saved_fraction": min(1.0, max(0.0, 1.0 - moved / dense)) if dense else 0.0,
            },
            "seconds": {"total": self.total_seconds, **times},
            "kills": dict(self.kills),
            **({"chaos": [asdict(moment) for moment in self.moments]} if self.moments else {}),
        }

    def seconds(self) -> dict[str, float]:
        """Seconds of compute, wait and communication, summed over the workers as they reported them."""
        return {kind: sum(of_worker(worker)[kind] for worker in self.run.workers) for kind in TIMES}


TIMES = ("compute", "wait", "communication")


def of_worker(worker: WorkerView) -> dict[str, float]:
    """Where a worker's time went, in seconds, by the names of :data:`TIMES`."""
    return {
        "compute": worker.compute_seconds,
        "wait": worker.wait_seconds,
        "communication": worker.communication_seconds,
    }
