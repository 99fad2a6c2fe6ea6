"""What callers hand over, as arrays and numbers of the right kind; otherwise an error says what is wrong."""

from __future__ import annotations

from operator import index
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from chronos_common.data.plan import Indices, Reals
from chronos_common.errors import ConfigurationError


def as_reals(name: str, values: ArrayLike) -> Reals:
    """Real numbers as float64, of any shape; ``name`` is a noun in the plural."""
    found = np.asarray(values)
    if found.dtype.kind not in "biuf":
        try:
            if found.dtype.kind != "O":
                raise TypeError(f"an array of {found.dtype}")
            found = found.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{name} are not real numbers ({error}); give an array of those"
            ) from error
    return found.astype(np.float64, copy=False)


def as_whole(name: str, value: SupportsIndex) -> int:
    """A whole number as Python's own, which does not overflow."""
    try:
        return index(value)
    except TypeError as error:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number") from error


def checked_indices(indices: ArrayLike) -> Indices:
    """Different whole numbers, (n,)."""
    found = np.asarray(indices)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise ConfigurationError(
            f"indices are an array {found.shape} of {found.dtype}; give whole numbers, one for each sample"
        )
    found = found.astype(np.int64)
    if len(np.unique(found)) < len(found):
        raise ConfigurationError("indices name a sample twice; give each once")
    return found
