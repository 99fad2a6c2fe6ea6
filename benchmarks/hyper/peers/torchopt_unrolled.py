"""TorchOpt: ``MetaSGD``."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchopt
from torch import Tensor

from benchmarks.hyper.cases import Case
from benchmarks.hyper.peers.modules import RATE, leaves, start


def unrolled(case: Case, steps: int) -> Callable[[], list[Tensor]]:
    """``steps`` differentiable steps, and one backward pass; the functional optimiser, TorchOpt's fastest."""

    def once() -> list[Tensor]:
        lambdas = leaves(case)
        theta = tuple(t.requires_grad_() for t in start(case))
        optimizer = torchopt.FuncOptimizer(torchopt.sgd(lr=RATE))
        for _ in range(steps):
            theta = optimizer.step(case.inner_loss(theta, lambdas), theta)
        return list(torch.autograd.grad(case.outer_loss(theta, lambdas), lambdas))

    return once
