"""Steps that are likely to be asked for next, made together with the one that is: many at once cost less each.

A plan is a pure function, so what was made ahead is what would have been made then; nobody can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from chronos_common.data.plan import Speeds, StepPlan

MOST: Final = 8
"""Steps that are made at once at most; the number doubles from 1 while they are asked for in turn."""

_Key = tuple[int, bytes, bytes]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    key: _Key
    step: int
    count: int
    plans: Sequence[StepPlan]


class Ahead:
    """Answers for single steps.

    Args:
        plans: many at once, given epoch, first step, count and speeds.
        steps: of an epoch.
    """

    def __init__(self, plans: Callable[[int, int, int, Speeds], Sequence[StepPlan]], steps: int) -> None:
        self._plans, self._steps = plans, steps
        self._run: _Run | None = None

    def plan(self, epoch: int, step: int, speeds: Speeds) -> StepPlan:
        """One step. Each plan that was made is handed out once, so that who writes into it spoils none."""
        # The speeds' content, not their object, which somebody may write into; read and replaced as one, for threads.
        key = epoch, speeds.alpha.tobytes(), speeds.beta.tobytes()
        run, count = self._run, 1
        if run is not None and run.key == key and run.step == step:
            if run.plans:
                self._run = _Run(key=key, step=step + 1, count=run.count, plans=run.plans[1:])
                return run.plans[0]
            count = min(2 * run.count, MOST, self._steps - step)
        found = self._plans(epoch, step, max(count, 1), speeds)
        self._run = _Run(key=key, step=step + 1, count=count, plans=found[1:])
        return found[0]
