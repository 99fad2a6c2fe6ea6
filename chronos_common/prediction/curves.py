"""When a run will stop, once its first epochs are in.

The median is that of continued power laws (``continuations.py``). How far that was off in recorded trainings, signed,
and told apart by how long the run is said to go on beyond the soonest epoch at which it can stop, makes the intervals
(``training/curves.py``). A prior, what was believed before the start, is weighed against that by both widths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np

from chronos_common.errors import ArtefactError, BadWorkloadError
from chronos_common.prediction import artefact
from chronos_common.prediction.artefact import Artefact
from chronos_common.prediction.continuations import Stopping, continued
from chronos_common.prediction.intervals import Interval
from chronos_common.prediction.trees import Floats

FEWEST: Final = 3
SHARES: Final = tuple(float(share) for share in np.round(np.linspace(0.01, 0.99, 50), 3))
"""Of errors, that are kept."""
NORMAL_80: Final = 1.2816

__all__ = ["FEWEST", "CurveModel", "Stopping", "curve_model", "extrapolate"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveModel:
    """What recorded curves taught.

    Attributes:
        edges: of predictions, between groups of errors; ``(groups − 1,)``.
        errors: quantiles of (true − predicted) at :data:`SHARES`, ``(groups, SHARES)``.
    """

    edges: Floats
    errors: Floats

    def quantiles(self, beyond: float, shares: Sequence[float]) -> Floats:
        """Of log(1 + epochs beyond the soonest), around a prediction, which stays the median."""
        errors = self.errors[int(np.searchsorted(self.edges, beyond))]
        moved = np.interp(shares, SHARES, errors)
        asked = np.asarray(shares)
        kept = np.where(
            asked < 0.5, np.minimum(moved, 0.0), np.where(asked > 0.5, np.maximum(moved, 0.0), 0.0)
        )
        found: Floats = np.maximum(beyond + kept, 0.0)
        return found

    @classmethod
    def read(cls, found: Artefact) -> CurveModel:
        """From an artefact.

        Raises:
            ArtefactError: a part is missing.
        """
        try:
            return cls(
                edges=found.arrays["edges"].astype(np.float64),
                errors=found.arrays["errors"].astype(np.float64),
            )
        except KeyError as error:
            raise ArtefactError(f"the artefact of curves has no {error}; train it anew") from error


@cache
def curve_model() -> CurveModel:
    """The shipped one, read once."""
    with files("chronos_common.prediction").joinpath("curves.npz").open("rb") as file:
        return CurveModel.read(artefact.read(file))


def extrapolate(
    losses: Sequence[float],
    stopping: Stopping,
    prior: Interval | None = None,
    *,
    level: float = 0.9,
    model: CurveModel | None = None,
) -> Interval:
    """Epochs until a run stops, from the losses of its first ones.

    Args:
        losses: of validation, one for each epoch that is done; at least :data:`FEWEST`.
        stopping: the rule.
        prior: what was believed before the start, if anything.
        level: of ``low`` and ``high``.
        model: by default the shipped one.

    Raises:
        BadWorkloadError: too few losses, or some that are no numbers.
    """
    seen = np.asarray(losses, dtype=np.float64)
    if len(seen) < FEWEST or not np.isfinite(seen).all():
        raise BadWorkloadError(
            f"{len(seen)} losses, some of them perhaps no numbers; give at least {FEWEST} finite ones",
            field="losses",
        )
    stopped = stopping.epoch(seen)
    if stopped is not None:
        return _epochs([float(stopped)] * 5, level)
    known = model or curve_model()
    beyond = continued(seen, stopping)
    tail = (1 - level) / 2
    found = known.quantiles(beyond, (tail, 0.1, 0.5, 0.9, 1 - tail))
    soonest = stopping.soonest(seen)
    if prior is not None:
        found = _weighed(found, prior, soonest)
    reached = np.minimum(soonest + np.expm1(found), stopping.max_epochs)
    return _epochs([float(epoch) for epoch in reached], level)


def _weighed(found: Floats, prior: Interval, soonest: int) -> Floats:
    """Both answers as normal in log(1 + epochs beyond the soonest), their product."""
    believed = [math.log1p(max(epoch - soonest, 0.0)) for epoch in (prior.p10, prior.p50, prior.p90)]
    own = max((found[3] - found[1]) / (2 * NORMAL_80), 0.05)
    other = max((believed[2] - believed[0]) / (2 * NORMAL_80), 0.05)
    share = own**2 / (own**2 + other**2)
    centre = found[2] + share * (believed[1] - found[2])
    narrowed: Floats = np.maximum(centre + (found - found[2]) * math.sqrt(1 - share), 0.0)
    return narrowed


def _epochs(reached: Sequence[float], level: float) -> Interval:
    low, p10, p50, p90, high = reached
    return Interval(p10=p10, p50=p50, p90=p90, low=low, high=high, level=level)
