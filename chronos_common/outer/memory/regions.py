"""Places that failed: balls in stored coordinates that steps may not end in.

A step from outside that ends in one is halved until it does not; where no fraction of it helps, nothing moves. What
is in one already may go wherever it likes, since the way out leads through it. Only the end of a step counts: a
region that it passes over was not tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.outer.memory.sketch import Points, distances
from chronos_common.tensors import Array, Arrays

MAX_HALVINGS: Final = 8


def _empty() -> NDArray[np.float64]:
    return np.zeros(0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Regions:
    """n places, the oldest first.

    Args:
        centres: their points, shape (n, width).
        radii: shape (n,), in stored coordinates.
        versions: of the run, at which they failed.
        reasons: for people.
    """

    centres: Points
    radii: NDArray[np.float64] = field(default_factory=_empty)
    versions: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ()

    @classmethod
    def none(cls, width: int) -> Regions:
        """No place has failed."""
        return cls(centres=np.zeros((0, width)))

    def __len__(self) -> int:
        return len(self.radii)

    @property
    def size_bytes(self) -> int:
        """What they cost."""
        return self.centres.nbytes + self.radii.nbytes + sum(len(reason.encode()) for reason in self.reasons)

    def inside(self, point: Points) -> NDArray[np.bool_]:
        """Which of them hold a point."""
        return np.asarray(distances(self.centres, point) < self.radii)

    def with_place(self, point: Points, radius: float, version: int, reason: str, *, most: int) -> Regions:
        """One more, unless one that is as large is there already; the oldest go beyond ``most``."""
        known = (distances(self.centres, point) == 0.0) & (self.radii >= radius)
        if known.any():
            return self
        kept = max(0, len(self) + 1 - most)
        return Regions(
            centres=np.vstack([self.centres[kept:], point[None, :]]),
            radii=np.append(self.radii[kept:], radius),
            versions=(*self.versions[kept:], version),
            reasons=(*self.reasons[kept:], reason),
        )

    def shortened(
        self, before: Arrays, after: Arrays, point_of: Callable[[Arrays], Points]
    ) -> tuple[Arrays, bool]:
        """The step from ``before`` to ``after``, or as much of it as ends in no place; and whether it is less."""
        held = self.inside(point_of(before))

        def allowed(arrays: Arrays) -> bool:
            return not bool((self.inside(point_of(arrays)) & ~held).any())

        if allowed(after):
            return after, False
        for _ in range(MAX_HALVINGS):
            after = {name: _halfway(before[name], value) for name, value in after.items()}
            if allowed(after):
                return after, True
        return dict(before), True


def _halfway(near: Array, far: Array) -> Array:
    half = near.dtype.type(0.5)
    return np.asarray(near * half + far * half)
