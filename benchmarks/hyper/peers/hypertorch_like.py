"""Conjugate gradient as hypertorch does it: on I - ∂Φ/∂θ of a gradient step Φ, with lists of tensors.

The package of that name on PyPI is another project, so this follows the algorithm of the repository
``prolearner/hypertorch`` and is no copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.hyper.cases import Case

RATE = 0.1


def conjugate_gradient(case: Case, steps: int) -> Callable[[], list[Tensor]]:
    """See the package."""

    def once() -> list[Tensor]:
        theta = [t.detach().requires_grad_() for t in case.theta]
        lambdas = [v.detach().requires_grad_() for v in case.lambdas]
        outer = case.outer_loss(theta, lambdas)
        b = torch.autograd.grad(outer, theta, retain_graph=True)
        direct: Sequence[Tensor | None] = torch.autograd.grad(outer, lambdas, allow_unused=True)
        grads = torch.autograd.grad(case.inner_loss(theta, lambdas), theta, create_graph=True)
        mapped = [t - RATE * g for t, g in zip(theta, grads, strict=True)]

        def product(v: Sequence[Tensor]) -> list[Tensor]:
            pulled = torch.autograd.grad(mapped, theta, grad_outputs=v, retain_graph=True)
            return [a - j for a, j in zip(v, pulled, strict=True)]

        solved = _solve(product, b, steps)
        found = torch.autograd.grad(mapped, lambdas, grad_outputs=solved)
        return [g if d is None else g + d for g, d in zip(found, direct, strict=True)]

    return once


def _solve(
    product: Callable[[Sequence[Tensor]], list[Tensor]], b: Sequence[Tensor], steps: int
) -> list[Tensor]:
    x, r, p = [torch.zeros_like(v) for v in b], [v.clone() for v in b], [v.clone() for v in b]
    for _ in range(steps):
        ap = product(p)
        rr = _vector(r).square().sum()
        alpha = rr / (_vector(p) * _vector(ap)).sum()
        x = [a + alpha * v for a, v in zip(x, p, strict=True)]
        r = [a - alpha * v for a, v in zip(r, ap, strict=True)]
        beta = _vector(r).square().sum() / rr
        p = [a + beta * v for a, v in zip(r, p, strict=True)]
    return x


def _vector(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])
