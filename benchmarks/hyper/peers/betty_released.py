"""Betty 0.2.1 as released: the kernel ``betty.hypergradient.cg`` alone, without its engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from betty.hypergradient.cg import cg
from torch import Tensor

from benchmarks.hyper.cases import Case


def conjugate_gradient(case: Case, steps: int) -> Callable[[], list[Tensor]]:
    """The kernel with stand-ins for its two levels."""
    return driven(case, steps, cg)


def driven(case: Case, steps: int, kernel: Callable[..., Any]) -> Callable[[], list[Tensor]]:
    """``kernel(vector, curr, prev, sync)`` as Betty's engine calls it."""

    def once() -> list[Tensor]:
        theta = [t.detach().requires_grad_() for t in case.theta]
        lambdas = [v.detach().requires_grad_() for v in case.lambdas]
        found = torch.autograd.grad(case.outer_loss(theta, lambdas), (*theta, *lambdas), allow_unused=True)
        inner = SimpleNamespace(
            paths=(),
            cur_batch=None,
            config=SimpleNamespace(cg_iterations=steps, cg_alpha=1.0),
            training_step_exec=lambda batch: case.inner_loss(theta, lambdas),
            trainable_parameters=lambda: theta,
            parameters=lambda: theta,
        )
        outer = SimpleNamespace(trainable_parameters=lambda: lambdas)
        mixed: Sequence[Tensor] = kernel(found[: len(theta)], inner, outer, False)
        direct: Sequence[Tensor | None] = found[len(theta) :]
        return [m if d is None else d + m for d, m in zip(direct, mixed, strict=True)]

    return once
