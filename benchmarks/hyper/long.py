"""A long inner loop with few outer parameters: what memory is measured on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.hyper.cases import DOUBLE, normal
from chronos_common.problem import Context, InnerProblem, InnerState, OuterParameter, Tensors


class LongLoop(InnerProblem):
    """Least squares with a weight decay for each of ``groups`` groups of features, by momentum.

    Args:
        features: D, the size of θ.
        samples: rows; few, so that what is measured is the loop and not the data.
        groups: numbers in λ.
        momentum: of the inner loop.
    """

    inner_learning_rate = 0.02

    def __init__(
        self, features: int = 4000, samples: int = 10, groups: int = 4, momentum: float = 0.9
    ) -> None:
        self.features, self._groups, self._momentum = features, groups, momentum
        truth = normal(features, seed=0) / features**0.5
        self._x, self._x_val = normal(samples, features, seed=1), normal(samples, features, seed=2)
        self._y, self._y_val = self._x @ truth, self._x_val @ truth

    def outer_parameters(self) -> Mapping[str, OuterParameter]:
        return {"decay": OuterParameter(torch.full((self._groups,), 0.1, dtype=DOUBLE), scale="log")}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        zero = torch.zeros(self.features, dtype=DOUBLE)
        return InnerState({"w": zero}, opt_state={"w": zero})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        w = inner.params["w"]
        penalty = outer["decay"] @ w.view(self._groups, -1).square().sum(dim=1)
        loss: Tensor = (self._x @ w - self._y).square().mean() / 800 + penalty / 2
        return loss

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        loss: Tensor = (self._x_val @ inner.params["w"] - self._y_val).square().mean() / 2
        return loss

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        v = self._momentum * inner.opt_state["w"] + grads["w"]
        return InnerState({"w": inner.params["w"] - self.inner_learning_rate * v}, opt_state={"w": v})
