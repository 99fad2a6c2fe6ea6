"""Who unrolls what: the table of arms."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import Tensor

from benchmarks.hyper.cases import Case
from chronos_common.hypergradient import make_estimator

Once = Callable[[], list[Tensor]]

OURS: Final = "chronos"
COMPILED: Final = "chronos, compiled"
PEERS: Final[Mapping[str, str]] = {
    "higher": "higher_unrolled",
    "torchopt": "torchopt_unrolled",
    "boat": "boat_unrolled",
}
"""Libraries that unroll: the name in the table, and the module in ``peers``."""


def ours(case: Case, steps: int, **settings: Any) -> Once:
    """The whole of an outer iteration, as the peers do it: the inner loop from its start, and the derivative."""
    problem, _ = case.trajectory()
    estimator = make_estimator("unrolled", **settings)

    def once() -> list[Tensor]:
        _, run = problem.solve(num_steps=steps, keep_last=estimator.keep_last, recorder=estimator.recorder())
        return list(estimator.compute_hypergradient(run, problem).gradient.values())

    return once


def peers(case: Case, steps: int) -> tuple[dict[str, Once], dict[str, str]]:
    """The other libraries, and why others are missing."""
    arms: dict[str, Once] = {}
    missing: dict[str, str] = {}
    for name, module in PEERS.items():
        try:
            peer = importlib.import_module(f"benchmarks.hyper.peers.{module}")
            arms[name] = peer.unrolled(case, steps)
        except ImportError as error:
            missing[name] = str(error)
    return arms, missing
