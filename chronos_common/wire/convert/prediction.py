"""Predictions on the wire: workloads, machines, devices, outlooks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Final

from chronos_common.errors import BadWorkloadError, InvalidRequestError
from chronos_common.pb.chronos.v1 import prediction_pb2 as pb
from chronos_common.prediction.catalogue import counts_of
from chronos_common.prediction.comparison import Outlook, Workload
from chronos_common.prediction.counts import Counts, Line
from chronos_common.prediction.devices import DeviceSpec, device, devices
from chronos_common.prediction.intervals import Interval
from chronos_common.prediction.lookup import member_of
from chronos_common.prediction.machine import Machine
from chronos_common.prediction.names import Datasets, DatasetSpec, Models, Optimizers, Precision

_LINES: Final = tuple(each.name for each in fields(Counts) if isinstance(each.default, Line))
_NUMBERS: Final = tuple(each.name for each in fields(Counts) if isinstance(each.default, float))
_RATES: Final = (
    "bandwidth_gb_per_second",
    "launch_microseconds",
    "memory_gb",
    "loading_samples_per_second",
    "loading_gb_per_second",
)
_SPREADS: Final = {
    "step_seconds": "step",
    "epoch_seconds": "epoch",
    "epochs": "epochs",
    "total_seconds": "total",
    "price_usd": "price",
}
_PLAIN: Final = (
    "reserved_bytes", "memory_risk", "largest_batch_size", "compute_seconds", "loading_seconds", "basis", "remark",
)  # fmt: skip


def counts_to_pb(counts: Counts) -> pb.ModelCounts:
    """A model's counts."""
    return pb.ModelCounts(
        lines={name: _line(getattr(counts, name)) for name in _LINES},
        numbers={name: getattr(counts, name) for name in _NUMBERS},
        degraded=counts.degraded,
    )


def counts_from_pb(message: pb.ModelCounts) -> Counts:
    """A model's counts; what is absent is 0, and what this release does not know is left out."""
    lines = {
        name: Line(constant=line.constant, per_sample=line.per_sample)
        for name, line in message.lines.items()
        if name in _LINES
    }
    numbers = {name: number for name, number in message.numbers.items() if name in _NUMBERS}
    return Counts(**lines, **numbers, degraded=message.degraded)  # type: ignore[arg-type]  # names are checked


def workload_to_pb(work: Workload) -> pb.Workload:
    """A training."""
    data = work.data
    return pb.Workload(
        counts=counts_to_pb(work.counts),
        dataset_size=pb.DatasetSize(
            samples=data.samples,
            classes=data.classes,
            side=data.side,
            vocabulary=data.vocabulary,
            files=data.files,
        ),
        batch_size=work.batch_size,
        optimizer=work.optimizer.value,
        learning_rate=work.learning_rate,
        precision=work.precision.value,
        epochs=work.epochs,
        patience=work.patience,
    )


def workload_from_pb(message: pb.Workload) -> Workload:
    """A training.

    Raises:
        UnknownDeviceError: a name that no table holds.
        BadWorkloadError: a number that cannot be, or no model or data set.
    """
    data, name = _data(message)
    return Workload(
        counts=_model(message, name),
        data=data,
        batch_size=message.batch_size,
        optimizer=member_of(Optimizers, message.optimizer or Optimizers.ADAMW.value, "optimizer"),
        learning_rate=message.learning_rate or Workload.learning_rate,
        precision=member_of(Precision, message.precision or Precision.FLOAT32.value, "precision"),
        epochs=message.epochs if message.HasField("epochs") else None,
        patience=message.patience if message.HasField("patience") else Workload.patience,
    )


def machine_to_pb(machine: Machine) -> pb.Machine:
    """A probed machine."""
    return pb.Machine(
        label=machine.label,
        matmul_tflops=dict(machine.matmul_tflops),
        threads=machine.threads,
        torch_version=machine.torch_version,
        **{name: getattr(machine, name) for name in _RATES},
    )


def machine_from_pb(message: pb.Machine) -> Machine:
    """A probed machine; raises ``BadWorkloadError`` for a rate that is not above zero."""
    if len(message.label) > 200 or not message.label:
        raise BadWorkloadError(
            "a machine needs a label of at most 200 characters, such as cpu", field="label"
        )
    return Machine(
        label=message.label,
        matmul_tflops=dict(message.matmul_tflops),
        threads=message.threads,
        torch_version=message.torch_version,
        **{name: getattr(message, name) for name in _RATES},
    )


def asked_devices(names: Iterable[str], machines: Iterable[pb.Machine], most: int) -> list[DeviceSpec]:
    """The devices that a request names; all of the table if none.

    Raises:
        UnknownDeviceError: no device has that name.
        InvalidRequestError: more than ``most``.
    """
    wanted, probed = list(names), list(machines)
    if max(len(wanted), len(probed)) > most:
        raise InvalidRequestError(f"more than {most} devices in one question; ask in parts", field="devices")
    found = [device(name) for name in wanted] + [machine_from_pb(each).device() for each in probed]
    return found or list(devices().values())


def device_to_pb(row: DeviceSpec) -> pb.DeviceRow:
    """A row of the table."""
    return pb.DeviceRow(
        name=row.name,
        half_tflops=row.half_tflops,
        tf32_tflops=row.tf32_tflops,
        float32_tflops=row.float32_tflops,
        bandwidth_gb_per_second=row.bandwidth_gb_per_second,
        memory_gb=row.memory_gb,
        price_per_hour_usd=row.price_per_hour,
    )


def outlook_to_pb(found: Outlook) -> pb.Outlook:
    """An answer."""
    spreads: dict[str, Any] = {
        name: _spread(getattr(found, field)) for name, field in _SPREADS.items() if getattr(found, field)
    }
    return pb.Outlook(
        device=found.device.name,
        device_bytes=found.device.memory_bytes,
        price_per_hour_usd=found.device.price_per_hour,
        **spreads,
        **{name: getattr(found, name) for name in _PLAIN},
    )


def _model(message: pb.Workload, dataset: str) -> Counts:
    chosen = message.WhichOneof("model")
    if chosen == "counts":
        return counts_from_pb(message.counts)
    if chosen is None:
        raise BadWorkloadError(
            "the workload has no model; give its counts or a name of the catalogue", field="model"
        )
    model = member_of(Models, message.catalogue.name, "model")
    if not dataset:
        raise BadWorkloadError(
            "a model of the catalogue is counted for data sets by name; give dataset_name, or the model's counts",
            field="dataset_name",
        )
    return counts_of(model.value, dataset, message.catalogue.width or None)


def _data(message: pb.Workload) -> tuple[DatasetSpec, str]:
    chosen = message.WhichOneof("dataset")
    if chosen == "dataset_name":
        found = member_of(Datasets, message.dataset_name, "dataset")
        return found.about, found.value
    if chosen is None:
        raise BadWorkloadError("the workload has no data set; give its name or its size", field="dataset")
    size = message.dataset_size
    data = DatasetSpec(
        samples=size.samples,
        classes=size.classes,
        side=size.side,
        vocabulary=size.vocabulary,
        files=size.files,
    )
    return data, ""


def _line(line: Line) -> pb.Line:
    return pb.Line(constant=line.constant, per_sample=line.per_sample)


def _spread(found: Interval) -> pb.Spread:
    return pb.Spread(**{name: getattr(found, name) for name in ("p10", "p50", "p90", "low", "high", "level")})


def outlook_from_pb(message: pb.Outlook, row: DeviceSpec) -> Outlook:
    """An answer about a device of this client's table, at the coordinator's price."""
    spreads: dict[str, Any] = {
        field: _interval(getattr(message, name)) for name, field in _SPREADS.items() if message.HasField(name)
    }
    return Outlook(
        device=row.priced(message.price_per_hour_usd),
        **spreads,
        **{name: getattr(message, name) for name in _PLAIN},
    )


def _interval(message: pb.Spread) -> Interval:
    return Interval(
        **{name: getattr(message, name) for name in ("p10", "p50", "p90", "low", "high", "level")}
    )
