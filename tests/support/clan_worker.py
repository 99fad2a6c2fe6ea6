"""A process that trains as a member of a clan: ``python -m tests.support.clan_worker ADDRESS CLAN WORKER FOLDER``.

Its training is gradient descent on a quadratic with the rate that its genome says; weights travel by files in FOLDER.
It begins when FOLDER/WORKER.go exists. For every fitness that the coordinator took, it appends a line
``round fitness`` to FOLDER/WORKER.reports, after the coordinator said so.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from chronos_common.clan import ClanConfig, FanOutConfig, LogFloatAllele, RoundClosed, rate_factor
from chronos_common.clan.definition import ClanDefinition
from chronos_common.clan.views import Place
from chronos_common.errors import WorkerNotMemberError
from chronos_common.wire import CoordinatorRounds, SyncCoordinatorClient
from tests.support.clients import BUDGET
from tests.support.polling import poll

SIZE, STEPS = 4, 300
STEP_SECONDS = 0.01
"""Work of one step; processes are killed in the middle of it."""

DEFINITION = ClanDefinition(
    config=ClanConfig(
        population_size=SIZE, round_length=15, total_steps=STEPS, fan_out=FanOutConfig(share=0.05)
    ),
    genes={"lr": LogFloatAllele(value=1e-3, domain=(1e-6, 1.0))},
    seed=11,
)
CURVATURE = np.logspace(-1.5, 0.0, 8)


class Training:
    """The weights of a member, in a file that others may read at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = np.ones(8)

    def step(self, rate: float) -> None:
        self.weights = self.weights - rate * CURVATURE * self.weights
        time.sleep(STEP_SECONDS)

    def loss(self) -> float:
        return float(0.5 * (CURVATURE * self.weights**2).sum())

    def write(self, name: str) -> None:
        path = self.folder / f"{name}.npy"
        half = path.with_suffix(f".{os.getpid()}.npy")
        np.save(half, self.weights)
        half.replace(path)

    def read(self, name: str) -> None:
        self.weights = np.load(self.folder / f"{name}.npy")

    def adopt(self, place: Place) -> None:
        if place.source is not None:
            self.read(f"now-{place.source}")

    def become(self, decision: RoundClosed, member: int) -> None:
        soup = [np.load(self.folder / f"{decision.round}-{one}.npy") for one in decision.soup]
        for move in decision.moves:
            if move.target == member:
                self.read(f"{decision.round}-{move.source}")
        if soup:
            self.weights = np.mean(soup, axis=0)


def main(address: str, clan: str, worker: str, folder: str) -> None:
    place = Path(folder)
    poll((place / f"{worker}.go").exists, "the word to begin", timeout_seconds=60.0)
    training = Training(place)
    with (
        SyncCoordinatorClient(address, deadlines=BUDGET) as client,
        CoordinatorRounds(client, clan, DEFINITION, worker) as rounds,
        (place / f"{worker}.reports").open("a", buffering=1) as reports,
    ):
        training.adopt(rounds.place)
        while not rounds.finished:
            try:
                run_round(rounds, training, reports.write)
            except WorkerNotMemberError:  # it was stopped for too long
                training.adopt(rounds.join())


def run_round(rounds: CoordinatorRounds, training: Training, write: Callable[[str], object]) -> None:
    plan = rounds.begin()
    if rounds.finished:
        return
    genome = plan.genomes[rounds.member]
    assert genome is not None
    for step in range(plan.steps):
        factor = rate_factor(DEFINITION.config, plan.first_step + step, plan.schedule_start)
        training.step(genome.values()["lr"] * factor)
        training.write(f"now-{rounds.member}")
    training.write(f"{plan.round}-{rounds.member}")
    loss = training.loss()
    decision = rounds.close(loss)
    write(f"{plan.round} {loss!r}\n")
    training.become(decision, rounds.member)


if __name__ == "__main__":
    main(*sys.argv[1:])
