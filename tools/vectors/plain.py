"""Arrays as JSON: numbers that every language reads to the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from chronos_common.tensors import Array, Arrays

LISTED_FROM = 2000
"""Arrays of more elements are given by those that are not +0."""


def ramp(size: int, dtype: Any = np.float32) -> Array:
    """Values between -4 and 4 that are exact in every dtype, the same on every machine."""
    return ((np.arange(size, dtype=np.int64) * 7919 + 17) % 1025 / 128 - 4).astype(dtype)


def arrays_to_plain(arrays: Arrays) -> dict[str, Any]:
    """Name to dtype, shape and values; those of a large array as positions and what is there."""
    return {name: _plain(array) for name, array in sorted(arrays.items())}


def arrays_from_plain(plain: dict[str, Any]) -> dict[str, Array]:
    """Inverse of :func:`arrays_to_plain`."""
    arrays: dict[str, Array] = {}
    for name, fields in plain.items():
        size = int(np.prod(fields["shape"], dtype=np.int64))
        if "values" in fields:
            flat = np.array(fields["values"], dtype=fields["dtype"])
        else:
            flat = np.zeros(size, dtype=fields["dtype"])
            flat[np.array(fields["at"], dtype=np.int64)] = fields["nonzero"]
        arrays[name] = flat.reshape(fields["shape"])
    return arrays


def _plain(array: Array) -> dict[str, Any]:
    flat = array.reshape(-1)
    fields: dict[str, Any] = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if flat.size <= LISTED_FROM:
        return {**fields, "values": flat.tolist()}
    at = np.flatnonzero((flat != 0) | np.signbit(flat))
    return {**fields, "at": at.tolist(), "nonzero": flat[at].tolist()}
