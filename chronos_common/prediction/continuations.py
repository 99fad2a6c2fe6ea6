"""The first epochs of a run, continued by power laws, with early stopping replayed on what follows.

Curves ``a + b (t + 1)^−c`` are fitted for a grid of exponents by weighted least squares (Domhan et al., IJCAI 2015,
use such curves; the weight doubles every half of the epochs seen, since the end tells more). Each is continued with
noise of the size of its residuals, and early stopping is replayed on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from chronos_common.prediction.trees import Floats

EXPONENTS: Final = tuple(np.geomspace(0.15, 3.0, 14))
REPLAYS: Final = 24


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

    def epoch(self, losses: Floats | Sequence[float]) -> int | None:
        """The epoch, counted from one, after which a run with these losses stops; ``None`` if it goes on."""
        for index, (_, waited) in enumerate(self._followed(losses), start=1):
            if waited >= self.patience or index >= self.max_epochs:
                return index
        return None

    def waited(self, losses: Floats | Sequence[float]) -> int:
        """Epochs without improvement at the end of these losses."""
        return [waited for _, waited in self._followed(losses)][-1]

    def best(self, losses: Floats | Sequence[float]) -> float:
        """The last loss that counted as an improvement."""
        return [best for best, _ in self._followed(losses)][-1]

    def _followed(self, losses: Floats | Sequence[float]) -> Iterator[tuple[float, int]]:
        best, waited = math.inf, 0
        for loss in losses:
            improved = loss < best - self.min_delta
            best, waited = (float(loss), 0) if improved else (best, waited + 1)
            yield best, waited

    def soonest(self, losses: Floats | Sequence[float]) -> int:
        """The earliest epoch at which a run that goes on after these losses can stop."""
        return min(len(losses) + self.patience - self.waited(losses), self.max_epochs)


def replays(seen: Floats, stopping: Stopping, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Epochs at which continuations stop, and how much each counts, ``(continuations,)`` each."""
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
        found.append(curve + noise * random.standard_normal((REPLAYS, len(future))))
        scores += [fit] * REPLAYS
    weights = np.exp(np.array(scores) - max(scores))
    return _stops(seen, np.concatenate(found), stopping), weights


def _stops(seen: Floats, paths: Floats, stopping: Stopping) -> Floats:
    """What :meth:`Stopping.epoch` says of every path after the losses seen, ``(paths,)``."""
    best, waited = np.full(len(paths), stopping.best(seen)), np.full(len(paths), stopping.waited(seen))
    ends = np.full(len(paths), float(stopping.max_epochs))
    for index, losses in enumerate(paths.T, start=len(seen) + 1):
        improved = losses < best - stopping.min_delta
        best, waited = np.where(improved, losses, best), np.where(improved, 0, waited + 1)
        ends = np.where(waited == stopping.patience, np.minimum(ends, index), ends)
    return ends


def at(epochs: Floats, weights: Floats, shares: Sequence[float]) -> list[float]:
    """Quantiles of weighted epochs."""
    order = np.argsort(epochs)
    ranks = np.cumsum(weights[order]) / weights.sum()
    return [
        float(epochs[order][min(int(np.searchsorted(ranks, share)), len(epochs) - 1)]) for share in shares
    ]


def continued(losses: Floats, stopping: Stopping, *, seed: int = 0) -> float:
    """log(1 + epochs beyond the soonest at which the run can stop), the median of its replays."""
    (middle,) = at(*replays(losses, stopping, np.random.default_rng(seed)), (0.5,))
    return math.log1p(max(middle - stopping.soonest(losses), 0.0))
