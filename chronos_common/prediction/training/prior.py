"""Fits the physics prior: robust least squares of the log of computing times, medians of the waiting times."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from chronos_common.prediction.physics import TERMS, Physics, loading_kind, term_matrix
from chronos_common.prediction.training.samples import Samples
from chronos_common.prediction.trees import Floats

START = np.log([2.0, 2.0, 2.0, *([1.0] * (len(TERMS) - 2))])
"""Half of the peak is what products reach; one millisecond of constant."""

PULL = 0.05
"""Weight of the start, for terms that the rows say nothing of."""

SOFT = 0.2
"""Errors in log above which the loss turns linear."""


def fit_physics(samples: Samples) -> Physics:
    """The prior of a family from its measurements."""
    terms = term_matrix(samples.queries)
    batch = np.array([float(query.batch_size) for query in samples.queries])
    kinds = np.array([loading_kind(query) for query in samples.queries])
    target = np.log(samples.compute_ms)
    each = np.maximum(samples.total_ms - samples.compute_ms, 1e-4) / batch
    nothing = np.full(len(batch), -1.0)

    def residuals(log_weights: Floats) -> Floats:
        prior = Physics(log_weights=log_weights, file_ms=0.0, memory_ms=0.0).parts(terms, batch, nothing)
        pull = PULL * np.sqrt(len(batch)) * (log_weights - START)
        found: Floats = np.concatenate([np.log(prior.compute) - target, pull])
        return found

    fitted = least_squares(residuals, START, loss="soft_l1", f_scale=SOFT, max_nfev=40)
    memory = float(np.median(each[kinds == 0])) if (kinds == 0).any() else 1e-4
    files = float(np.median(each[kinds > 0])) if (kinds > 0).any() else memory
    return Physics(log_weights=fitted.x, file_ms=files, memory_ms=memory)
