"""A Gaussian process for measurements of which some are far off: what training fitted, evaluated here.

A smooth function of standardised features, with the Matérn 5/2 kernel and noise of Student's t (Rasmussen and Williams,
*Gaussian Processes for Machine Learning*, sections 4.2 and 9.4): a step that something else disturbed moves it little.
Training finds the weights of the points (``training/smoothing.py``); the mean is all that is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ArtefactError
from chronos_common.prediction.trees import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Smooth:
    """The mean of a fitted process.

    Attributes:
        points: of training, in the features' own units, ``(points, features)``.
        alpha: weight of each point, ``(points,)``.
        length: of the kernel, in standard deviations of the points.
        centre: answer far away from every point.
    """

    points: NDArray[np.float32]
    alpha: Floats
    length: float
    centre: float

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.alpha.shape != self.points.shape[:1] or not self.length > 0:
            raise ArtefactError(
                "the arrays of a smooth function do not fit together; train the predictor anew"
            )

    def predict(self, features: Floats) -> Floats:
        """``(rows, features)`` to ``(rows,)``."""
        mean, scale = self._scaling
        near = matern52(distances((features - mean) / scale, self._scaled), self.length)
        found: Floats = near @ self.alpha + self.centre
        return found

    def arrays(self, name: str) -> dict[str, NDArray[np.generic]]:
        """What :meth:`read` reads, under ``name.``."""
        return {
            f"{name}.points": self.points,
            f"{name}.alpha": self.alpha,
            f"{name}.kernel": np.array([self.length, self.centre]),
        }

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[np.generic]], name: str) -> Smooth:
        """From the arrays of an artefact.

        Raises:
            ArtefactError: they are missing or do not fit together.
        """
        try:
            length, centre = arrays[f"{name}.kernel"].astype(np.float64)
            return cls(
                points=arrays[f"{name}.points"].astype(np.float32),
                alpha=arrays[f"{name}.alpha"].astype(np.float64),
                length=float(length),
                centre=float(centre),
            )
        except (KeyError, ValueError) as error:
            raise ArtefactError(
                f"the artefact has no smooth function {name!r} ({error}); train the predictor anew"
            ) from error

    @cached_property
    def _scaling(self) -> tuple[Floats, Floats]:
        return scaling(self.points.astype(np.float64))

    @cached_property
    def _scaled(self) -> Floats:
        mean, scale = self._scaling
        found: Floats = (self.points.astype(np.float64) - mean) / scale
        return found


def scaling(points: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each feature; 1 for those that do not vary."""
    spread = points.std(axis=0)
    return points.mean(axis=0), np.where(spread > 1e-9, spread, 1.0)


def distances(left: Floats, right: Floats) -> Floats:
    """``(rows, features)`` and ``(others, features)`` to distances, ``(rows, others)``; no third axis in memory."""
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * left @ right.T
    found: Floats = np.sqrt(np.maximum(squares, 0.0))
    return found


def matern52(apart: Floats, length: float) -> Floats:
    """The Matérn 5/2 kernel of distances."""
    scaled = np.sqrt(5.0) * apart / length
    found: Floats = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return found
