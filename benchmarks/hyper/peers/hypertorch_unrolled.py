"""Unrolling as hypertorch does it: gradient descent on lists of tensors, and one backward pass.

The package of that name on PyPI is another project, so this follows the algorithm of the repository
``prolearner/hypertorch`` and is no copy of it. It does what unrolling needs and nothing beside, so that it is also
what one would write by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.hyper.cases import Case
from benchmarks.hyper.peers.modules import RATE, leaves, start


def unrolled(case: Case, steps: int) -> Callable[[], list[Tensor]]:
    """``steps`` differentiable steps, and one backward pass."""

    def step(theta: Sequence[Tensor], lambdas: Sequence[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            grads = torch.autograd.grad(case.inner_loss(theta, lambdas), theta, create_graph=True)
            return [w - RATE * g for w, g in zip(theta, grads, strict=True)]

    def once() -> list[Tensor]:
        lambdas, theta = leaves(case), [t.requires_grad_() for t in start(case)]
        for _ in range(steps):
            theta = step(theta, lambdas)
        return list(torch.autograd.grad(case.outer_loss(theta, lambdas), lambdas))

    return once
