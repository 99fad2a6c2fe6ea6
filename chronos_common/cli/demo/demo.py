"""The demo, start to end: a cluster, two served runs, one run without a cluster, and the final training."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from chronos_common.cli.chaos import Blow, Chaos, Moment, plan
from chronos_common.cli.cluster import ClusterConfig, LocalCluster
from chronos_common.cli.demo.arms import accuracies
from chronos_common.cli.demo.hypercleaning import LOGITS, HyperCleaning, f1_of, load_split
from chronos_common.cli.demo.outcome import Curve, Outcome
from chronos_common.cli.following import follow
from chronos_common.cli.paces import PaceRecorder, Prediction
from chronos_common.cli.progress import RunProgress, count_of
from chronos_common.cli.remote_cluster import Cluster
from chronos_common.cli.values import newest_values
from chronos_common.codec import encode
from chronos_common.engine import ACTIVE, CompressionConfig, RunConfig, RunView, VersionRecord, WorkSpec
from chronos_common.engine.local import describe_run, optimize
from chronos_common.errors import ConfigurationError, CorruptStateError, ProcessError, UnavailableError
from chronos_common.hypergradient import make_estimator
from chronos_common.outer import OuterConfig, to_natural
from chronos_common.tensors import Array
from chronos_common.wire import SyncCoordinatorClient

PROBLEM_PATH: Final = "chronos_common.cli.demo.hypercleaning:HyperCleaning"
OUTER: Final = OuterConfig(name="adam", learning_rate=0.05)
ESTIMATOR: Final = "implicit"
ESTIMATOR_CONFIG: Final[Mapping[str, float]] = {"cg_steps": 10, "damping": 0.001}
INNER_STEPS: Final = 10
STALL_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What to clean, and for how long.

    Attributes:
        noise: probability that a training label is flipped.
        seed: of the split, the flips and the run.
        workers: worker processes.
        versions: outer steps.
        chaos: kill a worker and the coordinator in the middle of the run that learns, and stop another worker for
            a while; when and whom decides the seed.
    """

    noise: float = 0.5
    seed: int = 0
    workers: int = 3
    versions: int = 120
    chaos: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.noise <= 1.0:
            raise ConfigurationError(f"noise is {self.noise}; it must lie between 0 and 1")
        if self.seed < 0:
            raise ConfigurationError(f"seed is {self.seed}; it must be 0 or more")
        for name in ("workers", "versions"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        self.blows()

    def blows(self) -> tuple[Blow, ...]:
        """What happens to the cluster while it learns."""
        return plan(self.seed, versions=self.versions, workers=self.workers) if self.chaos else ()

    def problem(self) -> HyperCleaning:
        """The problem, as every worker builds it for itself."""
        return HyperCleaning(noise=self.noise, seed=self.seed)

    def work(self) -> WorkSpec:
        """What workers do with a version."""
        return WorkSpec(
            problem=PROBLEM_PATH,
            problem_config=json.dumps({"noise": self.noise, "seed": self.seed}),
            estimator=ESTIMATOR,
            estimator_config=json.dumps(dict(ESTIMATOR_CONFIG)),
            inner_steps=INNER_STEPS,
            seed=self.seed,
        )

    def run_config(self, outer: OuterConfig) -> tuple[RunConfig, dict[str, Array]]:
        """The served run with an outer optimiser, and u at version 0."""
        return describe_run(
            self.problem(),
            work=self.work(),
            outer=outer,
            compression=CompressionConfig.named("int8", "int8"),
            max_versions=self.versions,
        )


@dataclass(frozen=True, kw_only=True)
class ServedRun:
    """One finished run of the cluster."""

    logits: Tensor
    curve: Curve
    view: RunView
    seconds: float
    kills: Mapping[str, int]
    prediction: Prediction
    moments: tuple[Moment, ...] = ()


def run_demo(config: DemoConfig, directory: Path, progress: RunProgress) -> Outcome:
    """Starts a cluster, runs every arm, and stops it.

    Args:
        config: what to clean.
        directory: gets the store (``data/``), which keeps the runs of earlier demos, and ``logs/``.
        progress: told about every step.

    Raises:
        ProcessError: a process failed; one line with the path of its log.
        ConfigurationError: the directory cannot be written to.
    """
    cluster_config = ClusterConfig(
        store=directory / "data",
        logs=directory / "logs",
        workers=config.workers,
        problems=(PROBLEM_PATH,),
    )
    progress.step(f"starting a coordinator and {count_of(config.workers)}")
    with LocalCluster(cluster_config) as cluster:
        stop_leftovers(cluster.address)
        served = serve_both(cluster, config, progress)
    return complete(config, served, progress, workers=config.workers)


def conduct(cluster: Cluster, config: DemoConfig, progress: RunProgress) -> Outcome:
    """Every arm on a cluster that goes on afterwards: somebody else's, or for many demos in a row.

    Raises:
        ProcessError: a process of the cluster failed, or nothing went on any more; one line with where to look.
    """
    served = serve_both(cluster, config, progress)
    busy = sum(worker.accepted > 0 for worker in served["chronos"].view.workers)
    return complete(config, served, progress, workers=busy)


def serve_both(cluster: Cluster, config: DemoConfig, progress: RunProgress) -> dict[str, ServedRun]:
    """The arms ``"chronos"`` and ``"control"`` on a cluster whose workers may import the problem."""
    cluster.wait_for_workers()
    progress.step("chronos", total=config.versions)
    chronos = serve(cluster, "chronos", config, OUTER, progress, blows=config.blows())
    progress.step("control (outer learning rate 0)", total=config.versions)
    control = serve(cluster, "control", config, replace(OUTER, learning_rate=0.0), progress)
    return {"chronos": chronos, "control": control}


def complete(
    config: DemoConfig, served: Mapping[str, ServedRun], progress: RunProgress, *, workers: int
) -> Outcome:
    """The other arms, which need no cluster, and the final training of all."""
    torch.set_num_threads(1)
    progress.step("single node", total=config.versions)
    single_logits, single_curve = single_node(config, progress)
    progress.step("final training of every arm")
    split, chronos = load_split(config.noise, config.seed), served["chronos"]
    logits = {arm: run.logits for arm, run in served.items()} | {"single_node": single_logits}
    curves = {arm: run.curve for arm, run in served.items()} | {"single_node": single_curve}
    outcome = Outcome(
        noise=config.noise,
        seed=config.seed,
        workers=workers,
        accuracy=accuracies(split, logits),
        f1=f1_of(chronos.logits, split.clean),
        weights=torch.sigmoid(chronos.logits).numpy(),
        clean=split.clean.numpy(),
        curves=curves,
        run=chronos.view,
        total_seconds=chronos.seconds,
        kills=chronos.kills,
        moments=chronos.moments,
        prediction=chronos.prediction,
    )
    progress.done()
    return outcome


def stop_leftovers(address: str) -> None:
    """Ends the runs of an earlier demo that was interrupted: workers would take them up."""
    with SyncCoordinatorClient(address) as client:
        for view in client.list_runs():
            if view.status == ACTIVE:
                client.stop_run(view.run_id, reason="left by a demo that was interrupted")


def serve(
    cluster: Cluster,
    arm: str,
    config: DemoConfig,
    outer: OuterConfig,
    progress: RunProgress,
    *,
    blows: Sequence[Blow] = (),
) -> ServedRun:
    """Creates a run on the cluster, follows it to its end whatever the blows, checks its journal, and reads it.

    Raises:
        ProcessError: a process failed by itself, or nothing went on any more.
        CorruptStateError: the journal does not give the run's digests.
    """
    run_id = f"{arm}-{secrets.token_hex(3)}"
    definition, stored = config.run_config(outer)
    records: list[VersionRecord] = []
    paces = PaceRecorder()

    def published(record: VersionRecord) -> None:
        records.append(record)
        chaos.published(record.version)
        progress.record(record)

    with SyncCoordinatorClient(cluster.address) as client, Chaos(cluster, blows) as chaos:
        began = time.monotonic()
        client.create_run(definition, encode("identity", stored), run_id=run_id)
        try:
            follow(
                client,
                run_id,
                on_version=published,
                on_view=paces.look,
                check=chaos.check,
                stall_seconds=STALL_SECONDS,
            )
        except UnavailableError as error:
            cluster.leave(run_id)
            raise ProcessError(f"{error}; {cluster.advice}") from error
        except BaseException:
            cluster.leave(run_id)
            raise
        seconds = time.monotonic() - began
        view = client.get_run(run_id)
        paces.look(view)
        newest = newest_values(client, run_id, definition)
        verdict = client.verify_run(run_id)
    if view.version < config.versions:
        raise ConfigurationError(
            f"run {run_id} ended at version {view.version} of {config.versions}: {view.status} ({view.reason})"
        )
    if not verdict.clean:
        raise CorruptStateError(f"the journal of run {run_id} does not verify: {verdict.problem}")
    return ServedRun(
        logits=torch.from_numpy(to_natural(newest.stored, definition.parameters)[LOGITS]),
        curve=curve([(record.version, record.metrics) for record in records]),
        view=view,
        seconds=seconds,
        kills=cluster.kills,
        moments=chaos.moments,
        prediction=paces.prediction,
    )


def single_node(config: DemoConfig, progress: RunProgress) -> tuple[Tensor, Curve]:
    """The same estimator and optimiser in this process: λ and its curve."""
    result = optimize(
        config.problem(),
        estimator=make_estimator(ESTIMATOR, **ESTIMATOR_CONFIG),
        outer=OUTER,
        versions=config.versions,
        inner_steps=INNER_STEPS,
        seed=config.seed,
        on_version=lambda entry: progress.version(entry.version, entry.metrics["outer_loss"]),
    )
    return result.outer[LOGITS], curve([(entry.version, entry.metrics) for entry in result.history])


def curve(points: Sequence[tuple[int, Mapping[str, float]]]) -> Curve:
    """A curve from metrics by version; versions without the figures are left out."""
    whole = [(v, m["outer_loss"], m["test_accuracy"]) for v, m in points if "test_accuracy" in m]
    return Curve(
        versions=[version for version, _, _ in whole],
        outer_loss=[loss for _, loss, _ in whole],
        test_accuracy=[accuracy for _, _, accuracy in whole],
    )
