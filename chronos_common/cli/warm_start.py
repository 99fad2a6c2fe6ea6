"""`chronos run --warm-start`: which run to begin from, found by trying."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_common.cli.output import remark
from chronos_common.cli.values import newest_values
from chronos_common.codec import decode
from chronos_common.engine import RunConfig
from chronos_common.engine.trial import COLD, Trial, try_starts
from chronos_common.engine.warm_start import AUTO, WarmStartCandidate
from chronos_common.errors import ConfigurationError, RunNotFoundError
from chronos_common.hypergradient import HypergradientEstimator
from chronos_common.problem import InnerProblem
from chronos_common.wire import SyncCoordinatorClient

MAX_TRIED = 3
"""Runs that ``auto`` tries: each costs one update on this machine."""


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """A run that is about to be created, with what tries its starts."""

    config: RunConfig
    payload: bytes
    problem: InnerProblem
    estimator: HypergradientEstimator


def choose(client: SyncCoordinatorClient, run: NewRun, wanted: str, *, run_id: str) -> str:
    """The run to begin from; empty is a cold start.

    Args:
        client: of the coordinator that will have the new run.
        run: the new one.
        wanted: a run, or ``"auto"``.
        run_id: of the new run; one that is there already goes on as it began.

    Raises:
        RunNotFoundError: there is no run ``wanted``.
        ConfigurationError: it cannot be used, and why.
    """
    if _exists(client, run_id):
        return COLD
    candidates = _usable(client, run.config, wanted)
    if not candidates:
        remark("no finished run has these outer parameters: a cold start")
        return COLD
    starts = {COLD: decode(run.payload)} | {
        found.run_id: newest_values(client, found.run_id, run.config).stored for found in candidates
    }
    work = run.config.work
    trials = try_starts(run.problem, run.estimator, starts, inner_steps=work.inner_steps, seed=work.seed)
    remark(_said(trials))
    return trials[0].start


def _usable(client: SyncCoordinatorClient, config: RunConfig, wanted: str) -> list[WarmStartCandidate]:
    if wanted == AUTO:
        return [found for found in client.find_warm_starts(config) if not found.problem][:MAX_TRIED]
    (found,) = client.find_warm_starts(config, run_id=wanted)
    if found.problem:
        raise ConfigurationError(
            f"run {wanted!r} cannot warm-start this one: {found.problem}; name another run, or start cold",
            field="warm_start",
        )
    return [found]


def _exists(client: SyncCoordinatorClient, run_id: str) -> bool:
    try:
        client.get_run(run_id)
    except RunNotFoundError:
        return False
    return True


def _said(trials: list[Trial]) -> str:
    def name(trial: Trial) -> str:
        return trial.start or "the cold start"

    losses = ", ".join(
        f"{name(t)} {t.outer_loss:.6g}" if not t.problem else f"{name(t)} diverges" for t in trials
    )
    return f"begins from {name(trials[0])} (outer loss after one update: {losses})"
