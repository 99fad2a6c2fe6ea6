"""The prior of a step on a processor (CPU): a sum, since operations run one after the other.

A GPU works behind the process that feeds it, so that the longer of two times counts; a processor does one thing at a
time. Updates are one small operation for each tensor: ``foreach`` is for GPUs. What a batch is made of is taken to be
in memory. The weights were fitted to steps of small models on one machine, relative to what `chronos probe` measured
on it (``python -m benchmarks.predicting.processor`` fits them anew); none of those models is reported on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from types import MappingProxyType
from typing import Final

import numpy as np

from chronos_common.prediction.devices import DeviceSpec
from chronos_common.prediction.intervals import LEVELS
from chronos_common.prediction.names import OPTIMIZERS, Precision
from chronos_common.prediction.physics import Parts
from chronos_common.prediction.query import Query
from chronos_common.prediction.trees import Floats

WORK: Final = (
    "matmul",
    "conv",
    "grouped",
    "matmul_bytes",
    "conv_bytes",
    "grouped_bytes",
    "norm_bytes",
    "pointwise_bytes",
    "update_bytes",
)
LAUNCHES: Final = ("kernels", "matmul_kernels", "conv_kernels", "update_kernels", "step")

WEIGHTS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "matmul": 1.29,
        "conv": 1.51,
        "grouped": 1.02,
        "matmul_bytes": 1.06,
        "conv_bytes": 1.22,
        "grouped_bytes": 1.04,
        "norm_bytes": 6.64,
        "pointwise_bytes": 1.53,
        "update_bytes": 2.11,
        "kernels": 1.27,
        "matmul_kernels": 2.82,
        "conv_kernels": 105.0,
        "update_kernels": 2.38,
        "step": 90.4,
    }
)
"""One over the share of the probed rate that is reached; of launches, how many small operations each one costs."""

SPREAD: Final = 0.37
"""Standard deviation of log(measured / predicted) for models that the weights were not fitted to."""

ERRORS: Final[Floats] = np.array([SPREAD * NormalDist().inv_cdf(0.5 + level / 2) for level in LEVELS])
"""Half-widths in log; see ``intervals.py``."""


def is_processor(device: DeviceSpec) -> bool:
    """Whether a device is the host's processor: the table's row, or a probed one."""
    return device.name.partition(":")[0].lower() == "cpu"


def terms(query: Query) -> dict[str, float]:
    """Ideal times of the parts of a step in milliseconds: work over probed rates, operations times launch."""
    counts, batch, device = query.counts, query.batch_size, query.device
    width = 4 if query.precision in (Precision.FLOAT32, Precision.TF32) else 2
    spec = OPTIMIZERS[query.optimizer]
    per_ms = device.bandwidth_gb_per_second * 1e6
    rate = device.matmul_tflops(query.precision) * 1e9
    launch = device.launch_microseconds * 1e-3
    return {
        "matmul": counts.matmul_flops.at(batch) / rate,
        "conv": counts.conv_flops.at(batch) / rate,
        "grouped": counts.grouped_flops.at(batch) / rate,
        "matmul_bytes": counts.matmul_elements.at(batch) * width / per_ms,
        "conv_bytes": counts.conv_elements.at(batch) * width / per_ms,
        "grouped_bytes": counts.grouped_elements.at(batch) * width / per_ms,
        "norm_bytes": counts.norm_elements.at(batch) * width / per_ms,
        "pointwise_bytes": counts.pointwise_elements.at(batch) * width / per_ms,
        "update_bytes": spec.passes * 4 * counts.parameters / per_ms,
        "kernels": (counts.forward_kernels + counts.backward_kernels) * launch,
        "matmul_kernels": counts.matmul_kernels * launch,
        "conv_kernels": counts.conv_kernels * launch,
        "update_kernels": spec.kernels * counts.parameter_tensors * launch,
        "step": launch,
    }


def processor_parts(queries: Sequence[Query], weights: Mapping[str, float] = WEIGHTS) -> Parts:
    """The prior of some steps on processors."""
    found = [terms(query) for query in queries]

    def total(names: tuple[str, ...]) -> Floats:
        return np.array([sum(weights[name] * row[name] for name in names) for row in found])

    return Parts(device=total(WORK), launch=total(LAUNCHES), loading=np.zeros(len(found)), corner=1)
