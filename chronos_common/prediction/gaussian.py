"""Gaussian processes in numpy: what scikit-learn fitted, evaluated here, and the small ones that calibrate a machine.

Formulas: Rasmussen and Williams, *Gaussian Processes for Machine Learning*, algorithm 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ArtefactError
from chronos_common.prediction.trees import Floats

PARTS = ("points", "alpha", "inverse", "mean", "scale", "kernel", "target")


def squared_distances(left: Floats, right: Floats) -> Floats:
    """``(rows, features)`` and ``(others, features)`` to ``(rows, others)``."""
    found: Floats = ((left[:, None, :] - right[None, :, :]) ** 2).sum(axis=-1)
    return found


def matern(distances: Floats, length: float) -> Floats:
    """The Matérn 3/2 kernel of squared distances."""
    scaled = np.sqrt(3 * distances) / length
    found: Floats = (1 + scaled) * np.exp(-scaled)
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Process:
    """A fitted process with the kernel ``amplitude × Matérn 3/2 + noise`` on standardised features.

    Attributes:
        points: of training, standardised, ``(points, features)``.
        alpha: K⁻¹ y, ``(points,)``.
        inverse: K⁻¹, ``(points, points)``.
        mean: of the features.
        scale: of the features.
        kernel: amplitude, length, noise (variances but for the length).
        target: mean and scale of the targets.
    """

    points: Floats
    alpha: Floats
    inverse: Floats
    mean: Floats
    scale: Floats
    kernel: Floats
    target: Floats

    @classmethod
    def condition(cls, features: Floats, target: Floats, kernel: tuple[float, float, float]) -> Process:
        """Conditions on ``(points, features)`` and ``(points,)`` with the kernel given."""
        mean, scale = features.mean(axis=0), features.std(axis=0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        points = (features - mean) / scale
        centre, spread = target.mean(), max(float(target.std()), 1e-9)
        amplitude, length, noise = kernel
        gram = amplitude * matern(squared_distances(points, points), length) + noise * np.eye(len(points))
        inverse: Floats = np.linalg.inv(gram).astype(np.float64)
        return cls(
            points=points,
            alpha=inverse @ ((target - centre) / spread),
            inverse=inverse,
            mean=mean,
            scale=scale,
            kernel=np.array(kernel),
            target=np.array([centre, spread]),
        )

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (noise included), ``(rows,)`` each."""
        amplitude, length, noise = self.kernel
        asked = (features - self.mean) / self.scale
        across = amplitude * matern(squared_distances(asked, self.points), length)
        variance = amplitude + noise - np.einsum("ij,jk,ik->i", across, self.inverse, across)
        centre, spread = self.target
        return across @ self.alpha * spread + centre, np.sqrt(np.maximum(variance, 1e-12)) * spread

    def arrays(self, name: str) -> dict[str, NDArray[np.generic]]:
        """What :meth:`read` reads, under ``name.``."""
        return {f"{name}.{part}": getattr(self, part) for part in PARTS}

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[np.generic]], name: str) -> Process:
        """From the arrays of an artefact.

        Raises:
            ArtefactError: an array is missing.
        """
        try:
            return cls(**{part: arrays[f"{name}.{part}"].astype(np.float64) for part in PARTS})
        except KeyError as error:
            raise ArtefactError(f"the artefact has no {error.args[0]!r}; train the predictor anew") from error
