"""Flat values as the memory keeps them: as they came, or in half precision once they are old.

Half precision reaches from 6e-8 to 65,504, which hypergradients do not keep to. So each array is first divided by a
power of two, which is exact, so that its largest value lies in [1/2, 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_common.tensors import Arrays, TensorSpec, flatten, unflatten


@dataclass(frozen=True, kw_only=True, eq=False)
class Packed:
    """All values of some arrays, in canonical order.

    Args:
        flat: float32 or float64, or float16 after :meth:`halved`.
        exponents: of two, one for each array, by which a halved one is multiplied.
    """

    flat: NDArray[np.floating]
    exponents: tuple[int, ...] = ()

    @classmethod
    def of(cls, arrays: Arrays) -> Packed:
        """The arrays as they are."""
        flat = flatten(arrays)[0]
        flat.setflags(write=False)
        return cls(flat=flat)

    @property
    def half(self) -> bool:
        """Whether it is in half precision."""
        return self.flat.dtype == np.float16

    @property
    def size_bytes(self) -> int:
        """What it costs."""
        return self.flat.nbytes + 8 * len(self.exponents)

    def halved(self, layout: Sequence[TensorSpec]) -> Packed:
        """The same in half precision."""
        if self.half:
            return self
        flat, exponents, start = np.empty(self.flat.shape, np.float16), [], 0
        for spec in layout:
            piece = self.flat[start : start + spec.size]
            exponent = math.frexp(float(np.abs(piece).max(initial=0.0)))[1]
            with np.errstate(under="ignore"):
                flat[start : start + spec.size] = np.ldexp(piece.astype(np.float64), -exponent)
            exponents.append(exponent)
            start += spec.size
        flat.setflags(write=False)
        return Packed(flat=flat, exponents=tuple(exponents))

    def wide(self, layout: Sequence[TensorSpec]) -> NDArray[np.float64]:
        """The values in float64."""
        values = self.flat.astype(np.float64)
        start = 0
        for spec, exponent in zip(layout, self.exponents, strict=False):
            values[start : start + spec.size] = np.ldexp(values[start : start + spec.size], exponent)
            start += spec.size
        return values

    def arrays(self, layout: Sequence[TensorSpec]) -> Arrays:
        """The arrays again; ``layout`` in canonical order."""
        with np.errstate(over="ignore"):
            return unflatten(self.wide(layout), layout)
