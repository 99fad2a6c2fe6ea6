"""What a step-time question is, in numbers: a model's counts, a batch, a precision, an optimiser, a device, data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chronos_common.errors import BadWorkloadError
from chronos_common.prediction.counts import Counts
from chronos_common.prediction.devices import DeviceSpec
from chronos_common.prediction.names import OPTIMIZERS, DatasetSpec, Optimizers, Precision
from chronos_common.prediction.trees import Floats
from chronos_common.runtime.kinds import require_kinds

TENSORS_PER_LAUNCH = 40
"""Tensors that one launch of a fused (foreach) update handles."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """One training step on one device.

    Attributes:
        counts: of the model.
        batch_size: samples in the step.
        optimizer: its update.
        precision: that it computes in.
        device: that it runs on.
        data: where the samples come from; ``None`` where they are in memory already.
    """

    counts: Counts
    batch_size: int
    optimizer: Optimizers
    precision: Precision
    device: DeviceSpec
    data: DatasetSpec | None = None

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.batch_size < 1:
            raise BadWorkloadError(
                f"batch_size is {self.batch_size!r}; it must be a whole number above zero", field="batch_size"
            )

    def terms(self) -> dict[str, float]:
        """Ideal times of the parts of a step in milliseconds: work over peak rate, kernels times launch prior."""
        counts, batch, device = self.counts, self.batch_size, self.device
        width = 4 if self.precision in (Precision.FLOAT32, Precision.TF32) else 2
        mixed = self.precision is Precision.MIXED16
        convolutional = counts.conv_elements.per_sample + counts.grouped_elements.per_sample
        norms = 4 if mixed and convolutional < counts.matmul_elements.per_sample else width
        spec = OPTIMIZERS[self.optimizer]
        per_ms = device.bandwidth_gb_per_second * 1e6
        launch = device.launch_microseconds * 1e-3
        copies = 8 * counts.parameters if mixed else 0.0
        return {
            "matmul": counts.matmul_flops.at(batch) / (device.matmul_tflops(self.precision) * 1e9),
            "conv": counts.conv_flops.at(batch) / (device.conv_tflops(self.precision) * 1e9),
            "grouped": counts.grouped_flops.at(batch) / (device.float32_tflops * 1e9),
            "matmul_bytes": (counts.matmul_elements.at(batch) * width + copies) / per_ms,
            "conv_bytes": counts.conv_elements.at(batch) * width / per_ms,
            "grouped_bytes": counts.grouped_elements.at(batch) * width / per_ms,
            "norm_bytes": counts.norm_elements.at(batch) * norms / per_ms,
            "pointwise_bytes": counts.pointwise_elements.at(batch) * width / per_ms,
            "update_bytes": spec.passes * 4 * counts.parameters / per_ms,
            "kernels": (counts.forward_kernels + counts.backward_kernels) * launch,
            "casts": (counts.matmul_kernels + counts.conv_kernels) * launch * mixed,
            "update_kernels": spec.kernels * max(1.0, counts.parameter_tensors / TENSORS_PER_LAUNCH) * launch,
        }


def raw_features(query: Query) -> dict[str, float]:
    """Everything that trees may ask for, by name; rounded to float32, in which trees are trained."""
    counts, batch, device = query.counts, query.batch_size, query.device
    data = query.data or DatasetSpec(samples=0, classes=0)
    spec = OPTIMIZERS[query.optimizer]
    found = {
        "batch": math.log(batch),
        "mixed": float(query.precision is not Precision.FLOAT32),
        "states": spec.states,
        "update_passes": spec.passes,
        "parameters": math.log(counts.parameters + 1),
        "tensors": math.log(counts.parameter_tensors + 1),
        "kernels": math.log(counts.forward_kernels + counts.backward_kernels + 1),
        "matmul_kernels": math.log(counts.matmul_kernels + 1),
        "conv_kernels": math.log(counts.conv_kernels + 1),
        "matmul_flops": math.log(counts.matmul_flops.at(batch) + 1),
        "conv_flops": math.log(counts.conv_flops.at(batch) + 1),
        "grouped_flops": math.log(counts.grouped_flops.at(batch) + 1),
        "sample_flops": math.log(counts.flops(1) + 1),
        "saved": math.log(counts.saved_elements.at(batch) + 1),
        "norm_elements": math.log(counts.norm_elements.at(batch) + 1),
        "pointwise_elements": math.log(counts.pointwise_elements.at(batch) + 1),
        "side": float(data.side),
        "samples": math.log(data.samples + 1),
        "vocabulary": math.log(data.vocabulary + 1),
        "classes": float(data.classes),
        "files": float(data.files),
        "float32": math.log(device.float32_tflops),
        "half": math.log(device.half_tflops),
        "rate": math.log(device.matmul_tflops(query.precision)),
        "bandwidth": math.log(device.bandwidth_gb_per_second),
        "memory": math.log(device.memory_gb),
        "units": math.log(device.units),
        "clock": math.log(device.clock_mhz),
        "capability": device.capability,
        "tdp": math.log(device.tdp_watts),
        "rented": float(device.host == "rented"),
    }
    return {name: float(np.float32(value)) for name, value in found.items()}


def matrix(rows: list[dict[str, float]], names: tuple[str, ...]) -> Floats:
    """Rows of named features as an array, ``(rows, names)``."""
    return np.array([[row[name] for name in names] for row in rows], dtype=np.float32).astype(np.float64)
