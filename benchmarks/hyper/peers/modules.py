"""A case as the libraries that unroll ``torch.nn`` modules want it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.hyper.cases import Case

RATE = 0.1


class Theta(nn.Module):
    """θ as a module, at zero or at small seeded numbers: where the unrolled loops begin."""

    def __init__(self, start: list[Tensor]) -> None:
        super().__init__()
        self.names = [f"theta{i}" for i in range(len(start))]
        for name, value in zip(self.names, start, strict=True):
            self.register_parameter(name, nn.Parameter(value.clone()))

    def forward(self) -> list[Tensor]:
        """The present tensors, in order."""
        return [getattr(self, name) for name in self.names]


def leaves(case: Case) -> list[Tensor]:
    """λ to differentiate by."""
    return [v.detach().requires_grad_() for v in case.lambdas]


def start(case: Case) -> list[Tensor]:
    """θ before the first step."""
    return [torch.zeros_like(t) for t in case.theta]
