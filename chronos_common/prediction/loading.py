"""Waiting for data on a machine whose loading `chronos probe` measured, apart from what a step computes.

One process makes batches beside the training, as a ``DataLoader`` with one worker does: what it takes longer than the
step computes is waited for. Then the batch is moved to the device, which nothing hides. The probe makes images of
32 × 32; larger ones take more by their pixels, texts are token ids that only have to be moved.
"""

from __future__ import annotations

from chronos_common.prediction.query import Query

PROBED_PIXELS = 32 * 32
PIXEL_SHARE = 0.11
"""Of the time of a probed image, what grows with its pixels; timed on a CPU for edges of 32 to 224."""

BYTES_OF_A_NUMBER = 4


def measured_wait(query: Query, compute_seconds: float) -> float | None:
    """Seconds that a step waits for data, or ``None`` where nothing was measured or nothing is loaded.

    Args:
        query: the step.
        compute_seconds: of it, computing.
    """
    device, data = query.device, query.data
    if data is None or not device.loading_samples_per_second:
        return None
    sample = (
        1 - PIXEL_SHARE + PIXEL_SHARE * data.side**2 / PROBED_PIXELS
    ) / device.loading_samples_per_second
    making = query.batch_size * sample if data.side else 0.0
    size = query.batch_size * query.counts.input_elements * BYTES_OF_A_NUMBER
    moving = size / (device.transfer_gb_per_second * 1e9) if device.transfer_gb_per_second else 0.0
    return max(0.0, making - compute_seconds) + moving
