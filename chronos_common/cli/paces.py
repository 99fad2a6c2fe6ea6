"""Predicted against actual: what the coordinator expected of every piece of work, and what it took.

A :class:`PaceRecorder` looks at a run's views one after the other. A view says how long a worker's last piece of work
took, from checkout to commit, which median was predicted for it, and what band its next one will have. The ratio of
a band to its median does not depend on how much work is given, so the band that was seen before belongs to the
median that is seen after. Where more than one piece of work lies between two looks, only the last one is known, and
without its band.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chronos_common.engine import RunView, WorkerView

NOMINAL: Final = 0.9
"""Share of pieces of work that should lie between p5 and p95."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One piece of work, an inner loop and its hypergradient; seconds from checkout to commit.

    Attributes:
        worker_id: whose.
        version: newest of the run when it was seen.
        actual: seconds that it took.
        p50: predicted median; 0 where nothing was known.
        p95: predicted, exceeded once in twenty times; 0 where no band was seen.
    """

    worker_id: str
    version: int
    actual: float
    p50: float = 0.0
    p95: float = 0.0

    @property
    def p5(self) -> float:
        """The lower end of the band, which is symmetric in log; 0 without one."""
        return self.p50**2 / self.p95 if self.p95 else 0.0

    @property
    def covered(self) -> bool:
        """Whether it lies in its band."""
        return self.p5 <= self.actual <= self.p95

    @property
    def error(self) -> float:
        """|actual - p50| / actual."""
        return abs(self.actual - self.p50) / self.actual


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was predicted and what happened, in the order in which it was seen.

    Attributes:
        loops: pieces of work.
        unseen: accepted commits between two looks, or without a time, whose pieces of work are not among them.
    """

    loops: Sequence[Loop] = ()
    unseen: int = 0

    def workers(self) -> dict[str, list[Loop]]:
        """The pieces of work of each worker, by its name."""
        found: dict[str, list[Loop]] = {}
        for loop in self.loops:
            found.setdefault(loop.worker_id, []).append(loop)
        return dict(sorted(found.items()))

    def to_json(self) -> dict[str, Any]:
        """The section ``prediction`` of a report."""
        return {
            "band": {"low": "p5", "high": "p95", "nominal_coverage": NOMINAL},
            **_figures(self.loops),
            "unseen": self.unseen,
            "workers": {name: _figures(loops) for name, loops in self.workers().items()},
        }


class PaceRecorder:
    """Collects pieces of work from the views of one run."""

    def __init__(self) -> None:
        self._loops: list[Loop] = []
        self._last: dict[str, WorkerView] = {}
        self._unseen = 0

    @property
    def prediction(self) -> Prediction:
        """What was collected so far."""
        return Prediction(loops=tuple(self._loops), unseen=self._unseen)

    def look(self, view: RunView) -> None:
        """Takes what is new since the last look; the first look is the first that counts."""
        for worker in view.workers:
            before = self._last.get(worker.worker_id)
            self._last[worker.worker_id] = worker
            commits = worker.accepted - (before.accepted if before is not None else 0)
            if commits < 1 or (before is None and commits > 1):
                continue
            timed = worker.actual_seconds > 0.0 and (
                before is None or worker.actual_seconds != before.actual_seconds
            )
            self._unseen += commits - timed
            if timed:
                self._loops.append(_loop(view.version, worker, before if commits == 1 else None))


def accuracy_line(prediction: Prediction) -> str:
    """How good the predictions were, for people."""
    found = prediction.to_json()
    if found["mape_percent"] is None:
        return "of no piece of work"
    off = f"p50 off by {found['median_ape_percent']:.0f}% (median; mean {found['mape_percent']:.0f}%)"
    if found["coverage"] is None:
        return f"{off} ({found['loops']} pieces of work)"
    share = f"{found['coverage']:.0%} of {found['with_band']} pieces of work"
    return f"{share} from p5 to p95 (nominal {NOMINAL:.0%}), {off}"


def _loop(version: int, worker: WorkerView, before: WorkerView | None) -> Loop:
    p50, (expected, high) = worker.predicted_seconds, (0.0, 0.0) if before is None else before.next_seconds
    known = p50 > 0.0 and 0.0 < expected <= high and math.isfinite(high)
    return Loop(
        worker_id=worker.worker_id,
        version=version,
        actual=worker.actual_seconds,
        p50=p50,
        p95=p50 * high / expected if known else 0.0,
    )


def _figures(loops: Iterable[Loop]) -> dict[str, Any]:
    loops = list(loops)
    predicted = [loop.error for loop in loops if loop.p50]
    banded = [loop for loop in loops if loop.p95]
    return {
        "loops": len(loops),
        "with_band": len(banded),
        "coverage": _mean([loop.covered for loop in banded]),
        "above_p95": _mean([loop.actual > loop.p95 for loop in banded]),
        "mape_percent": None if not predicted else 100.0 * statistics.fmean(predicted),
        "median_ape_percent": None if not predicted else 100.0 * statistics.median(predicted),
    }


def _mean(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
