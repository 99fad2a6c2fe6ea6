"""Fits a smooth function to measurements with outliers, by iterated reweighting.

Noise of Student's t is a normal one whose variance each measurement draws for itself; the expected precision, given how
far off a measurement is, is its weight in the next round (Lange, Little and Taylor, *Robust statistical modeling using
the t distribution*, 1989). Repeats of a point are one observation with the sum of their weights, which is the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from chronos_common.prediction.smooth import Smooth, distances, matern52, scaling
from chronos_common.prediction.trees import Floats

NOISE = 0.05
"""Standard deviation of a repeat in log, relative to that of the function; more where a host is restless."""
FREEDOM = 3.0
"""Degrees of freedom of the noise: a repeat that is ten times off counts a thirtieth."""
LEAST_SCALE = 0.01
"""Of the noise, so that rows without any do not make all others outliers."""
ROUNDS = 8


def smooth(points: Floats, values: Floats, owner: NDArray[np.intp], *, length: float) -> Smooth:
    """Fits the function.

    Args:
        points: ``(points, features)``, no two alike.
        values: every repeat, ``(repeats,)``.
        owner: point of each repeat; every point has one at least.
        length: of the kernel, in standard deviations of the points.
    """
    kept = points.astype(np.float32)
    mean, scale = scaling(kept.astype(np.float64))
    standard = (kept.astype(np.float64) - mean) / scale
    gram = matern52(distances(standard, standard), length)
    centre = float(np.median(values))
    weights = np.ones(len(values))
    alpha = np.zeros(len(kept))
    for _ in range(ROUNDS):
        total = np.bincount(owner, weights)
        means = np.bincount(owner, weights * (values - centre)) / total
        alpha = cho_solve(cho_factor(gram + np.diag(NOISE**2 / total)), means)
        residuals = values - (gram @ alpha + centre)[owner]
        spread = max(1.4826 * float(np.median(np.abs(residuals))), LEAST_SCALE)
        weights = (FREEDOM + 1) / (FREEDOM + (residuals / spread) ** 2)
    return Smooth(points=kept, alpha=alpha, length=length, centre=centre)
