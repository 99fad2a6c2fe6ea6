"""Sending one update until the coordinator has said what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from chronos_common.errors import (
    ChainBrokenError,
    ChronosError,
    PayloadError,
    RefusalError,
    StaleCommitError,
    WorkerNotMemberError,
    WorkerUnknownError,
)
from chronos_common.hypergradient import InnerUpdate
from chronos_common.metrics import WorkerMetrics
from chronos_common.runtime import get_logger
from chronos_common.wire import CommitResult
from chronos_worker.client import Client
from chronos_worker.lifecycle import Clock
from chronos_worker.membership import Membership
from chronos_worker.pace import TimeAccount
from chronos_worker.retry import Backoff, Retrier
from chronos_worker.session import Session, Work

RETURNING: Final = (StaleCommitError, WorkerNotMemberError, ChainBrokenError)
"""Refusals in the course of things: the update is in the residual, and the next checkout mends the rest."""

MAX_OPEN_ANSWERS: Final = 5
"""Answers about an older end of the chain that are put down to delay before the worker starts anew."""

_log = get_logger(__name__)


class Committer:
    """Commits updates, each exactly once or into the residual.

    Args:
        client: the coordinator.
        membership: this process's registration.
        retrier: repeats what was not answered.
        account: where the time goes.
        backoff: makes pauses for an answer that settles nothing.
        metrics: what is reported.
        clock: monotonic seconds.
        save: makes durable what must survive this process, before a commit leaves.
    """

    def __init__(
        self,
        client: Client,
        membership: Membership,
        retrier: Retrier,
        account: TimeAccount,
        backoff: Callable[[], Backoff],
        metrics: WorkerMetrics,
        clock: Clock,
        save: Callable[[Session], Awaitable[None]],
    ) -> None:
        self._client = client
        self._membership = membership
        self._retrier = retrier
        self._account = account
        self._backoff = backoff
        self._metrics = metrics
        self._clock = clock
        self._save = save

    async def commit(self, session: Session, base: int, update: InnerUpdate | None) -> CommitResult | None:
        """Sends an update, or a skip, computed at ``base``.

        Returns:
            The answer; ``None`` when the update went to the residual (too stale, or this worker was no
            member any more), so that it goes with the next one.

        Raises:
            IncarnationSupersededError: a newer process has taken over; what became of the update is open.
            RunNotActiveError, RunNotFoundError: the run is over.
            ChainBrokenError: the coordinator's chain ends before what it once applied.
            PayloadError: the update can never be accepted and is discarded.
            RefusalError: anything else that sending again would not change.
            StateDirectoryError: what must be durable first cannot be; nothing was sent.
        """
        work = session.prepare(base, update)
        began = self._clock()
        await self._save(session)
        saving_seconds = self._clock() - began
        timing = self._account.take()
        backoff, attempts = self._backoff(), 0
        while True:
            try:
                result = await self._send(session, work, timing, saving_seconds)
            except (RefusalError, PayloadError) as error:
                applied, open_ = self._settle(session, work, error)
                attempts += 1
                if open_ and attempts < MAX_OPEN_ANSWERS:
                    await backoff.pause()
                    continue
                if not applied:
                    self._account.give_back(timing)
                if open_ or not (applied or isinstance(error, RETURNING)):
                    raise
                return None
            self._accepted(session, work, result)
            return result

    def _settle(self, session: Session, work: Work, error: ChronosError) -> tuple[bool, bool]:
        """Resolves what a refusal decides: whether the update turned out applied, and whether it is open."""
        seq = work.commit.seq
        resolution = session.refused(seq, error)
        applied = seq in resolution.applied
        if seq in resolution.dropped:
            self._metrics.committed("refused")
        session.report(self._metrics)
        log = _log.error if resolution.discarded else _log.info
        log(
            "commit refused",
            run=session.run_id,
            worker=work.commit.worker_id,
            version=work.commit.base,
            seq=seq,
            reason=error.reason,
            problem=str(error),
            fate="applied before" if applied else "discarded" if resolution.discarded else "kept",
        )
        return applied, not applied and isinstance(error, ChainBrokenError) and seq not in resolution.dropped

    def _accepted(self, session: Session, work: Work, result: CommitResult) -> None:
        session.accepted(work.commit.seq)
        skipped = work.payload is None
        self._metrics.committed("duplicate" if result.duplicate else "skipped" if skipped else "accepted")
        session.report(self._metrics)
        _log.info(
            "committed",
            run=session.run_id,
            worker=work.commit.worker_id,
            version=work.commit.base,
            incarnation=work.commit.incarnation,
            seq=work.commit.seq,
            staleness=result.staleness,
            weight=result.weight,
            work=work.commit.work,
            skipped=skipped,
            newest=result.version,
            **{name: work.metrics[name] for name in ("outer_loss",) if name in work.metrics},
        )

    async def _send(
        self, session: Session, work: Work, timing: dict[str, float], saving_seconds: float
    ) -> CommitResult:
        commit = work.commit

        async def call() -> CommitResult:
            with self._account.timed("communication"):
                return await self._client.commit(
                    session.run_id,
                    worker_id=commit.worker_id,
                    incarnation=commit.incarnation,
                    seq=commit.seq,
                    prev_applied=commit.prev_applied,
                    base=commit.base,
                    payload=work.payload,
                    kind=session.kind,
                    work=commit.work,
                    samples=work.samples,
                    tasks=work.tasks,
                    metrics=work.metrics,
                    timing=timing,
                    residual_lost=work.residual_lost,
                )

        while True:
            began = self._clock()
            try:
                result = await self._retrier.answer("commit", call)
            except WorkerUnknownError:
                await self._membership.register()
                if self._membership.incarnation != session.incarnation:
                    raise
            else:
                session.trainer.commit.observe(saving_seconds + self._clock() - began)
                self._metrics.traffic(result.bytes_received, result.bytes_sent)
                return result
