"""Served runs of the warm-start benchmark: one worker, quorum 1, real gRPC and SQLite."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.warming.problem import ShiftedRidge
from chronos_common.cli.warm_start import NewRun, choose
from chronos_common.codec import encode
from chronos_common.engine import WorkSpec
from chronos_common.engine.local import describe_run
from chronos_common.hypergradient import make_estimator
from chronos_common.versions import LeaseConfig, RoundConfig
from chronos_common.wire import SyncCoordinatorClient
from chronos_coordinator import EmbeddedCoordinator
from chronos_worker import Worker, WorkerConfig

INNER_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class Served:
    """A finished run: the exact outer loss at each version, what it began from, and updates spent on choosing."""

    run_id: str
    losses: list[float]
    warm_from: str
    trials: int

    def steps_to(self, loss: float) -> int | None:
        """Outer steps until the loss is at most this, those spent on choosing included."""
        found = next((step for step, value in enumerate(self.losses) if value <= loss), None)
        return None if found is None else found + self.trials


@contextmanager
def cluster() -> Iterator[SyncCoordinatorClient]:
    """A coordinator with a store of its own, and a worker."""
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedCoordinator(folder) as coordinator,
        SyncCoordinatorClient(coordinator.address) as client,
        Worker(
            WorkerConfig(coordinator=coordinator.address, worker_id="one", problems=("benchmarks.warming.*",))
        ),
    ):
        yield client


def serve(
    client: SyncCoordinatorClient,
    shift: str,
    seed: int,
    *,
    versions: int,
    warm_start: str = "",
    force: bool = False,
    keep_optimizer: bool = False,
) -> Served:
    """Runs the problem to its end.

    Args:
        client: of the coordinator.
        shift: which data.
        seed: of the family of data sets.
        versions: outer steps.
        warm_start: a run or ``"auto"``, by the rule of ``chronos run``.
        force: begin from ``warm_start`` without the rule.
        keep_optimizer: take over the optimiser's state.
    """
    problem = ShiftedRidge(shift, seed)
    config, start = describe_run(
        problem,
        work=WorkSpec(
            problem="benchmarks.warming.problem:ShiftedRidge",
            problem_config=json.dumps({"shift": shift, "seed": seed}),
            inner_steps=INNER_STEPS,
            seed=seed,
        ),
        rounds=RoundConfig(quorum=1),
        leases=LeaseConfig(initial_seconds=60.0, min_seconds=60.0),
        max_versions=versions + 1,  # a version's loss is measured on the way to the next one
    )
    payload = encode("identity", start)
    source, trials = warm_start, 0
    if warm_start and not force:
        new = NewRun(config=config, payload=payload, problem=problem, estimator=make_estimator("implicit"))
        source = choose(client, new, warm_start, run_id="not-yet")
        trials = 2  # the cold start and the one that is remembered
    view = client.create_run(
        config, payload, warm_start=source, warm_start_optimizer=keep_optimizer and bool(source)
    )
    records = (update.record for update in client.watch_run(view.run_id))
    losses = [record.metrics["exact_loss"] for record in records if record is not None]
    report = client.verify_run(view.run_id)
    if not report.clean:
        raise AssertionError(f"the journal of run {view.run_id} does not verify: {report.problem}")
    return Served(
        run_id=view.run_id,
        losses=losses,
        warm_from=client.get_run(view.run_id).warm_from,
        trials=trials,
    )
