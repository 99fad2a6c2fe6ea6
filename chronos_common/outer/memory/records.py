"""What the memory holds, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chronos_common.outer.memory.packing import Packed
from chronos_common.tensors import Arrays


@dataclass(frozen=True, kw_only=True, eq=False)
class MemoryEntry:
    """What was measured at one λ.

    Args:
        number: of the entry, from 1, in the order of storing.
        version: of the run, at which it was measured.
        loss: the outer loss there.
        source: who stored it; empty for the run itself.
        values: λ in stored coordinates.
        gradient: dL/du there.
    """

    number: int
    version: int
    loss: float
    source: str
    values: Packed
    gradient: Packed


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """λ of a version, in stored coordinates, for what is still to come of the work on it."""

    version: int
    values: Packed


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """An entry that is near.

    Args:
        number: of the entry.
        version: at which it was measured.
        loss: the outer loss there.
        source: who stored it; empty for the run itself.
        distance: Euclidean, in stored coordinates; of large λ that of the sketches.
        cosine: of the angle between the two λ, seen from 0.
        relevance: how much it was used lately.
        half: kept in half precision.
        values: λ, in stored coordinates.
        gradient: dL/du there.
    """

    number: int
    version: int
    loss: float
    source: str
    distance: float
    cosine: float
    relevance: float
    half: bool
    values: Arrays
    gradient: Arrays


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The hypergradient that the memory expects at some λ.

    Args:
        gradient: mean of the nearest entries' by inverse distance; empty without an entry.
        neighbours: of how many.
        nearest: distance of the nearest; infinite without an entry.
        loss: mean of their losses, likewise weighted; NaN without an entry.
        cosine: mean cosine of earlier predictions with what was then measured; NaN where there was none.
    """

    gradient: Arrays
    neighbours: int
    nearest: float
    loss: float
    cosine: float


@dataclass(frozen=True, kw_only=True)
class LossTrend:
    """How the newest losses go.

    Args:
        entries: looked at.
        slope: of a straight line through them, in loss for each entry; 0 for fewer than two.
        first: loss of the oldest that was looked at; NaN without an entry.
        last: loss of the newest; NaN without an entry.
        best: the lowest of all that are kept; NaN without an entry.
        best_version: at which it was measured.
    """

    entries: int
    slope: float
    first: float
    last: float
    best: float
    best_version: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What has happened to a memory.

    Args:
        stored: entries ever stored.
        evicted: of them.
        hits: times that an entry was among the nearest of a λ that was stored.
        predictions: hypergradients that were predicted and then measured.
        cosine_sum: sum of the cosines of the two.
        cosine: the newest of these.
        failures: λ reported as failed.
        shortened: steps that ended in such a place, and were shortened.
        entered: likewise, where they are only reported.
    """

    stored: int = 0
    evicted: int = 0
    hits: int = 0
    predictions: int = 0
    cosine_sum: float = 0.0
    cosine: float = 0.0
    failures: int = 0
    shortened: int = 0
    entered: int = 0


def slope_of(losses: Sequence[float]) -> float:
    """Of the least-squares line through losses at 0, 1, 2, ..."""
    if len(losses) < 2:
        return 0.0
    largest = max(map(abs, losses))
    if largest == 0.0:
        return 0.0
    shares = [loss / largest for loss in losses]  # a sum of losses may overflow, one of shares does not
    middle, mean = (len(losses) - 1) / 2, math.fsum(shares) / len(losses)
    above = math.fsum((i - middle) * (share - mean) for i, share in enumerate(shares))
    return largest * (above / math.fsum((i - middle) ** 2 for i in range(len(losses))))
