"""Ridge regression with one penalty per feature, under a defined shift of the data.

The task: half of the features are useful, the other half is noise, and the outer problem finds that out: log λ of each
feature. Three data distributions:

* ``source``: x ~ N(0, I), true weights w;
* ``shifted``: other samples, every feature's scale multiplied by e^{N(0, 0.2²)}, every useful weight by 1 + N(0, 0.2²).
  Which features are useful has not changed, and that is what λ knows;
* ``unrelated``: other samples and other weights, and useful are those that were noise. What λ knows is wrong.

The outer loss at λ has a closed form (w*(λ) solved exactly), so that arms are compared by λ alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from chronos_common.problem import Context, InnerState, Tensors
from examples.ridge import Ridge, normal

SHIFTS = ("source", "shifted", "unrelated")
SPREAD = 0.2
FEATURES = 20
TRAINING, VALIDATION = 40, 400
NOISE = 1.0


class ShiftedRidge(Ridge):
    """Args: one of :data:`SHIFTS`, and the ``seed`` of the family of data sets."""

    inner_learning_rate = 0.1

    def __init__(self, shift: str = "source", seed: int = 0) -> None:
        super().__init__(FEATURES, seed)
        key = 10_000 + 100 * seed + 10 * SHIFTS.index(shift)
        truth = normal(FEATURES, seed=100 * seed) + torch.sign(normal(FEATURES, seed=100 * seed))
        scales = torch.ones(FEATURES, dtype=torch.float64)
        useful = torch.arange(FEATURES) < FEATURES // 2
        if shift == "shifted":
            scales = torch.exp(SPREAD * normal(FEATURES, seed=key))
            truth = truth * (1 + SPREAD * normal(FEATURES, seed=key + 1))
        if shift == "unrelated":
            truth = normal(FEATURES, seed=key + 2) + torch.sign(normal(FEATURES, seed=key + 2))
            useful = ~useful
        truth = torch.where(useful, truth, torch.zeros(()).double())
        sizes = (TRAINING, VALIDATION)
        self.x, self.x_validation = (
            normal(size, FEATURES, seed=key + 3 + i) * scales for i, size in enumerate(sizes)
        )
        self.y, self.y_validation = (
            x @ truth + NOISE * normal(len(x), seed=key + 5 + i)
            for i, x in enumerate((self.x, self.x_validation))
        )
        self.start = torch.full((FEATURES,), 0.1, dtype=torch.float64)

    def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
        """The outer loss at λ with the inner problem solved exactly."""
        return {"exact_loss": self.exact_loss(outer["decay"].detach())}

    def exact_loss(self, decay: Tensor) -> float:
        """L_out(w*(λ))."""
        w = self.solution(decay).params["w"]
        return float((self.x_validation @ w - self.y_validation).square().mean() / 2)
