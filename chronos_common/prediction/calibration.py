"""Fits the predictor to one machine: from a few measured steps, and from every step that a worker takes.

:class:`Calibration` conditions a small Gaussian process on ``log(measured / predicted)`` over what distinguishes
steps: how much the device does, how much is launched, how much is waited for, the precision. Its constant part has a
wide prior, so that the first point moves everything. :func:`design` says which steps are worth measuring.
:class:`Online` follows one workload on one worker by exponentially weighted moments in log.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import BadWorkloadError
from chronos_common.prediction.gaussian import squared_distances
from chronos_common.prediction.intervals import Interval
from chronos_common.prediction.names import Precision
from chronos_common.prediction.physics import Parts
from chronos_common.prediction.query import Query
from chronos_common.prediction.trees import Floats

LENGTH = 3.0
SHAPE_SPREAD = 0.5
CONSTANT_SPREAD = 1.0
NOISE = 0.1

NORMAL_80, NORMAL_90 = 1.2816, 1.6449


def coordinates(queries: Sequence[Query], parts: Parts) -> Floats:
    """What distinguishes steps, ``(rows, 4)``: logs of device, launch and relative waiting time, and precision."""
    mixed = np.array([float(query.precision is not Precision.FLOAT32) for query in queries])
    waiting = np.log(parts.loading / parts.compute + 0.01)
    return np.column_stack([np.log(parts.device), np.log(parts.launch), 2 * mixed, waiting])


def design(places: Floats, count: int) -> NDArray[np.intp]:
    """Which of some steps to measure: the middle one, then always the one farthest from those chosen."""
    scaled = (places - places.mean(axis=0)) / np.maximum(places.std(axis=0), 1e-9)
    chosen = [int(np.argmin((scaled**2).sum(axis=1)))]
    distance = squared_distances(scaled, scaled[chosen])[:, 0]
    while len(chosen) < min(count, len(places)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, squared_distances(scaled, scaled[chosen[-1:]])[:, 0])
    return np.array(chosen)


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What was measured on a machine.

    Attributes:
        places: of the measured steps; see :func:`coordinates`.
        residuals: log(measured / predicted) of each.
    """

    places: Floats
    residuals: Floats

    def __post_init__(self) -> None:
        if (
            not len(self.residuals)
            or len(self.residuals) != len(self.places)
            or not np.isfinite(self.residuals).all()
        ):
            raise BadWorkloadError("a calibration needs at least one measured step, with a time above zero")

    def correction(self, places: Floats) -> tuple[Floats, Floats]:
        """log factor of the prediction and its standard deviation, ``(rows,)`` each."""
        gram = _kernel(self.places, self.places) + NOISE**2 * np.eye(len(self.residuals))
        across = _kernel(places, self.places)
        solved = np.linalg.solve(gram, np.column_stack([self.residuals, across.T]))
        variance = SHAPE_SPREAD**2 + CONSTANT_SPREAD**2 + NOISE**2
        left = variance - np.einsum("ij,ji->i", across, solved[:, 1:])
        return across @ solved[:, 0], np.sqrt(np.maximum(left, NOISE**2))


def _kernel(left: Floats, right: Floats) -> Floats:
    shape = SHAPE_SPREAD**2 * np.exp(-0.5 * squared_distances(left, right) / LENGTH**2)
    return shape + CONSTANT_SPREAD**2


@dataclass(frozen=True, kw_only=True)
class Online:
    """The pace of one workload on one worker, told by its steps; immutable.

    Begins at a prediction, whose doubt counts as few observations; each step moves the centre less, down to the share
    that forgetting keeps (a machine may slow down). One step that took ten times as long moves it by a bounded amount.

    Attributes:
        log_seconds: the centre, log of a step's seconds.
        spread: standard deviation of a step in log.
        doubt: standard deviation of the centre in log.
        steps: observed.
    """

    log_seconds: float
    spread: float
    doubt: float
    steps: int = 0

    @classmethod
    def begin(cls, predicted: Interval, *, spread: float = 0.1) -> Online:
        """From a prediction."""
        doubt = max(math.log(predicted.p90 / predicted.p50) / NORMAL_80, 1e-3)
        return cls(log_seconds=math.log(predicted.p50), spread=spread, doubt=doubt)

    def observe(self, seconds: float, *, forget: float = 0.02, limit: float = 3.0) -> Online:
        """After one step.

        Raises:
            BadWorkloadError: the time is not a number above zero.
        """
        if not (math.isfinite(seconds) and seconds > 0):
            raise BadWorkloadError(f"a step took {seconds!r} seconds; it must be above zero", field="seconds")
        surprise = math.log(seconds) - self.log_seconds
        expected = math.hypot(self.doubt, self.spread)
        bounded = max(-limit * expected, min(limit * expected, surprise))
        gain = max(self.doubt**2 / expected**2, forget)
        variance = (1 - 0.1) * self.spread**2 + 0.1 * bounded**2 if self.steps else self.spread**2
        return replace(
            self,
            log_seconds=self.log_seconds + gain * bounded,
            doubt=self.doubt * math.sqrt(1 - gain) if gain > forget else self.doubt,
            spread=max(math.sqrt(variance), 1e-3),
            steps=self.steps + 1,
        )

    def interval(self, *, count: int = 1) -> Interval:
        """Seconds that ``count`` steps take."""
        wide = math.hypot(self.doubt, self.spread / math.sqrt(count))
        centre = math.exp(self.log_seconds) * count
        eighty, ninety = math.exp(NORMAL_80 * wide), math.exp(NORMAL_90 * wide)
        return Interval(
            p10=centre / eighty, p50=centre, p90=centre * eighty, low=centre / ninety, high=centre * ninety
        )
