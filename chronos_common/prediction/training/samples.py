"""Measurements as training sees them: repeats of a configuration, which differ in learning rate only, are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_common.prediction.query import Query
from chronos_common.prediction.training.rows import TimeRow
from chronos_common.prediction.trees import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Configurations with the medians of their repeats, which have outliers.

    Attributes:
        queries: what was measured.
        total_ms: time of a step, ``(configurations,)``.
        compute_ms: of it, without waiting.
        weights: numbers of repeats.
        devices: names in the device table.
        models: names of the models.
        repeats: logs of each repeat's total and which configuration it belongs to.
    """

    queries: list[Query]
    total_ms: Floats
    compute_ms: Floats
    weights: Floats
    devices: NDArray[np.str_]
    models: NDArray[np.str_]
    repeats: tuple[Floats, NDArray[np.intp]]

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, chosen: NDArray[np.intp]) -> Samples:
        """Some of the configurations."""
        logs, owner = self.repeats
        place = np.full(len(self), -1)
        place[chosen] = np.arange(len(chosen))
        kept = place[owner] >= 0
        return Samples(
            queries=[self.queries[index] for index in chosen],
            total_ms=self.total_ms[chosen],
            compute_ms=self.compute_ms[chosen],
            weights=self.weights[chosen],
            devices=self.devices[chosen],
            models=self.models[chosen],
            repeats=(logs[kept], place[owner][kept]),
        )


def collapse(rows: Sequence[TimeRow]) -> Samples:
    """One sample for each configuration."""
    names = [row.configuration for row in rows]
    _, first, owner = np.unique(names, return_index=True, return_inverse=True)
    counts = np.bincount(owner).astype(np.float64)
    logs = np.log([row.total_ms for row in rows])
    chosen = [rows[index] for index in first]
    return Samples(
        queries=[row.query for row in chosen],
        total_ms=_medians(np.array([row.total_ms for row in rows]), owner),
        compute_ms=_medians(np.array([row.compute_ms for row in rows]), owner),
        weights=counts,
        devices=np.array([row.query.device.name for row in chosen]),
        models=np.array([row.model for row in chosen]),
        repeats=(logs, owner),
    )


def _medians(values: Floats, owner: NDArray[np.intp]) -> Floats:
    order = np.argsort(owner, kind="stable")
    starts = np.flatnonzero(np.diff(owner[order], prepend=-1))
    # Of an even number the lower: what disturbs a step makes it longer, never shorter.
    return np.array([np.sort(part)[(len(part) - 1) // 2] for part in np.split(values[order], starts[1:])])
