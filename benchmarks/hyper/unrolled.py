"""Who unrolls what: the table of arms."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor

from benchmarks.hyper.cases import Case
from benchmarks.hyper.peers.modules import RATE
from chronos_common.hypergradient import HypergradientEstimator, make_estimator
from chronos_common.problem import InnerProblem

Once = Callable[[], list[Tensor]]

OURS: Final = "chronos"
COMPILED: Final[Mapping[str, str]] = {
    "chronos, compiled": "inductor",
    "chronos, traced": "aot_eager",
}
"""Arm -> what runs the graph of a step."""
PEERS: Final[Mapping[str, str]] = {
    "hypertorch-like": "hypertorch_unrolled",
    "higher": "higher_unrolled",
    "torchopt": "torchopt_unrolled",
    "boat": "boat_unrolled",
}
"""Libraries that unroll: the name in the table, and the module in ``peers``."""


def compiled(case: Case, steps: int, backend: str) -> tuple[Once, float]:
    """The same with compiled steps, which are compiled here, and the seconds that took."""
    estimator = make_estimator("unrolled", compile=True, compile_backend=backend)
    problem = case.loop(RATE)
    _, run = problem.solve(num_steps=2, recorder=estimator.recorder())
    seconds = estimator.compute_hypergradient(run, problem).diagnostics["compile_seconds"]
    return _whole(problem, estimator, steps), seconds


def ours(case: Case, steps: int) -> Once:
    """The whole of an outer iteration, as the peers do it: the inner loop from its start, and the derivative."""
    problem = case.loop(RATE)
    return _whole(problem, make_estimator("unrolled"), steps)


def _whole(problem: InnerProblem, estimator: HypergradientEstimator, steps: int) -> Once:

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
