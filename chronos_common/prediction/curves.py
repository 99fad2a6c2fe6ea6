"""When a run will stop, once its first epochs are in: the validation loss extrapolated, the early stopping replayed.

Curves ``a + b (t + 1)^−c`` are fitted for a grid of exponents and floors by weighted least squares (Domhan et al.,
IJCAI 2015, use such curves; the weight doubles every half of the epochs seen, since the end tells more). Each curve
that fits is continued with noise of the size of its residuals, early stopping is replayed on it, and the epochs at
which the replays stop, weighted by how well their curve fits and by the prior, are the answer's distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chronos_common.errors import BadWorkloadError
from chronos_common.prediction.intervals import Interval
from chronos_common.prediction.trees import Floats

EXPONENTS = tuple(np.geomspace(0.15, 3.0, 14))
REPLAYS = 24
FEWEST = 3


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """The rule by which a run stops.

    Attributes:
        patience: epochs without improvement that are waited for.
        min_delta: the least that counts as an improvement.
        max_epochs: at which it stops anyway.
    """

    patience: int = 5
    min_delta: float = 1e-4
    max_epochs: int = 200

    def epoch(self, losses: Floats) -> int | None:
        """The epoch, counted from one, after which a run with these losses stops; ``None`` if it goes on."""
        best, waited = math.inf, 0
        for index, loss in enumerate(losses, start=1):
            improved = loss < best - self.min_delta
            best, waited = (float(loss), 0) if improved else (best, waited + 1)
            if waited >= self.patience or index >= self.max_epochs:
                return index
        return None


def extrapolate(
    losses: Sequence[float],
    stopping: Stopping,
    prior: Interval | None = None,
    *,
    seed: int = 0,
    level: float = 0.9,
) -> Interval:
    """Epochs until a run stops, from the losses of its first ones.

    Args:
        losses: of validation, one for each epoch that is done; at least :data:`FEWEST`.
        stopping: the rule.
        prior: what was believed before the start, if anything.
        seed: of the replays' noise.
        level: of ``low`` and ``high``.

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
        return _interval(np.full(1, float(stopped)), np.ones(1), level)
    epochs, weights = _replays(seen, stopping, np.random.default_rng(seed))
    if prior is not None:
        spread = max(math.log(prior.p90 / prior.p50) / 1.2816, 0.05)
        weights = weights * np.exp(-0.5 * (np.log(epochs / prior.p50) / spread) ** 2)
    if not weights.sum() > 0:
        weights = np.ones(len(epochs))
    return _interval(epochs, weights, level)


def _replays(seen: Floats, stopping: Stopping, random: np.random.Generator) -> tuple[Floats, Floats]:
    done = np.arange(1, len(seen) + 1, dtype=np.float64)
    future = np.arange(len(seen) + 1, stopping.max_epochs + 1, dtype=np.float64)
    importance = 2.0 ** (2 * (done / len(seen) - 1))
    found, scores = [], []
    for exponent in EXPONENTS:
        basis = np.column_stack([np.ones_like(done), (done + 1) ** -exponent])
        root = np.sqrt(importance)[:, None]
        fitted = np.linalg.lstsq(basis * root, seen * root[:, 0], rcond=None)[0]
        residuals = seen - basis @ fitted
        noise = math.sqrt(float((importance * residuals**2).sum() / importance.sum())) + 1e-6
        curve = np.column_stack([np.ones_like(future), (future + 1) ** -exponent]) @ fitted
        fit = -len(seen) * math.log(noise)
        for _ in range(REPLAYS):
            path = np.concatenate([seen, curve + noise * random.standard_normal(len(future))])
            found.append(float(stopping.epoch(path) or stopping.max_epochs))
            scores.append(fit)
    weights = np.exp(np.array(scores) - max(scores))
    return np.array(found), weights


def _interval(epochs: Floats, weights: Floats, level: float) -> Interval:
    order = np.argsort(epochs)
    ranks = np.cumsum(weights[order]) / weights.sum()

    def at(share: float) -> float:
        return float(epochs[order][min(int(np.searchsorted(ranks, share)), len(epochs) - 1)])

    tail = (1 - level) / 2
    return Interval(p10=at(0.1), p50=at(0.5), p90=at(0.9), low=at(tail), high=at(1 - tail), level=level)
