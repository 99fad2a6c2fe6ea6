"""Weights of late commits: a function of staleness alone, applied before the optimiser's momentum."""

from __future__ import annotations


def exponential_weight(staleness: int, decay: float) -> float:
    """``decay ** staleness`` by repeated multiplication.

    Multiplication is exactly rounded on every IEEE 754 machine, ``pow`` is not; the weight is journalled,
    but a client that computes it again must reach the same number.

    Args:
        staleness: versions between the commit's base and the current version; 0 or more.
        decay: in (0, 1].
    """
    weight = 1.0
    for _ in range(staleness):
        weight *= decay
    return weight
