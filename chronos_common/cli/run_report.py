"""What is reported of any run: ``chronos run --report``, and the part of the demo's report that is about its run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chronos_common.cli.paces import PaceRecorder, Prediction
from chronos_common.cli.report_files import write_files
from chronos_common.engine import RunView, VersionRecord, WorkerView

TIMES: Final = ("compute", "wait", "communication")


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """One run, as somebody saw it who followed it.

    Attributes:
        view: the run at its end, as the coordinator counted it.
        seconds: wall clock for which it was followed.
        records: its published versions.
        prediction: what was predicted of each piece of work, and what it took.
    """

    view: RunView
    seconds: float
    records: Sequence[VersionRecord]
    prediction: Prediction

    def to_json(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        return {
            "run_id": self.view.run_id,
            "problem": self.view.config.work.problem,
            "seed": self.view.config.work.seed,
            "workers": len(self.view.workers),
            "status": self.view.status,
            "metrics": dict(self.view.metrics),
            **run_json(self.view, self.seconds, self.prediction),
        }

    def losses(self) -> list[tuple[int, float]]:
        """Outer loss by version; versions without one are left out."""
        found = ((record.version, record.metrics.get("outer_loss")) for record in self.records)
        return [(version, loss) for version, loss in found if loss is not None]

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Writes both files, and returns their paths.

        Raises:
            ConfigurationError: the directory cannot be written to.
        """
        from chronos_common.cli.run_figure import draw

        return write_files(self.to_json(), lambda path: draw(self, path), directory, option="--report")


class RunRecorder:
    """Collects a :class:`RunReport` while a run is followed.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._records: list[VersionRecord] = []
        self._paces = PaceRecorder()

    def record(self, record: VersionRecord) -> None:
        """A version was published."""
        self._records.append(record)

    def look(self, view: RunView) -> None:
        """The run was looked at."""
        self._paces.look(view)

    def report(self, view: RunView) -> RunReport:
        """The report, with the view at the end of the run."""
        self.look(view)
        return RunReport(
            view=view,
            seconds=self._clock() - self._began,
            records=tuple(self._records),
            prediction=self._paces.prediction,
        )


def run_json(view: RunView, seconds: float, prediction: Prediction) -> dict[str, Any]:
    """What every report says of a run.

    Args:
        view: the run at its end.
        seconds: wall clock that it took.
        prediction: what was expected of its workers.
    """
    moved, dense = view.bytes_sent + view.bytes_received, view.bytes_dense
    return {
        "versions": view.version,
        "commits": {
            "accepted": view.accepted,
            "refused": view.refused,
            "skipped": view.skipped,
            "duplicate": view.duplicate,
            "residuals_lost": view.residuals_lost,
        },
        "staleness": {str(versions): count for versions, count in sorted(view.staleness.items())},
        "bytes": {
            "sent": view.bytes_sent,
            "received": view.bytes_received,
            "dense_equivalent": dense,
            "saved_fraction": min(1.0, max(0.0, 1.0 - moved / dense)) if dense else 0.0,
        },
        "seconds": {"total": seconds, **seconds_of(view)},
        "prediction": prediction.to_json(),
    }


def seconds_of(view: RunView) -> dict[str, float]:
    """Seconds of compute, wait and communication, summed over the workers as they reported them."""
    return {kind: sum(of_worker(worker)[kind] for worker in view.workers) for kind in TIMES}


def of_worker(worker: WorkerView) -> dict[str, float]:
    """Where a worker's time went, in seconds, by the names of :data:`TIMES`."""
    return {
        "compute": worker.compute_seconds,
        "wait": worker.wait_seconds,
        "communication": worker.communication_seconds,
    }
