"""Which arms run on which tasks, for how many seeds, at which budgets."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.population.arms import (
    ARMS,
    FIXED,
    GRID,
    HIGH,
    LOW,
    PBT,
    PLUS,
    PROBED,
    PUBLISHED,
    RAY,
    SHARING,
    Budget,
    trained,
)

TASKS_IN_ORDER = ("lm", "digits", "spirals")
MAIN = {"lm": (RAY, PBT, PROBED, PLUS, LOW, HIGH), "digits": (GRID, PBT, PROBED, PLUS)}
"""What bars stand on: every seed. All others run for the first few."""

FEW, ABLATED = 5, 3
TIMED = (PROBED, PLUS, PBT, PUBLISHED)
"""At equal seconds; the first is what the others have the time of."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Rows that one process makes.

    Attributes:
        task: its name.
        seed: of everything.
        arms: one, or those that are timed together.
        budgets: which rows.
        quick: a quarter of the steps.
    """

    task: str
    seed: int
    arms: tuple[str, ...]
    budgets: tuple[Budget, ...]
    quick: bool = False

    @property
    def alone(self) -> bool:
        """Whether it starts processes of its own and should be the only one."""
        return any(ARMS[arm].processes for arm in self.arms)

    def rows(self) -> list[dict[str, Any]]:
        """Trains; a library that is not there makes a row that says so."""
        if "seconds" in self.budgets:
            return _timed(self)
        (arm,) = self.arms
        found = []
        for budget in self.budgets:
            try:
                found.append(trained(self.task, arm, self.seed, budget, quick=self.quick))
            except ImportError as error:
                sys.stderr.write(f"NOT MEASURED: {arm} ({error}); see benchmarks/population/peers\n")
                return [
                    {
                        "task": self.task,
                        "arm": arm,
                        "seed": self.seed,
                        "budget": budget,
                        "missing": str(error),
                    }
                ]
        if not ARMS[arm].evaluates:
            found += [{**found[0], "budget": "samples"}]
        return found


def jobs(seeds: Sequence[int], *, quick: bool) -> Iterator[Job]:
    """All of them, those of the bars first; equal samples, but for the timed arms, with the few seeds' jobs."""
    for place, seed in enumerate(seeds):
        for task in TASKS_IN_ORDER:
            for arm in ARMS:
                if wanted(task, arm, place, quick):
                    yield Job(
                        task=task, seed=seed, arms=(arm,), budgets=_budgets(task, arm, place), quick=quick
                    )
            if task != "spirals" and place < FEW and not quick:
                yield Job(task=task, seed=seed, arms=TIMED, budgets=("samples", "seconds"))


def wanted(task: str, arm: str, place: int, quick: bool) -> bool:
    """Whether an arm runs on a task for the seed at this place."""
    if quick:
        return task != "spirals" and arm in (PBT, PROBED, PLUS, RAY) and (arm != RAY or place == 0)
    if arm == SHARING:
        return task == "digits" and place < FEW
    if place >= FEW:
        return arm in MAIN.get(task, ())
    if ARMS[arm].ablation:
        return task == "lm" and place < ABLATED
    if arm in (LOW, HIGH, FIXED):
        return task == "lm"
    return arm != RAY or task != "spirals"


def _budgets(task: str, arm: str, place: int) -> tuple[Budget, ...]:
    if not ARMS[arm].evaluates or arm == RAY or place >= FEW:
        return ("flops",)
    if arm in TIMED and task != "spirals":
        return ("flops",)
    return ("flops", "samples")


def _timed(job: Job) -> list[dict[str, Any]]:
    """Equal samples, and from their CPU seconds the steps that take each arm as long as the first."""
    same = [trained(job.task, arm, job.seed, "samples") for arm in job.arms]
    reference = same[0]["cpu_seconds"]
    timed = [
        trained(job.task, row["arm"], job.seed, "seconds", longer=reference / row["cpu_seconds"])
        for row in same[1:]
    ]
    return [*same, {**same[0], "budget": "seconds"}, *timed]
