"""The front door: how long a training takes, until when, on what, in how much memory, for how much money.

Offline and without data. A model of the catalogue needs no torch; a module is counted once, when the predictor is
made (``chronos_common.prediction.torch.counting``), and asked about as often as one likes.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from chronos_common.errors import BadWorkloadError
from chronos_common.prediction.arguments import (
    catalogued,
    dataset_of,
    model_of,
    optimizer_of,
    precision_of,
    shape_of_samples,
)
from chronos_common.prediction.artefact import shipped
from chronos_common.prediction.calibration import NORMAL_80, NORMAL_90, Calibration, coordinates
from chronos_common.prediction.counts import Counts
from chronos_common.prediction.devices import Devices, DeviceSpec, device
from chronos_common.prediction.epochs import EpochModel, EpochQuery
from chronos_common.prediction.intervals import Interval
from chronos_common.prediction.memory import Memory, require_fit
from chronos_common.prediction.names import Datasets, DatasetSpec, Models, Optimizers, Precision
from chronos_common.prediction.physics import Parts
from chronos_common.prediction.query import Query
from chronos_common.prediction.step_time import StepTime, StepTimeModel, family_of, prior_parts
from chronos_common.runtime.kinds import require_kinds


@dataclass(frozen=True, kw_only=True)
class Total:
    """A whole training.

    Attributes:
        seconds: until it stops.
        epochs: until it stops.
        price: in USD, at the device's price per hour.
        memory: of a step.
        memory_risk: the probability that a step does not fit.
        basis: what the step time rests on; see ``step_time.HEADS``.
        degraded: how the answer falls short, in words; empty if it does not.
    """

    seconds: Interval
    epochs: Interval
    price: Interval
    memory: Memory
    memory_risk: float
    basis: str
    degraded: str


@cache
def step_time_model() -> StepTimeModel:
    """The shipped model of step times, read once."""
    return StepTimeModel.read(shipped())


def epoch_model() -> EpochModel:
    """The shipped prior of epochs, read anew: what runs teach it stays with whoever asked."""
    return EpochModel.read(shipped())


class TrainingTimePredictor:
    """Answers for one training on one device.

    Args:
        model: of the catalogue (or its name), counts, or any ``nn.Module``.
        dataset: of the table (or its name), its description, a ``Dataset`` with a length, or a number of samples.
        optimizer: its update rule: one of the table, its name, torch's class or an instance of it.
        batch_size: samples in a step.
        learning_rate: of the optimiser.
        precision: that steps compute in; names such as ``"bf16-mixed"`` and torch's dtypes are understood.
        gpu: a row of the device table, a name that means one, or a device of one's own.
        width: of an MLP-like model of the catalogue.
        input_shape: of one sample without the batch, where the model is a module; by default that of the data set's
            first sample, where it has one to look at.
        input_dtype: of the inputs of a module; by default the first sample's, or ``torch.float32``.
        patience: epochs without improvement after which the run stops.
        epochs: finished-run feedback; by default the shipped prior.

    Raises:
        UnknownDeviceError: nothing is known by one of the names.
        BadWorkloadError: a number that cannot be, or no shape of inputs.
        BatchTooLargeError: the step cannot fit into the device's memory.
        UncountableModuleError: the module cannot be run with that shape.
    """

    def __init__(
        self,
        *,
        model: Models | Counts | str | Any,
        dataset: Datasets | DatasetSpec | int | str | Any,
        optimizer: Optimizers | str | Any = Optimizers.ADAMW,
        batch_size: int,
        learning_rate: float = 1e-3,
        precision: Precision | str | Any = Precision.FLOAT32,
        gpu: Devices | str | DeviceSpec,
        width: int | None = None,
        input_shape: Sequence[int] | None = None,
        input_dtype: Any = None,
        patience: int = 5,
        epochs: EpochModel | None = None,
    ) -> None:
        self.device = device(gpu)
        model, dataset = model_of(model), dataset_of(dataset)
        optimizer, precision = optimizer_of(optimizer), precision_of(precision)
        self.data = _data(dataset)
        if isinstance(model, Models):
            self.counts, self.data = catalogued(model, dataset, width, self.data.samples)
        else:
            self.counts = _counts(model, dataset, input_shape, input_dtype)
        self.query = Query(
            counts=self.counts,
            batch_size=batch_size,
            optimizer=optimizer,
            precision=precision,
            device=self.device,
            data=self.data,
        )
        self.epoch_query = EpochQuery(
            counts=self.counts,
            data=self.data,
            optimizer=Optimizers.MOMENTUM if optimizer is Optimizers.SGD else optimizer,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patience=patience,
        )
        self.memory = require_fit(self.counts, batch_size, optimizer, precision, self.device)
        self._epochs = epochs or epoch_model()
        self._calibration: Calibration | None = None

    def calibrate(self, measured: Sequence[tuple[Query, float]]) -> None:
        """Takes steps in that were measured on the machine asked about: questions and seconds.

        Raises:
            BadWorkloadError: none were given, or a time is not above zero.
        """
        if any(not seconds > 0 for _, seconds in measured):
            raise BadWorkloadError("a measured step time is not above zero", field="measured")
        predicted = np.array([step_time_model().predict(query).seconds.p50 for query, _ in measured])
        places = np.concatenate(
            [coordinates([query], self._parts(query)) for query, _ in measured] or [np.zeros((0, 4))]
        )
        residuals = np.log(np.array([seconds for _, seconds in measured]) / predicted)
        self._calibration = Calibration(places=places, residuals=residuals)

    def condition(self, calibration: Calibration | None) -> None:
        """Takes a calibration over that was made before, or lets go of the one it has."""
        self._calibration = calibration

    def predict_step(self) -> StepTime:
        """One training step."""
        found = step_time_model().predict(self.query)
        if self._calibration is None:
            return found
        moved, spread = self._calibration.correction(coordinates([self.query], self._parts(self.query)))
        factor, wide = math.exp(moved[0]), float(spread[0])
        centre = found.seconds.p50 * factor
        eighty, ninety = math.exp(NORMAL_80 * wide), math.exp(NORMAL_90 * wide)
        return replace(
            found,
            seconds=Interval(
                p10=centre / eighty, p50=centre, p90=centre * eighty, low=centre / ninety, high=centre * ninety
            ),
            compute_seconds=found.compute_seconds * factor,
            loading_seconds=found.loading_seconds * factor,
            basis="calibrated",
        )  # fmt: skip

    def predict_epoch_interval(self) -> Interval:
        """Seconds of an epoch, with their spread."""
        return self.predict_step().seconds.scaled(self.steps_per_epoch)

    def predict_epoch_time(self) -> float:
        """Seconds of an epoch, the median."""
        return self.predict_epoch_interval().p50

    def predict_number_of_epochs(self) -> float:
        """Epochs until early stopping, patience included, the median."""
        return self.predict_epochs_interval().p50

    def predict_epochs_interval(self) -> Interval:
        """Epochs until early stopping, with their spread."""
        return self._epochs.predict(family_of(self.counts), self.epoch_query)

    def predict_total(self, epochs: int | None = None) -> Total:
        """The whole training, for a number of epochs or until it stops by itself.

        Raises:
            BadWorkloadError: fewer than one epoch.
        """
        require_epochs(epochs)
        lasting = _exactly(float(epochs)) if epochs is not None else self.predict_epochs_interval()
        step = self.predict_step()
        seconds = product(step.seconds.scaled(self.steps_per_epoch), lasting)
        return Total(
            seconds=seconds,
            epochs=lasting,
            price=seconds.scaled(self.device.price_per_hour / 3600),
            memory=self.memory,
            memory_risk=self.memory.risk(self.device),
            basis=step.basis,
            degraded=self.counts.degraded,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch, a last incomplete one included."""
        return math.ceil(self.data.samples / self.query.batch_size)

    def _parts(self, query: Query) -> Parts:
        return prior_parts(step_time_model().families[family_of(query.counts)].physics, query)


def require_epochs(epochs: int | None) -> None:
    """A number of epochs that a training can have; ``None`` means until it stops by itself.

    Raises:
        BadWorkloadError: fewer than one, or not a number.
    """
    if epochs is not None and (isinstance(epochs, bool) or not 1 <= epochs < math.inf):
        raise BadWorkloadError(f"{epochs} epochs take no time; ask for one or more", field="epochs")


def product(left: Interval, right: Interval) -> Interval:
    """Of two answers that err independently: their distances from the middle add in quadrature, in log."""

    def reach(name: str) -> float:
        return math.hypot(*(math.log(getattr(each, name) / each.p50) for each in (left, right)))

    centre = left.p50 * right.p50
    return Interval(
        p10=centre * math.exp(-reach("p10")),
        p50=centre,
        p90=centre * math.exp(reach("p90")),
        low=centre * math.exp(-reach("low")),
        high=centre * math.exp(reach("high")),
        level=left.level,
    )


def _exactly(value: float) -> Interval:
    return Interval(p10=value, p50=value, p90=value, low=value, high=value)


def _data(dataset: Any) -> DatasetSpec:
    if isinstance(dataset, Datasets):
        return dataset.about
    if isinstance(dataset, DatasetSpec):
        found = dataset
    else:
        size = dataset if isinstance(dataset, int) and not isinstance(dataset, bool) else _length(dataset)
        found = DatasetSpec(samples=size, classes=0)
    require_kinds(found)
    if found.samples < 1:
        raise BadWorkloadError(
            f"a data set of {found.samples} samples; it must have at least one", field="dataset"
        )
    return found


def _length(dataset: Any) -> int:
    try:
        return len(dataset)
    except TypeError as error:
        raise BadWorkloadError(
            f"{type(dataset).__name__} is no data set with a length; give one of Datasets, a DatasetSpec or the number "
            f"of samples",
            field="dataset",
        ) from error


def _counts(model: Any, dataset: Any, shape: Sequence[int] | None, dtype: Any) -> Counts:
    if isinstance(model, Counts):
        return model
    if shape is None:
        found = shape_of_samples(dataset)
        if found is None:
            raise BadWorkloadError(
                "a module needs the input_shape of one sample, without the batch; a data set whose samples "
                "begin with a tensor says it by itself",
                field="input_shape",
            )
        shape, dtype = found[0], dtype or found[1]
    # By name: who has a module has torch, and a coordinator, which imports this file, must not.
    remembered = importlib.import_module("chronos_common.prediction.torch.remembered").remembered
    torch = importlib.import_module("torch")
    counts: Counts = remembered.count(model, shape, dtype or torch.float32)
    return counts
