"""Points of few dimensions: λ itself where it is small, a seeded random projection where it is large.

The projection is a count sketch: value i goes, with a random sign, into one of m buckets. For every x it holds that
E ‖Sx‖² = ‖x‖² and Var ‖Sx‖² ≤ 2 ‖x‖⁴ / m, so that of 128 buckets a distance comes out within about 6 %; inner
products, and so cosines, likewise. It is linear: the sketch of a weighted sum is that sum of the sketches.

Source: Charikar, Chen, Farach-Colton, "Finding frequent items in data streams", ICALP 2002; for distances, Weinberger
et al., "Feature hashing for large scale multitask learning", ICML 2009. Buckets and signs come from splitmix64
(Steele, Lea, Flood, OOPSLA 2014) in integers, not from a library's generator, whose stream is its own affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.tensors import Arrays, TensorSpec, flatten

Points = NDArray[np.float64]

_NEAR: Final = 1e-12
"""Added to distances before they divide: an entry at the very place decides alone, and nothing divides by 0."""

_LARGEST: Final = 1e150
"""Beyond it squares overflow; what is further away than that is just far."""


class Sketch:
    """Makes points of λ and of hypergradients.

    Args:
        specs: the arrays that it will be given.
        dimensions: of a point, at most.
        seed: of buckets and signs.
    """

    def __init__(self, specs: Sequence[TensorSpec], *, dimensions: int, seed: int) -> None:
        self.size = sum(spec.size for spec in specs)
        self.exact = self.size <= dimensions
        self.width = self.size if self.exact else dimensions
        self._seed = seed

    def of(self, arrays: Arrays) -> Points:
        """The point of ``arrays``, shape (width,)."""
        return self.of_flat(flatten(arrays)[0])

    def of_flat(self, flat: NDArray[np.floating]) -> Points:
        """The same of values that are flat already."""
        values = np.asarray(flat, dtype=np.float64)
        if not self.exact:
            buckets, signs = _hashed(self.size, self.width, self._seed)
            # One addition after the other, in order: not one of the reductions whose order is the library's.
            with np.errstate(over="ignore", invalid="ignore"):
                values = np.asarray(np.bincount(buckets, values * signs, self.width), dtype=np.float64)
        return np.nan_to_num(np.clip(values, -_LARGEST, _LARGEST), nan=0.0)


def row_sums(matrix: Points) -> Points:
    """Σ along each row of an (n, m) matrix: the right half folded onto the left until one column is left."""
    if matrix.shape[1] == 0:
        return np.zeros(len(matrix))
    while matrix.shape[1] > 1:
        half = matrix.shape[1] // 2
        folded = matrix[:, :half] + matrix[:, half : 2 * half]
        matrix = np.column_stack([folded, matrix[:, -1]]) if matrix.shape[1] % 2 else folded
    return np.ascontiguousarray(matrix[:, 0])


def distances(points: Points, point: Points) -> Points:
    """Euclidean distances of n points, shape (n, m), from one."""
    difference = points - point
    return np.asarray(np.sqrt(row_sums(difference * difference)))


def cosines(points: Points, point: Points) -> Points:
    """Cosines of n points with one; 0 where either is 0."""
    products = row_sums(points * point)
    norms = np.sqrt(row_sums(points * points)) * np.sqrt(row_sums((point * point)[None, :]))
    found = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0.0)
    return np.asarray(np.clip(found, -1.0, 1.0))


def inverse_shares(far: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse distances that sum to 1, added one by one."""
    inverse = 1.0 / (far + _NEAR)
    total = 0.0
    for value in inverse:
        total += float(value)
    return np.asarray(inverse / total)


@lru_cache(maxsize=4)
def _hashed(size: int, width: int, seed: int) -> tuple[NDArray[np.intp], Points]:
    """Bucket and sign of every position."""
    with np.errstate(over="ignore"):
        mixed = np.uint64(seed) + (np.arange(size, dtype=np.uint64) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    buckets = ((mixed >> np.uint64(1)) % np.uint64(width)).astype(np.intp)
    signs = np.where(mixed & np.uint64(1), 1.0, -1.0)
    buckets.setflags(write=False)
    signs.setflags(write=False)
    return buckets, signs
