"""What was reported since training: steps measured on machines, and runs that stopped by themselves.

A value, but for the tables that it fills: every report is an event, and folding the same ones gives the same
answers. :meth:`Experience.to_json` and :meth:`Experience.from_json` keep it across a restart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from chronos_common.errors import ArtefactError, BadWorkloadError, BatchTooLargeError, UnknownDeviceError
from chronos_common.prediction.calibration import Calibration, coordinates
from chronos_common.prediction.comparison import Outlook, Workload, by_duration, outlook_of, refused
from chronos_common.prediction.counts import Counts
from chronos_common.prediction.devices import DeviceSpec
from chronos_common.prediction.epochs import EpochQuery
from chronos_common.prediction.names import DatasetSpec, Optimizers, Precision
from chronos_common.prediction.predictor import TrainingTimePredictor, epoch_model, step_time_model
from chronos_common.prediction.query import Query
from chronos_common.prediction.step_time import family_of, prior_parts
from chronos_common.prediction.trees import Floats

MAX_MACHINES: Final = 1024
MAX_STEPS: Final = 256
"""Of one machine; the newest count."""
MAX_TRAININGS: Final = 256
"""The newest count."""

STEPS: Final = "steps"
TRAINING: Final = "training"


@dataclass(frozen=True, kw_only=True)
class MeasuredStep:
    """A step that somebody timed.

    Attributes:
        work: what was trained.
        seconds: of one step, the median.
    """

    work: Workload
    seconds: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise BadWorkloadError(
                f"a step took {self.seconds!r} seconds; it must be above zero", field="seconds"
            )


@dataclass(frozen=True, kw_only=True)
class _Point:
    """Where a measured step lies, and how far off the prediction was, in log."""

    place: Floats
    residual: float


class Experience:
    """Answers with what was reported."""

    def __init__(self) -> None:
        self._epochs = epoch_model()
        self._points: dict[str, list[_Point]] = {}
        self._reports: dict[str, list[tuple[MeasuredStep, DeviceSpec]]] = {}
        self._trainings: list[tuple[Workload, float]] = []

    @property
    def machines(self) -> tuple[str, ...]:
        """Names of machines that steps were reported of, sorted."""
        return tuple(sorted(self._points))

    def outlooks(self, work: Workload, on: Sequence[DeviceSpec], *, measured_on: str = "") -> list[Outlook]:
        """A training on each device, the shortest first.

        Args:
            work: the training.
            on: the devices.
            measured_on: a machine whose reported steps narrow the answers; empty for none.

        Raises:
            UnknownDeviceError: nothing was reported of that machine.
            BadWorkloadError: a number that cannot be.
        """
        calibration = self._calibration(measured_on) if measured_on else None
        found = []
        for device in on:
            try:
                predictor = self._predictor(work, device)
            except BatchTooLargeError as error:
                found.append(refused(work, device, error))
                continue
            predictor.condition(calibration)
            found.append(outlook_of(work, predictor))
        return by_duration(found)

    def report_steps(self, machine: str, device: DeviceSpec, steps: Sequence[MeasuredStep]) -> int:
        """Takes measured steps in; how many are known of the machine now.

        Raises:
            BadWorkloadError: none were given, a number that cannot be, or too many machines.
        """
        if not steps:
            raise BadWorkloadError("no steps were reported; give at least one", field="steps")
        if machine not in self._points and len(self._points) >= MAX_MACHINES:
            raise BadWorkloadError(
                f"steps of {MAX_MACHINES} machines are known; there is no room for another"
            )
        found = [_point(step, device) for step in steps]
        self._points[machine] = [*self._points.get(machine, []), *found][-MAX_STEPS:]
        reports = [*self._reports.get(machine, []), *((step, device) for step in steps)]
        self._reports[machine] = reports[-MAX_STEPS:]
        return len(self._points[machine])

    def report_training(self, work: Workload, epochs: float) -> int:
        """Takes a training in that stopped by itself; how many are known now.

        Raises:
            BadWorkloadError: it cannot have stopped by itself, or a number that cannot be.
        """
        self._epochs.learn(family_of(work.counts), _epoch_query(work), epochs)
        self._trainings.append((work, epochs))
        if len(self._trainings) > MAX_TRAININGS:
            self._trainings = self._trainings[-MAX_TRAININGS:]
            self._epochs = epoch_model()
            for kept, lasted in self._trainings:
                self._epochs.learn(family_of(kept.counts), _epoch_query(kept), lasted)
        return len(self._trainings)

    def to_json(self) -> dict[str, Any]:
        """Everything that was reported and still counts."""
        steps = [
            steps_to_json(machine, device, [step])
            for machine, reports in sorted(self._reports.items())
            for step, device in reports
        ]
        return {"events": [*steps, *(training_to_json(work, epochs) for work, epochs in self._trainings)]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Experience:
        """The inverse of :meth:`to_json`; raises ``ArtefactError`` for what is none."""
        found = cls()
        try:
            for event in plain["events"]:
                found.apply(event)
        except (KeyError, TypeError) as error:
            raise ArtefactError(f"this is no experience of a predictor: {error!r}") from error
        return found

    def apply(self, event: Mapping[str, Any]) -> int:
        """Folds one report in, as :func:`steps_to_json` or :func:`training_to_json` wrote it.

        Raises:
            ArtefactError: it is neither.
        """
        try:
            if event["kind"] == TRAINING:
                return self.report_training(workload_from_json(event["work"]), float(event["epochs"]))
            steps = [
                MeasuredStep(work=workload_from_json(step["work"]), seconds=float(step["seconds"]))
                for step in event["steps"]
            ]
            return self.report_steps(event["machine"], DeviceSpec(**event["device"]), steps)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"this is no report to a predictor: {error!r}") from error

    def check(self, work: Workload, device: DeviceSpec) -> None:
        """Whether a training can be asked about; nothing changes. Raises as :meth:`outlooks` does."""
        self._predictor(work, device)

    def _calibration(self, machine: str) -> Calibration:
        points = self._points.get(machine)
        if points is None:
            known = ", ".join(self.machines) or "none yet"
            raise UnknownDeviceError(
                f"no steps were reported of a machine {machine!r}; those known are {known}",
                field="measured_on",
            )
        places = np.concatenate([point.place for point in points])
        return Calibration(places=places, residuals=np.array([point.residual for point in points]))

    def _predictor(self, work: Workload, device: DeviceSpec) -> TrainingTimePredictor:
        return TrainingTimePredictor(
            model=work.counts,
            dataset=work.data,
            optimizer=work.optimizer,
            batch_size=work.batch_size,
            learning_rate=work.learning_rate,
            precision=work.precision,
            gpu=device,
            patience=work.patience,
            epochs=self._epochs,
        )


def steps_to_json(machine: str, device: DeviceSpec, steps: Sequence[MeasuredStep]) -> dict[str, Any]:
    """A report of steps as plain numbers."""
    plain = [{"work": workload_to_json(step.work), "seconds": step.seconds} for step in steps]
    return {"kind": STEPS, "machine": machine, "device": asdict(device), "steps": plain}


def training_to_json(work: Workload, epochs: float) -> dict[str, Any]:
    """A report of a training as plain numbers."""
    return {"kind": TRAINING, "work": workload_to_json(work), "epochs": epochs}


def workload_to_json(work: Workload) -> dict[str, Any]:
    """A training as plain numbers."""
    return {
        **{name: getattr(work, name) for name in ("batch_size", "learning_rate", "epochs", "patience")},
        "counts": work.counts.to_json(),
        "data": asdict(work.data),
        "optimizer": work.optimizer.value,
        "precision": work.precision.value,
    }


def workload_from_json(plain: Mapping[str, Any]) -> Workload:
    """The inverse of :func:`workload_to_json`."""
    given = dict(plain)
    given["counts"] = Counts.from_json(given["counts"])
    given["data"] = DatasetSpec(**given["data"])
    given["optimizer"] = Optimizers(given["optimizer"])
    given["precision"] = Precision(given["precision"])
    return Workload(**given)


def _point(step: MeasuredStep, device: DeviceSpec) -> _Point:
    work = step.work
    query = Query(
        counts=work.counts,
        batch_size=work.batch_size,
        optimizer=work.optimizer,
        precision=work.precision,
        device=device,
        data=work.data,
    )
    model = step_time_model()
    parts = prior_parts(model.families[family_of(work.counts)].physics, query)
    residual = math.log(step.seconds / model.predict(query).seconds.p50)
    return _Point(place=coordinates([query], parts), residual=residual)


def _epoch_query(work: Workload) -> EpochQuery:
    return EpochQuery(
        counts=work.counts,
        data=work.data,
        optimizer=Optimizers.MOMENTUM if work.optimizer is Optimizers.SGD else work.optimizer,
        batch_size=work.batch_size,
        learning_rate=work.learning_rate,
        patience=work.patience,
    )
