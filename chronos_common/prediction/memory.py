"""Peak memory of a training step, and the risk that a device has not enough of it.

From counts alone: weights, gradients, the optimiser's numbers, what backward keeps, temporaries. The greater of two
moments is the peak: the fullest of forward and backward, or the update. Under automatic mixed precision most
activations are 16-bit and weights have a 16-bit copy; that part is an estimate, float32 is counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chronos_common.errors import BatchTooLargeError
from chronos_common.prediction.counts import Counts, Line
from chronos_common.prediction.devices import DeviceSpec
from chronos_common.prediction.names import OPTIMIZERS, Optimizers, Precision
from chronos_common.prediction.processor import is_processor

CONTEXT_BYTES = 500 * 2**20
"""Driver context and libraries' workspaces on a GPU."""

FRAGMENTATION = 1.04
"""What the caching allocator holds above what is in use."""

SPREAD = 0.08
"""Standard deviation of log(actual / predicted), for the risk."""

REFUSE_ABOVE = 0.9
"""A risk above which a batch is refused."""

LARGEST_BATCH = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one training step.

    Attributes:
        weights: with buffers and, under mixed precision, without 16-bit copies.
        optimizer: its state.
        working: the peak of activations, gradients and temporaries.
        inputs: one batch.
        estimated: whether a part of it is an estimate rather than a count.
    """

    weights: float
    optimizer: float
    working: float
    inputs: float
    estimated: bool

    @property
    def peak(self) -> float:
        """All of it: what tensors hold at the fullest moment."""
        return self.weights + self.optimizer + self.working + self.inputs

    def reserved(self, device: DeviceSpec) -> float:
        """What a process takes on a device: tensors, fragmentation, context."""
        return self.peak * FRAGMENTATION + (0.0 if device.host == "local" else CONTEXT_BYTES)

    def risk(self, device: DeviceSpec) -> float:
        """The probability that the step does not fit, between 0 and 1."""
        distance = math.log(self.reserved(device) / device.memory_bytes) / SPREAD
        return 0.5 * math.erfc(-distance / math.sqrt(2))


def memory_of(
    counts: Counts, batch_size: int, optimizer: Optimizers, precision: Precision, *, processor: bool = False
) -> Memory:
    """The peak of one training step; on a ``processor`` (CPU), with the copies that its library makes."""
    spec = OPTIMIZERS[optimizer]
    width = 2 if precision is Precision.PURE16 else 4
    mixed = precision is Precision.MIXED16
    update = counts.parameters * (1 + spec.temporaries) * width
    lines = [counts.peak_small, counts.peak_large]
    if processor and counts.processor_large != Line():
        lines = [counts.processor_small, counts.processor_large]
    full = max(line.at(batch_size) for line in lines) * width
    if mixed:
        gradients = min(counts.parameters * 4, full)
        full = gradients + (full - gradients) * _mixed_share(counts) + counts.parameters * 2
    return Memory(
        weights=(counts.parameters + counts.frozen_parameters + counts.buffers) * width,
        optimizer=counts.parameters * spec.states * width,
        working=max(full, update),
        inputs=counts.input_elements * batch_size * width,
        estimated=mixed or bool(counts.degraded),
    )


def require_fit(
    counts: Counts, batch_size: int, optimizer: Optimizers, precision: Precision, device: DeviceSpec
) -> Memory:
    """The memory of a step, refused if it cannot fit.

    Raises:
        BatchTooLargeError: names the largest batch that can.
    """
    found = memory_of(counts, batch_size, optimizer, precision, processor=is_processor(device))
    if found.risk(device) <= REFUSE_ABOVE:
        return found
    fits = largest_batch(counts, optimizer, precision, device)
    hint = f"the largest that fits is {fits}" if fits else "not even one sample fits"
    raise BatchTooLargeError(
        f"a step with batch size {batch_size} takes {found.reserved(device) / 2**30:.1f} GiB, and {device.name} has "
        f"{device.memory_gb:g}; {hint}: take a smaller batch, another precision or a larger device",
        batch_size=batch_size,
        largest_batch_size=fits,
        device=device.name,
    )


def largest_batch(counts: Counts, optimizer: Optimizers, precision: Precision, device: DeviceSpec) -> int:
    """The largest batch size with a risk of at most one half; 0 if there is none."""
    low, high, processor = 0, LARGEST_BATCH, is_processor(device)
    while low < high:
        middle = (low + high + 1) // 2
        found = memory_of(counts, middle, optimizer, precision, processor=processor)
        if found.risk(device) <= 0.5:
            low = middle
        else:
            high = middle - 1
    return low


def _mixed_share(counts: Counts) -> float:
    """Activations' bytes under mixed precision relative to float32: normalisations of tokens keep 32 bits."""
    total = (
        counts.norm_elements.per_sample
        + counts.pointwise_elements.per_sample
        + counts.matmul_elements.per_sample
    )
    convolutional = counts.conv_elements.per_sample + counts.grouped_elements.per_sample
    if total <= 0 or convolutional > counts.matmul_elements.per_sample:
        return 0.5
    return 0.5 + 0.5 * counts.norm_elements.per_sample / total
