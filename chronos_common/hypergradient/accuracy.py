"""What each estimator promises to be accurate to, where the truth is known.

Two problems stand behind the figures, both in float64: *ridge*, 8 features with a weight decay each, at its exact
solution (Hessian with eigenvalues from 0.86 to 3.1; the truth is a closed form), and *network*, a tanh network of 31
parameters with a weight decay per tensor, not convex, solved to 1e-6 (Hessian from 0.4; the truth is exact dense
implicit differentiation, checked against central differences through the inner loop). The contract test holds every
estimator of the table to its row, and each estimator to having one. Both problems take all their data at once: what
stochastic estimators do on mini-batches is in their docstrings and their own tests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy:
    """A documented error.

    Attributes:
        settings: of the estimator; what is not named has its default.
        inner_steps: how many steps the inner loop takes to where the hypergradient is computed: 0 stays at the
            solution; estimators that go back through the loop need some.
        calls: how many calls at one λ, each starting from the last one's state.
        ridge, network: ‖estimate − truth‖ / ‖truth‖ is at most this.
        variant: of both problems. "momentum": the inner loop has one, of 0.5. "start": λ is where θ starts, and the
            outer loss is the inner one; the truth is the derivative of 5 steps at a rate of 0.01.
        logarithmic: the error is that of the derivative by log λ, which these estimators sample.
    """

    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inner_steps: int = 0
    calls: int = 1
    ridge: float
    network: float
    variant: str = ""
    logarithmic: bool = False


ACCURACY: Final[dict[str, Accuracy]] = {
    "auto": Accuracy(settings={"damping": 0.0}, ridge=1e-8, network=1e-8),
    "implicit": Accuracy(settings={"cg_steps": 50, "damping": 0.0}, ridge=1e-8, network=1e-8),
    "normal_cg": Accuracy(ridge=1e-8, network=1e-8),
    "gmres": Accuracy(ridge=1e-8, network=1e-8),
    "bicgstab": Accuracy(ridge=1e-8, network=1e-8),
    "neumann": Accuracy(calls=2, ridge=1e-7, network=1e-4),
    "fixed_point": Accuracy(calls=3, ridge=1e-5, network=1e-2),
    "nystrom": Accuracy(settings={"damping": 1e-4}, ridge=1e-3, network=1e-2),
    "exact": Accuracy(ridge=1e-12, network=1e-12),
    "stocbio": Accuracy(ridge=1e-4, network=5e-3),
    "amigo": Accuracy(calls=3, ridge=1e-8, network=1e-4),
    "soba": Accuracy(calls=3, ridge=1e-6, network=1e-4),
    "ma_soba": Accuracy(calls=3, ridge=1e-6, network=1e-4),
    "saba": Accuracy(calls=3, ridge=1e-6, network=1e-4),
    "unrolled": Accuracy(inner_steps=250, ridge=1e-6, network=1e-4),
    "recompute": Accuracy(inner_steps=250, ridge=1e-6, network=1e-4),
    "reversible": Accuracy(inner_steps=250, ridge=1e-6, network=1e-4, variant="momentum"),
    "forward": Accuracy(inner_steps=250, ridge=1e-6, network=1e-4),
    # First order: what they leave out shows here; how it falls with their settings is in test_first_order.py.
    "finite_difference": Accuracy(ridge=0.3, network=0.6),
    "sama": Accuracy(ridge=0.9, network=0.97),
    "f2sa": Accuracy(calls=5, ridge=6e-3, network=8e-3),
    "bome": Accuracy(calls=5, ridge=2e-2, network=3e-2),
    "pseudo_gradient": Accuracy(
        settings={"scale": 20.0}, inner_steps=5, ridge=0.3, network=0.3, variant="start"
    ),
    # Zeroth order: mostly sampling error, √((d + 1) / N) of the derivative by log λ; see test_zeroth_order.py.
    "evolution": Accuracy(settings={"pairs": 40}, inner_steps=40, ridge=0.7, network=0.5, logarithmic=True),
    "pes": Accuracy(settings={"pairs": 40}, inner_steps=40, ridge=0.7, network=0.5, logarithmic=True),
    "pzobo": Accuracy(settings={"directions": 40}, inner_steps=40, ridge=0.7, network=0.5, logarithmic=True),
}
"""By the estimator's name in ``registry.ESTIMATORS``."""
