"""What `chronos run` does: define the run, create it, follow it, show the result."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronos_common.cli.cluster import ClusterConfig, LocalCluster, log_file
from chronos_common.cli.compress_settings import CompressionRequest
from chronos_common.cli.following import follow
from chronos_common.cli.imports import import_path
from chronos_common.cli.output import emit_json, messages, parting, remark, results
from chronos_common.cli.paces import accuracy_line
from chronos_common.cli.progress import RunProgress, count_of
from chronos_common.cli.report_files import prepare
from chronos_common.cli.run_report import RunRecorder
from chronos_common.cli.securing import connect
from chronos_common.cli.values import newest_values
from chronos_common.cli.views import outer_json, outer_table, run_json, run_summary
from chronos_common.codec import encode
from chronos_common.engine import ACTIVE, RunView, VersionRecord, WorkSpec
from chronos_common.errors import ChronosError, ConfigurationError, ProblemError
from chronos_common.outer import OuterConfig, to_natural
from chronos_common.outer.memory import MemoryConfig
from chronos_common.tensors import Array
from chronos_common.versions import RoundConfig
from chronos_common.wire import SyncCoordinatorClient

if TYPE_CHECKING:
    from chronos_common.cli.warm_start import NewRun


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for; see the options of `chronos run`."""

    problem: str
    config: Mapping[str, Any]
    paths: tuple[Path, ...]
    estimator: str
    estimator_config: Mapping[str, Any]
    inner_steps: int
    seed: int
    evaluate_every: int
    cold_start: bool
    versions: int
    outer: OuterConfig
    compression: CompressionRequest
    rounds: RoundConfig
    run_id: str
    warm_start: str = ""
    warm_start_optimizer: bool = False
    memory: MemoryConfig | None = None
    report: Path | None = None

    def definition(self) -> NewRun:
        """The run's definition and its initial values; builds the problem, which imports torch.

        Raises:
            ProblemError: the problem cannot be imported, or its outer parameters are not valid.
            ConfigurationError: settings that cannot work.
        """
        require_torch()
        from chronos_common.cli.warm_start import NewRun
        from chronos_common.engine.local import describe_run
        from chronos_common.hypergradient import make_estimator
        from chronos_common.problem import load_problem, require_parts

        estimator = make_estimator(self.estimator, **self.estimator_config)
        with import_path(self.paths):
            problem = load_problem(self.problem, self.config, allow=[self.problem])
            require_parts(problem, estimator.requires, type(estimator).__name__)
            config, stored = describe_run(
                problem,
                work=WorkSpec(
                    problem=self.problem,
                    problem_config=json.dumps(dict(self.config), sort_keys=True),
                    estimator=self.estimator,
                    estimator_config=json.dumps(dict(self.estimator_config), sort_keys=True),
                    inner_steps=self.inner_steps,
                    seed=self.seed,
                    evaluate_every=self.evaluate_every,
                    cold_start=self.cold_start,
                ),
                outer=self.outer,
                rounds=self.rounds,
                max_versions=self.versions,
            )
        compression = self.compression.config(spec.shape for spec in config.parameters)
        return NewRun(
            config=replace(config, compression=compression, memory=self.memory),
            payload=encode("identity", stored),
            problem=problem,
            estimator=estimator,
        )

    def recorder(self) -> RunRecorder | None:
        """What follows the run for ``--report``, ``None`` without it.

        Raises:
            ConfigurationError: matplotlib is missing, or the directory of the report cannot be made.
        """
        if self.report is None:
            return None
        prepare(self.report, option="--report")
        return RunRecorder()

    def create(self, client: SyncCoordinatorClient, run: NewRun, run_id: str) -> RunView:
        """Creates the run, from where another one ended if that is wanted and better."""
        if not self.warm_start:
            return client.create_run(run.config, run.payload, run_id=run_id)
        from chronos_common.cli.warm_start import choose

        with import_path(self.paths):
            source = choose(client, run, self.warm_start, run_id=run_id)
        return client.create_run(
            run.config,
            run.payload,
            run_id=run_id,
            warm_start=source,
            warm_start_optimizer=self.warm_start_optimizer and bool(source),
        )


def make_name(problem: str) -> str:
    """An id for a run of ``package.module:ClassName``: ``class-name-3fa91c``."""
    attribute = problem.partition(":")[2]
    words = re.findall(r"[A-Z]+[0-9]*(?![a-z])|[A-Z]?[a-z0-9]+", attribute)
    return "-".join([*(word.lower() for word in words[:4]), secrets.token_hex(3)])


def run_local(request: RunRequest, *, workers: int, data: Path, as_json: bool) -> None:
    """Runs on a coordinator and workers of its own.

    Raises:
        ProblemError: the run ended, and no update was ever applied.
    """
    recorder = request.recorder()
    run = request.definition()
    run_id = request.run_id or make_name(request.problem)
    cluster_config = ClusterConfig(
        store=data,
        logs=data / "logs",
        workers=workers,
        problems=(request.problem,),
        paths=request.paths,
        run_id=run_id,
    )
    with RunProgress(messages(), quiet=as_json) as progress:
        progress.step(f"starting a coordinator and {count_of(workers)}")
        with LocalCluster(cluster_config) as cluster, SyncCoordinatorClient(cluster.address) as client:
            view = request.create(client, run, run_id)
            with parting(lambda: f"at version {_version(client, run_id)}; {_again(run_id)}"):
                _follow(client, view, progress, cluster.check, recorder)
            finished = _outcome(client, run_id)
    _show(*finished, as_json=as_json)
    _report(recorder, request.report, finished[0], as_json=as_json)
    _require_learning(finished[0], f"the logs of the workers are {log_file(data / 'logs', 'worker-*')}")


def run_dry(request: RunRequest, *, workers: int, as_json: bool) -> None:
    """Says what a run would take, and starts nothing.

    Raises:
        ProblemError: a part of the problem broke its contract, or diverged at once.
    """
    from chronos_common.cli.dry_run import costs, lines

    run = request.definition()
    with import_path(request.paths):
        found = costs(run, workers)
    if as_json:
        emit_json(
            {"problem": request.problem, "workers": workers, "devices": [cost.to_json() for cost in found]}
        )
    else:
        results().print("\n".join(lines(found, run, workers)), markup=False, highlight=False)


def run_remote(request: RunRequest, address: str, *, detach: bool, as_json: bool) -> None:
    """Runs on a coordinator that is there already, with whatever workers it has.

    Raises:
        ProblemError: the run ended, and no update was ever applied.
    """
    recorder = request.recorder()
    run = request.definition()
    with connect(address) as client:
        view = request.create(client, run, request.run_id or make_name(request.problem))
        if detach:
            if as_json:
                emit_json(run_json(view))
            else:
                results().print(f"run {view.run_id} is created; `chronos watch {view.run_id}` follows it")
            return
        with RunProgress(messages(), quiet=as_json) as progress:
            if not any(worker.live for worker in view.workers) and not as_json:
                remark(f"workers need --problem '{request.problem}' and the problem on their import path")
            with parting(lambda: f"the run goes on: {_commands(view.run_id)}"):
                _follow(client, view, progress, None, recorder)
        finished = _outcome(client, view.run_id)
    _show(*finished, as_json=as_json)
    _report(recorder, request.report, finished[0], as_json=as_json)
    _require_learning(finished[0], "look at the logs of the workers")


def require_torch() -> None:
    """Raises a ``ConfigurationError`` that says what to install when torch is missing."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise ConfigurationError("this needs PyTorch: pip install 'chronos-nested[worker]'")


def _follow(
    client: SyncCoordinatorClient,
    view: RunView,
    progress: RunProgress,
    check: Callable[[], object] | None,
    recorder: RunRecorder | None,
) -> None:
    if view.status == ACTIVE:
        progress.step(view.run_id, total=view.config.max_versions, start=view.version)
    elif recorder is None:
        return

    def published(record: VersionRecord) -> None:
        if recorder is not None:
            recorder.record(record)
        if record.version > view.version:
            progress.record(record)

    follow(
        client,
        view.run_id,
        on_version=published,
        on_view=None if recorder is None else recorder.look,
        # A report has the versions too that were there before.
        after_version=view.version if recorder is None else 0,
        check=check,
    )


def _report(recorder: RunRecorder | None, directory: Path | None, view: RunView, *, as_json: bool) -> None:
    if recorder is None or directory is None:
        return
    report = recorder.report(view)
    paths = report.write(directory)
    if not as_json:
        shown = f"prediction: {accuracy_line(report.prediction)}\nreport: {'  '.join(map(str, paths))}"
        results().print(shown, markup=False, highlight=False, soft_wrap=True)


def _version(client: SyncCoordinatorClient, run_id: str) -> str:
    try:
        return str(client.get_run(run_id).version)
    except ChronosError:
        return "unknown"


def _again(run_id: str) -> str:
    return f"the same command with --run-id {run_id} goes on"


def _commands(run_id: str) -> str:
    return f"`chronos watch {run_id}`, `chronos stop {run_id}`"


def _outcome(client: SyncCoordinatorClient, run_id: str) -> tuple[RunView, dict[str, Array]]:
    view = client.get_run(run_id)
    newest = newest_values(client, run_id, view.config)
    return view, to_natural(newest.stored, view.config.parameters)


def _show(view: RunView, outer: Mapping[str, Array], *, as_json: bool) -> None:
    if as_json:
        emit_json(run_json(view) | {"outer": outer_json(outer)})
    else:
        results().print(run_summary(view))
        results().print(outer_table(outer))


def _require_learning(view: RunView, advice: str) -> None:
    if view.accepted == view.skipped > 0:
        raise ProblemError(
            f"run {view.run_id} has {view.status} at version {view.version}, but no update was ever applied: "
            f"all {view.skipped} commits were skips, as of a problem that diverges, and the outer parameters "
            f"are those of the start; {advice}"
        )
