"""higher: ``innerloop_ctx`` around ``torch.optim.SGD``."""

from __future__ import annotations

from collections.abc import Callable

import higher
import torch
from torch import Tensor

from benchmarks.hyper.cases import Case
from benchmarks.hyper.peers.modules import RATE, Theta, leaves, start


def unrolled(case: Case, steps: int) -> Callable[[], list[Tensor]]:
    """``steps`` differentiable steps, and one backward pass."""

    def once() -> list[Tensor]:
        lambdas, module = leaves(case), Theta(start(case))
        optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
        with higher.innerloop_ctx(module, optimizer, copy_initial_weights=False) as (patched, differentiable):
            for _ in range(steps):
                differentiable.step(case.inner_loss(patched(), lambdas))
            return list(torch.autograd.grad(case.outer_loss(patched(), lambdas), lambdas))

    return once
