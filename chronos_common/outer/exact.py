"""Products, exponentials and sums that give the same bits on every machine.

The fold may use only elementwise + - * / and square roots in a fixed order: BLAS chooses its order of summation by
the processor and the number of threads, and ``exp`` differs between libraries. What is here is made of those
operations (and of exact ones: rounding to an integer, scaling by a power of two, maxima), at the price of speed: a
product of two n x n matrices passes n times over n² values.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.tensors import Array, l2_norm, ordered_sum

_LOG2_E: Final = 1.4426950408889634
_LN2_HIGH: Final = 0.693147180369123816490
"""ln 2 in its 33 leading bits, so that its product with an exponent is exact (the split of fdlibm's ``exp``)."""
_LN2_LOW: Final = 1.90821492927058770002e-10
_TAYLOR: Final = tuple(1.0 / math.factorial(n) for n in range(13, -1, -1))
_LOWEST, _HIGHEST = -745.0, 709.0


def matmul(left: Array, right: Array) -> Array:
    """``left @ right`` as a sum of outer products, first to last, in the matrices' dtype.

    Args:
        left: (m, k).
        right: (k, n), of the same dtype.
    """
    total = np.zeros((left.shape[0], right.shape[1]), left.dtype)
    product = np.empty_like(total)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for column, row in zip(np.ascontiguousarray(left.T), right, strict=True):
            np.multiply(column[:, None], row[None, :], out=product)
            np.add(total, product, out=total)
    return total


def exp(values: Array) -> NDArray[np.float64]:
    """e to the power of each value, in float64, within 2 units in the last place.

    Below -745 it is what it is there, above 709 likewise, so that nothing overflows.
    """
    bounded = np.minimum(np.maximum(values.astype(np.float64), _LOWEST), _HIGHEST)
    exponents = np.rint(bounded * _LOG2_E)
    rest = (bounded - exponents * _LN2_HIGH) - exponents * _LN2_LOW
    result = np.full(rest.shape, _TAYLOR[0])
    for coefficient in _TAYLOR[1:]:
        result = result * rest + coefficient
    return np.asarray(np.ldexp(result, exponents.astype(np.int32)), dtype=np.float64)


def row_sums(values: Array) -> Array:
    """Sums over the last axis, kept with extent 1, by folding its upper half onto the lower."""
    folded: NDArray[Any] = values
    while folded.shape[-1] > 1:
        half = folded.shape[-1] // 2
        upper = folded[..., half : 2 * half]
        odd = folded[..., 2 * half :]
        folded = np.concatenate((folded[..., :half] + upper, odd), axis=-1)
    return folded if folded.shape[-1] else np.zeros((*values.shape[:-1], 1), values.dtype)


def dot(left: Array, right: Array) -> float:
    """Σ left·right over all values, in float64."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return ordered_sum(
            left.reshape(-1).astype(np.float64, copy=False) * right.reshape(-1).astype(np.float64, copy=False)
        )


def norm(array: Array) -> float:
    """√Σv² over all values, in float64; nothing overflows on the way."""
    return l2_norm({"array": array})
