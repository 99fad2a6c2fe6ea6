"""BOAT: its operations NGD (the differentiable loop, on higher) and RAD (the backward pass), without its engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import higher
import torch
from boat_torch.gm_ol.ngd import NGD
from boat_torch.na_ol.rad import RAD
from torch import Tensor

from benchmarks.hyper.cases import Case
from benchmarks.hyper.peers.modules import RATE, Theta, leaves, start


def unrolled(case: Case, steps: int) -> Callable[[], list[Tensor]]:
    """``steps`` differentiable steps, and one backward pass, which leaves the result in λ's ``grad``."""

    def once() -> list[Tensor]:
        lambdas, module = leaves(case), Theta(start(case))
        optimizer = torch.optim.SGD(module.parameters(), lr=RATE)

        def lower(feed: Any, upper_model: Any, model: Any, params: Any = None) -> Tensor:
            return case.inner_loss(model(), lambdas)

        def upper(feed: Any, upper_model: Any, model: Any, params: Any = None) -> Tensor:
            return case.outer_loss(model(), lambdas)

        config = {
            "gm_op": ["NGD"],
            "na_op": ["RAD"],
            "lower_level_opt": optimizer,
            "NGD": {},
            "RGT": {"truncate_iter": 0},
            "PTT": {"truncate_iter": 0},
            "foa": False,
        }
        theta = list(module.parameters())
        loop = NGD(lower, upper, module, module, steps, config)
        back = RAD(lower, upper, module, module, theta, lambdas, config)
        with higher.innerloop_ctx(module, optimizer, copy_initial_weights=False) as (patched, differentiable):
            loop.optimize({}, {}, patched, differentiable, 0)
            back.compute_gradients({}, {}, patched)
        return [v.grad for v in lambdas if v.grad is not None]

    return once
