"""Ridge regression with one weight decay per feature: a bilevel problem whose every answer is known.

    L_in(w, λ) = ‖Xw − y‖² / 2n + Σⱼ λⱼwⱼ² / 2,        L_out(w) = ‖X_v w − y_v‖² / 2m

With H = XᵀX/n + diag(λ): w*(λ) = H⁻¹Xᵀy/n and dL_out/dλⱼ = −wⱼ (H⁻¹ ∂L_out/∂w)ⱼ.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from chronos_common.problem import Context, InnerProblem, InnerState, OuterParameter, Tensors


def normal(*shape: int, seed: int) -> Tensor:
    """Seeded standard normal numbers, float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Ridge(InnerProblem):
    """Args: ``features`` in the regression (half of them irrelevant), and the ``seed`` of the data."""

    inner_learning_rate = 0.1

    def __init__(self, features: int = 20, seed: int = 0) -> None:
        samples = 4 * features
        truth = normal(features, seed=seed)
        truth[features // 2 :] = 0.0
        self.x, self.x_validation = (normal(samples, features, seed=1000 + 10 * seed + i) for i in (0, 1))
        self.y = self.x @ truth + normal(samples, seed=1000 + 10 * seed + 2)
        self.y_validation = self.x_validation @ truth
        self.start = torch.full((features,), 0.1, dtype=torch.float64)

    def outer_parameters(self) -> Mapping[str, OuterParameter]:
        """λ, on a log scale: it must stay positive and may range over decades."""
        return {"decay": OuterParameter(self.start, bounds=(1e-4, 10.0), scale="log")}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        """Zeros."""
        return InnerState({"w": torch.zeros_like(self.start)})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        """Training error plus weight decay."""
        w = inner.params["w"]
        return ((self.x @ w - self.y).square().mean() + (outer["decay"] * w.square()).sum()) / 2

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        """Validation error."""
        return (self.x_validation @ inner.params["w"] - self.y_validation).square().mean() / 2

    def hessian(self, decay: Tensor) -> Tensor:
        """∂²L_in/∂w², shape (features, features)."""
        return self.x.T @ self.x / len(self.x) + torch.diag(decay)

    def solution(self, decay: Tensor) -> InnerState:
        """The exact inner solution w*(λ)."""
        right = self.x.T @ self.y / len(self.x)
        return InnerState({"w": torch.linalg.solve(self.hessian(decay), right)})

    def hypergradient(self, decay: Tensor) -> Tensor:
        """The exact dL_out/dλ, shape (features,)."""
        w = self.solution(decay).params["w"]
        slope = self.x_validation.T @ (self.x_validation @ w - self.y_validation) / len(self.y_validation)
        adjoint: Tensor = torch.linalg.solve(self.hessian(decay), slope)
        return -w * adjoint
