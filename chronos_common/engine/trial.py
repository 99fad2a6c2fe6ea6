"""Which of several starts a run should take: each is tried for one update, and the lowest outer loss wins (torch).

The rule: for every start, the inner problem is solved from ``init_inner`` with the run's own number of steps and
seed, and the outer loss is looked at, as a worker would report it at version 0. The cold start wins ties, and against
whatever diverges; so a remembered λ is taken only where it is better here, before anything is spent on it. What it
costs is one update for each start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch

from chronos_common.errors import ChronosError, DivergenceError, NonFiniteError
from chronos_common.hypergradient import HypergradientEstimator, compute_update
from chronos_common.problem import InnerProblem
from chronos_common.tensors import Arrays

COLD: Final = ""
"""Name of the start that the problem itself declares."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one start was worth; ``outer_loss`` is infinite where it diverged, which ``problem`` tells."""

    start: str
    outer_loss: float
    problem: str = ""


def try_starts(
    problem: InnerProblem,
    estimator: HypergradientEstimator,
    starts: Mapping[str, Arrays],
    *,
    inner_steps: int,
    seed: int = 0,
    device: torch.device | None = None,
) -> list[Trial]:
    """Tries every start, the best first.

    Args:
        problem: of the new run.
        estimator: of the new run; no hypergradient is used, but the same update is computed.
        starts: λ by name in stored coordinates; :data:`COLD` among them.
        inner_steps: of one update.
        seed: of the run.
        device: where to compute; default the CPU.

    Raises:
        PayloadError: a start does not fit the problem's outer parameters.
        ProblemError: the problem broke its contract.
    """
    found = []
    for name, stored in starts.items():
        loss, why = math.inf, ""
        try:
            update = compute_update(
                problem, estimator, stored, num_inner_steps=inner_steps, seed=seed, device=device
            )
            loss = update.metrics.get("outer_loss", math.inf)
        except (DivergenceError, NonFiniteError) as error:
            why = _one_line(error)
        found.append(Trial(start=name, outer_loss=loss if math.isfinite(loss) else math.inf, problem=why))
    return sorted(found, key=lambda trial: (trial.outer_loss, trial.start != COLD))


def _one_line(error: ChronosError) -> str:
    return " ".join(str(error).split())
