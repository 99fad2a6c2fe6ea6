"""The k values of largest magnitude: exact, with ties going to the lowest position.

The outcome depends on the values alone. For a large array a strided sample first guesses a threshold a little
below the k-th magnitude, one pass collects the candidates above it, and the exact selection runs on those few. If
the guess was too high, which the count tells, the whole array is searched instead: the sample decides the time that
it takes and nothing else.

Magnitudes are compared as integers (the bits of a float without its sign order like its magnitude). Infinities and
NaN come out as the largest, so that whoever looks at what was selected has seen every value that is not finite.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ConfigurationError
from chronos_common.tensors import Array

SAMPLED_FROM: Final = 1 << 17
"""Arrays of fewer elements are searched without a sample."""

SAMPLE: Final = 1 << 15
"""Elements that the sample has, about."""

_CHUNK: Final = 1 << 16
_SIGMAS: Final = 4
_BITS: Final[dict[str, tuple[np.dtype[Any], int]]] = {
    "float32": (np.dtype(np.int32), 0x7FFFFFFF),
    "float64": (np.dtype(np.int64), 0x7FFFFFFFFFFFFFFF),
}

Magnitudes = NDArray[np.signedinteger[Any]]
Indices = NDArray[np.int64]


def count_for(density: float, size: int) -> int:
    """``ceil(density · size)`` with the density read as the decimal number that it prints as: 0.1 is 1/10.

    Raises:
        ConfigurationError: a density outside of (0, 1].
    """
    if not 0 < density <= 1:
        raise ConfigurationError(f"density is {density}; it is the share of values that is sent, in (0, 1]")
    return math.ceil(Fraction(repr(float(density))) * size)


def top_k(values: Array, k: int, *, sampled_from: int = SAMPLED_FROM) -> Indices:
    """Ascending positions of the ``k`` values of largest magnitude, fewer where the others are zero.

    Args:
        values: flat, contiguous, float32 or float64.
        k: how many, at most ``values.size``.
        sampled_from: size from which a sample is taken first.
    """
    if k >= values.size:
        return np.flatnonzero(values)
    if k < 1:
        return np.empty(0, np.int64)
    if values.size >= sampled_from:
        candidates = _above(values, _sampled_threshold(values, k))
        if k <= candidates.size < values.size // 2:
            return candidates[_exact(_magnitudes(values[candidates]), k)]
    return _exact(_magnitudes(values), k)


def _exact(magnitudes: Magnitudes, k: int) -> Indices:
    threshold = int(np.partition(magnitudes, magnitudes.size - k)[magnitudes.size - k])
    reached = np.flatnonzero(magnitudes >= max(threshold, 1))
    if reached.size <= k:
        return reached
    ties = np.flatnonzero(magnitudes[reached] == threshold)
    return np.delete(reached, ties[k - reached.size :])


def _sampled_threshold(values: Array, k: int) -> int:
    """A magnitude that more than ``k`` values reach, unless the sample deceives."""
    sample = _magnitudes(np.ascontiguousarray(values[:: max(values.size // SAMPLE, 1)]))
    expected = k * sample.size / values.size
    rank = min(sample.size, math.ceil(expected + _SIGMAS * math.sqrt(expected) + 1))
    return max(int(np.partition(sample, sample.size - rank)[sample.size - rank]), 1)


def _above(values: Array, threshold: int) -> Indices:
    """Positions whose magnitude reaches the threshold; work stays in the second-level cache."""
    integer, mask = _BITS[values.dtype.name]
    bits = values.view(integer)
    work, hit = np.empty(_CHUNK, integer), np.empty(_CHUNK, np.bool_)
    found = []
    for start in range(0, values.size, _CHUNK):
        chunk = bits[start : start + _CHUNK]
        np.bitwise_and(chunk, mask, out=work[: chunk.size])
        np.greater_equal(work[: chunk.size], threshold, out=hit[: chunk.size])
        found.append(np.flatnonzero(hit[: chunk.size]) + start)
    return np.concatenate(found)


def _magnitudes(values: Array) -> Magnitudes:
    integer, mask = _BITS[values.dtype.name]
    return np.asarray(values.view(integer) & mask)
