"""Samples of metrics, as clients and as the store know them."""

from __future__ import annotations

from collections.abc import Sequence

from chronos_common.engine import MetricSample
from chronos_common.store import Sample


def to_stored(run_id: str, samples: Sequence[MetricSample], now: float) -> list[Sample]:
    """Samples of a run for the store; those without a time get ``now``, in unix seconds."""
    return [
        Sample(
            run_id=run_id,
            name=s.name,
            worker_id=s.worker_id,
            version=s.version,
            time=s.time or now,
            value=s.value,
        )
        for s in samples
    ]


def from_stored(samples: Sequence[Sample], after_version: int, limit: int) -> list[MetricSample]:
    """At most ``limit`` of them for clients, of versions above one; 0 takes those without a version too."""
    found = [sample for sample in samples if sample.version > after_version or not after_version][:limit]
    return [
        MetricSample(name=s.name, value=s.value, version=s.version, worker_id=s.worker_id, time=s.time)
        for s in found
    ]
