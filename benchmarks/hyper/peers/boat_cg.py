"""BOAT: its operation ``CG`` after plain gradient descent (NGD), alone, without its engine."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from boat_torch.na_ol.cg import CG
from torch import Tensor

from benchmarks.hyper.cases import Case

RATE = 0.1


def conjugate_gradient(case: Case, steps: int) -> Callable[[], list[Tensor]]:
    """One call of ``compute_gradients``; it leaves the hypergradient in the outer parameters' ``grad``."""

    def once() -> list[Tensor]:
        theta = [t.detach().requires_grad_() for t in case.theta]
        lambdas = [v.detach().requires_grad_() for v in case.lambdas]

        def lower(feed: Any, upper_model: Any, model: Any, params: Any) -> Tensor:
            return case.inner_loss(params, lambdas)

        def upper(feed: Any, upper_model: Any, model: Any, params: Any) -> Tensor:
            return case.outer_loss(params, lambdas)

        config = {
            "gm_op": ["NGD"],
            "lower_level_opt": SimpleNamespace(defaults={"lr": RATE}),
            "CG": {"tolerance": 0.0, "k": steps},
            "GDA": {"alpha_init": 0.0, "alpha_decay": 0.0},
        }
        model = SimpleNamespace(parameters=lambda: theta)
        operation = CG(lower, upper, model, model, theta, lambdas, config)
        operation.compute_gradients({}, {}, model, lower_model_params=theta)
        return [v.grad for v in lambdas if v.grad is not None]

    return once
