"""What an expert would write by hand: conjugate gradient on one retained graph, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from benchmarks.hyper.cases import Case


def hypergradient(case: Case, *, steps: int, tolerance: float = 0.0) -> list[Tensor]:
    """dL_out/dλ by ``steps`` steps of conjugate gradient, stopping at a relative residual of ``tolerance``."""
    theta = [t.detach().requires_grad_() for t in case.theta]
    lambdas = [v.detach().requires_grad_() for v in case.lambdas]
    loss = case.inner_loss(theta, lambdas)
    slope = torch.autograd.grad(loss, theta, create_graph=True)
    direct: Sequence[Tensor | None] = torch.autograd.grad(
        case.outer_loss(theta, lambdas), (*theta, *lambdas), allow_unused=True
    )
    b = _flat([g for g in direct[: len(theta)] if g is not None])

    x, r, p = torch.zeros_like(b), b.clone(), b.clone()
    rr = torch.dot(r, r)
    end = float(rr) * tolerance**2
    for _ in range(steps):
        ap = _flat(torch.autograd.grad(slope, theta, _split(p, theta), retain_graph=True))
        alpha = rr / torch.dot(p, ap)
        x = x + alpha * p
        r = r - alpha * ap
        rr, before = torch.dot(r, r), rr
        if tolerance and float(rr) <= end:
            break
        p = r + (rr / before) * p

    mixed = torch.autograd.grad(slope, lambdas, _split(x, theta))
    found = direct[len(theta) :]
    return [-m if d is None else d - m for d, m in zip(found, mixed, strict=True)]


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([part.reshape(-1) for part in parts])


def _split(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    if len(like) == 1:
        return [flat]
    pieces = flat.split_with_sizes([t.numel() for t in like])
    return [piece.view(t.shape) for piece, t in zip(pieces, like, strict=True)]
