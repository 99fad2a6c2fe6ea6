"""One training on many devices: how long, how much, does it fit; a device that cannot is a row that says why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chronos_common.errors import BadWorkloadError, BatchTooLargeError
from chronos_common.prediction.counts import Counts, Line
from chronos_common.prediction.devices import DeviceSpec, devices
from chronos_common.prediction.intervals import Interval
from chronos_common.prediction.memory import largest_batch
from chronos_common.prediction.names import DatasetSpec, Optimizers, Precision
from chronos_common.prediction.predictor import TrainingTimePredictor, require_epochs


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A training, without the device that it runs on.

    Attributes:
        counts: of the model.
        data: what it is trained on.
        batch_size: samples of a step.
        optimizer: its update rule.
        learning_rate: of the optimiser.
        precision: that steps compute in.
        epochs: how many; ``None`` until it stops by itself.
        patience: epochs without improvement after which it does.
    """

    counts: Counts
    data: DatasetSpec
    batch_size: int
    optimizer: Optimizers = Optimizers.ADAMW
    learning_rate: float = 1e-3
    precision: Precision = Precision.FLOAT32
    epochs: int | None = None
    patience: int = 5

    def __post_init__(self) -> None:
        require_epochs(self.epochs)
        lines = [each for each in vars(self.counts).values() if isinstance(each, Line)]
        numbers = [each for each in vars(self.counts).values() if isinstance(each, int | float)]
        numbers += [part for line in lines for part in (line.constant, line.per_sample)]
        if not all(math.isfinite(number) for number in numbers) or not any(
            line.per_sample > 0 for line in lines
        ):
            raise BadWorkloadError(
                "the counts of the model are not those of a training step: a number is not finite, or no sample makes "
                "any work; count the model with chronos_common.prediction.torch.counting",
                field="counts",
            )


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a training is predicted to take on one device.

    Attributes:
        device: with its price.
        step: seconds of a step; ``None``, as all times, where the step cannot fit.
        epoch: seconds of an epoch.
        epochs: until it stops.
        total: seconds until it stops.
        price: of all of it, in USD.
        reserved_bytes: what a process takes of the device's memory; 0 where the step cannot fit.
        memory_risk: the probability that a step does not fit.
        largest_batch_size: that does; 0 if not even one sample.
        compute_seconds: of a step, computing.
        loading_seconds: of a step, waiting for data.
        basis: what the step time rests on; see ``step_time.HEADS``.
        remark: how the answer falls short, or why there is none; empty if neither.
    """

    device: DeviceSpec
    step: Interval | None = None
    epoch: Interval | None = None
    epochs: Interval | None = None
    total: Interval | None = None
    price: Interval | None = None
    reserved_bytes: float = 0.0
    memory_risk: float = 1.0
    largest_batch_size: int = 0
    compute_seconds: float = 0.0
    loading_seconds: float = 0.0
    basis: str = ""
    remark: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain numbers; intervals as ``{"p10", "p50", "p90", "low", "high", "level"}``."""
        intervals = {
            "step_seconds": self.step,
            "epoch_seconds": self.epoch,
            "epochs": self.epochs,
            "total_seconds": self.total,
            "price_usd": self.price,
        }
        return {
            "device": self.device.name,
            "price_per_hour_usd": self.device.price_per_hour,
            **{name: interval_to_json(found) for name, found in intervals.items()},
            "reserved_bytes": self.reserved_bytes,
            "device_bytes": self.device.memory_bytes,
            "memory_risk": self.memory_risk,
            "largest_batch_size": self.largest_batch_size,
            "compute_seconds": self.compute_seconds,
            "loading_seconds": self.loading_seconds,
            "basis": self.basis,
            "remark": self.remark,
        }


def interval_to_json(found: Interval | None) -> dict[str, float] | None:
    """The numbers of an interval by name."""
    if found is None:
        return None
    return {name: float(getattr(found, name)) for name in ("p10", "p50", "p90", "low", "high", "level")}


def predictor_of(work: Workload, gpu: DeviceSpec) -> TrainingTimePredictor:
    """The predictor of a training on a device.

    Raises:
        BadWorkloadError: a number that cannot be.
        BatchTooLargeError: the step cannot fit into the device's memory.
    """
    return TrainingTimePredictor(
        model=work.counts,
        dataset=work.data,
        optimizer=work.optimizer,
        batch_size=work.batch_size,
        learning_rate=work.learning_rate,
        precision=work.precision,
        gpu=gpu,
        patience=work.patience,
    )


def outlook_of(work: Workload, predictor: TrainingTimePredictor) -> Outlook:
    """What a predictor, calibrated or not, says of a training.

    Raises:
        BadWorkloadError: fewer than one epoch.
    """
    step, total = predictor.predict_step(), predictor.predict_total(work.epochs)
    return Outlook(
        device=predictor.device,
        step=step.seconds,
        epoch=step.seconds.scaled(predictor.steps_per_epoch),
        epochs=total.epochs,
        total=total.seconds,
        price=total.price,
        reserved_bytes=predictor.memory.reserved(predictor.device),
        memory_risk=total.memory_risk,
        largest_batch_size=largest_batch(work.counts, work.optimizer, work.precision, predictor.device),
        compute_seconds=step.compute_seconds,
        loading_seconds=step.loading_seconds,
        basis=total.basis,
        remark=total.degraded,
    )


def compare(work: Workload, candidates: Sequence[DeviceSpec] | None = None) -> list[Outlook]:
    """A training on each device, the shortest first; those that it cannot fit come last.

    Args:
        work: the training.
        candidates: by default every row of the table.

    Raises:
        BadWorkloadError: a number that cannot be.
    """
    found = []
    for candidate in devices().values() if candidates is None else candidates:
        try:
            found.append(outlook_of(work, predictor_of(work, candidate)))
        except BatchTooLargeError as error:
            found.append(refused(work, candidate, error))
    return by_duration(found)


def refused(work: Workload, gpu: DeviceSpec, error: BatchTooLargeError) -> Outlook:
    """The row of a device that the training cannot fit."""
    fits = largest_batch(work.counts, work.optimizer, work.precision, gpu)
    return Outlook(device=gpu, largest_batch_size=fits, remark=str(error))


def by_duration(outlooks: Sequence[Outlook]) -> list[Outlook]:
    """The shortest first; those without an answer come last."""
    return sorted(outlooks, key=lambda each: each.total.p50 if each.total else math.inf)
