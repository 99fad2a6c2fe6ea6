"""TorchOpt: ``custom_root`` with ``solve_cg``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchopt.diff.implicit import custom_root
from torchopt.linear_solve import solve_cg

from benchmarks.hyper.cases import Case


def conjugate_gradient(case: Case, steps: int) -> Callable[[], list[Tensor]]:
    """Backward through a solver that returns the solution; the derivative is TorchOpt's."""

    def slope(theta: Any, lambdas: Any) -> Any:
        with torch.enable_grad():
            return torch.func.grad(case.inner_loss)(theta, lambdas)

    implicit = custom_root(slope, argnums=1, solve=solve_cg(maxiter=steps, rtol=0.0, atol=0.0))
    solver = implicit(lambda theta, lambdas: theta)

    def once() -> list[Tensor]:
        theta = tuple(t.detach().requires_grad_() for t in case.theta)
        lambdas = tuple(v.detach().requires_grad_() for v in case.lambdas)
        solution = solver(theta, lambdas)
        return list(torch.autograd.grad(case.outer_loss(solution, lambdas), lambdas))

    return once
