"""Sums and differences of named arrays: one elementwise operation each, in the arrays' own dtype.

A result too large for its dtype is an infinity, without a warning: callers look at what comes out.
"""

from __future__ import annotations

import numpy as np

from chronos_common.tensors import Array, Arrays


def add(left: Arrays, right: Arrays) -> dict[str, Array]:
    """``left + right`` for each array of ``left``: fresh arrays."""
    with np.errstate(over="ignore", invalid="ignore"):
        return {name: np.asarray(left[name] + right[name]) for name in sorted(left)}


def subtract(left: Arrays, right: Arrays) -> dict[str, Array]:
    """``left - right`` for each array of ``left``: fresh arrays."""
    with np.errstate(over="ignore", invalid="ignore"):
        return {name: np.asarray(left[name] - right[name]) for name in sorted(left)}
