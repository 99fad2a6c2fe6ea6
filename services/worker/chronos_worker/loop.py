"""The loop: check a version out, work on it, commit, for as long as there are runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from chronos_common.engine import ACTIVE, WorkSpec
from chronos_common.errors import (
    ChainBrokenError,
    ChronosError,
    ConfigurationError,
    DivergenceError,
    IncarnationSupersededError,
    NonFiniteError,
    PayloadError,
    ProblemError,
    RefusalError,
    RunNotActiveError,
    RunNotFoundError,
    UnknownVersionError,
    WaitExpiredError,
    WorkerUnknownError,
)
from chronos_common.hypergradient import InnerUpdate
from chronos_common.metrics import WorkerMetrics
from chronos_common.runtime import get_logger
from chronos_common.runtime.tracing import span
from chronos_common.wire import CheckoutResult
from chronos_worker.client import Client
from chronos_worker.committer import Committer
from chronos_worker.compute_thread import ComputeThread
from chronos_worker.config import WorkerConfig
from chronos_worker.lifecycle import Clock, Interrupted, Lifecycle
from chronos_worker.membership import Membership
from chronos_worker.pace import TimeAccount
from chronos_worker.retry import Backoff, Retrier
from chronos_worker.session import Session
from chronos_worker.sessions import Sessions
from chronos_worker.trainer import Assignment, Trainer

T = TypeVar("T")

LoadTrainer = Callable[[WorkSpec], Trainer]
"""Makes the trainer of a run; called in the compute thread, since it imports the user's code."""

UNUSABLE_LIMIT: Final = 1000
"""Runs that are remembered as those that this worker cannot work on."""

_log = get_logger(__name__)


class WorkLoop:
    """Works on one run after the other, or on the one that the configuration names until it is over.

    Args:
        config: settings of the worker.
        client: the coordinator.
        membership: this process's registration.
        lifecycle: when to stop.
        thread: where tensors are computed.
        load: makes the trainer of a run.
        sessions: opens and closes what is kept of a run.
        retrier: repeats calls.
        backoff: makes pauses for what a repetition alone does not mend.
        account: where the time goes.
        metrics: what is reported.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: WorkerConfig,
        *,
        client: Client,
        membership: Membership,
        lifecycle: Lifecycle,
        thread: ComputeThread,
        load: LoadTrainer,
        sessions: Sessions,
        retrier: Retrier,
        backoff: Callable[[], Backoff],
        account: TimeAccount,
        metrics: WorkerMetrics,
        clock: Clock,
    ) -> None:
        self._config = config
        self._client = client
        self._membership = membership
        self._lifecycle = lifecycle
        self._thread = thread
        self._load = load
        self._sessions = sessions
        self._retrier = retrier
        self._pauses = backoff()
        self._account = account
        self._metrics = metrics
        self._clock = clock
        self._committer = Committer(
            client, membership, retrier, account, backoff, metrics, clock, sessions.save
        )
        self._session: Session | None = None
        self._held: tuple[str, int] | None = None
        self._checkout_seconds = 0.0
        self._unusable: set[str] = set()
        self._avoided: set[str] = set()
        self._over = False
        self._missing_logged = False

    # --- what the heartbeats need ----------------------------------------------------------------

    def holding(self) -> list[tuple[str, int]]:
        """The run and version being worked on."""
        return [] if self._held is None else [self._held]

    def run_ended(self, run_id: str) -> None:
        """A heartbeat's answer: work on this run is in vain."""
        if self._session is not None and self._session.run_id == run_id:
            self._session.ended = True

    # --- the loop --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Works until it is stopped or the run named in the configuration is over.

        Raises:
            ProblemError, ConfigurationError, PayloadError, RefusalError: that run cannot be worked on here.
            StateDirectoryError: it can be neither written nor cleared any more.
        """
        try:
            await self._lifecycle.unless_stopping(self._sessions.tidy(self._client))
            while not self._over:
                await self._turn()
        except Interrupted:
            _log.info("stopped", worker=self._membership.worker_id)
        finally:
            self._close_session("the worker stops")

    async def _turn(self) -> None:
        # One trace: the checkout, the work, the commit, and what they cause in the coordinator.
        with span("chronos.worker/turn"):
            await self._take_turn()

    async def _take_turn(self) -> None:
        checkout = await self._checkout()
        if checkout is None:
            return
        started = self._clock() - self._checkout_seconds + checkout.header_seconds
        session = await self._enter(checkout)
        if session is None:
            return
        try:
            stored = session.take(checkout)
        except PayloadError as error:
            _log.error("checkout damaged", run=session.run_id, version=checkout.version, problem=str(error))
            self._metrics.retried(error.reason)
            await self._pause()
            return
        assignment = Assignment(
            version=checkout.version,
            stored=stored,
            shard=checkout.shard,
            started=started,
            seconds=checkout.work_seconds,
            share=checkout.work_share,
        )
        self._held = (session.run_id, checkout.version)
        try:
            await self._work(session, assignment)
        finally:
            self._held = None

    async def _work(self, session: Session, assignment: Assignment) -> None:
        self._metrics.working_on(assignment.version)
        try:
            update = await self._compute(session, assignment)
        except (ProblemError, ConfigurationError, PayloadError) as error:
            await self._give_up(session.run_id, error)
            return
        if session.ended:
            self._run_over(session.run_id, "it ended while this worker was at work")
            return
        await self._commit(session, assignment.version, update)

    # --- checkout --------------------------------------------------------------------------------

    async def _checkout(self) -> CheckoutResult | None:
        """A version, or ``None`` when the loop should begin anew."""
        session = self._current_session()
        run_id = self._config.run_id or ("" if session is None else session.run_id)
        called, incarnation = 0.0, 0

        def call() -> Awaitable[CheckoutResult]:
            nonlocal called, incarnation
            called, incarnation = self._clock(), self._membership.incarnation
            return self._client.checkout(
                run_id,
                worker_id=self._membership.worker_id,
                incarnation=incarnation,
                known=None if session is None else session.known,
                wait_seconds=self._config.wait_seconds,
                except_runs=() if run_id else tuple(self._avoided),
            )

        began = self._clock()
        try:
            answer = self._retrier.answer("checkout", call, passing=(WaitExpiredError,))
            result = await self._lifecycle.unless_stopping(answer)
        except WaitExpiredError:
            self._avoided.clear()  # there is nothing else: what failed may have been mended
            self._account.spent("wait", self._clock() - began)
            if self._clock() - called < self._config.wait_seconds / 2:
                await self._pause()  # the coordinator did not let it wait: do not ask all the time
            return None
        except (RefusalError, PayloadError) as error:
            self._account.spent("wait", self._clock() - began)
            await self._checkout_refused(run_id, incarnation, error)
            return None
        self._checkout_seconds = self._clock() - called
        transfer = self._checkout_seconds - result.header_seconds
        self._account.spent("communication", transfer)
        self._account.spent("wait", self._clock() - began - transfer)
        self._metrics.traffic(result.bytes_received, result.bytes_sent)
        return result

    async def _checkout_refused(self, run_id: str, incarnation: int, error: ChronosError) -> None:
        if isinstance(error, IncarnationSupersededError):
            self._superseded(error, incarnation)
            return
        if isinstance(error, WorkerUnknownError):
            await self._lifecycle.unless_stopping(self._membership.register())
            return
        if isinstance(error, RunNotActiveError):
            self._run_over(run_id, str(error))
            return
        if isinstance(error, RunNotFoundError):
            self._close_session(str(error))
            if run_id and not self._missing_logged:
                _log.warning("waiting for the run to be created", run=run_id)
                self._missing_logged = True
        else:
            if self._session is not None:
                self._session.forget_values()
            level = _log.debug if isinstance(error, UnknownVersionError) else _log.warning
            level("checkout refused", run=run_id, reason=error.reason, problem=str(error))
        await self._pause()

    def _superseded(self, error: ChronosError, incarnation: int) -> None:
        """Another process has the name, unless a heartbeat has registered this one anew in the meantime."""
        if incarnation == self._membership.incarnation:
            self._lifecycle.fail(error)
            raise Interrupted from error

    # --- runs ------------------------------------------------------------------------------------

    def _current_session(self) -> Session | None:
        session = self._session
        if session is not None and session.incarnation != self._membership.incarnation:
            self._close_session("this worker has a new incarnation")
        return self._session

    async def _enter(self, checkout: CheckoutResult) -> Session | None:
        """The session of the run that was handed out; ``None`` when it cannot be worked on."""
        run_id = checkout.run_id
        if self._session is not None and self._session.run_id == run_id:
            return self._session
        self._close_session(f"it works on run {run_id} now")
        try:
            get = self._retrier.answer("get_run", lambda: self._client.get_run(run_id))
            view = await self._lifecycle.unless_stopping(get)
            load = self._thread.run(lambda: self._load(view.config.work))
            trainer = await self._lifecycle.unless_stopping(load)
        except RunNotFoundError:
            await self._pause()
            return None
        except (ProblemError, ConfigurationError, RefusalError, PayloadError) as error:
            await self._give_up(run_id, error)
            return None
        self._session = await self._lifecycle.unless_stopping(
            self._sessions.open(
                view,
                checkout,
                trainer,
                worker_id=self._membership.worker_id,
                incarnation=self._membership.incarnation,
            )
        )
        self._missing_logged = False
        _log.info("joined run", run=run_id, problem=view.config.work.problem, version=checkout.version)
        return self._session

    async def _give_up(self, run_id: str, error: ChronosError) -> None:
        """This worker cannot work on the run: says so once, returns the lease, and turns to others first."""
        self._close_session(str(error))
        if run_id not in self._unusable:
            _log.error("cannot work on this run", run=run_id, reason=error.reason, problem=str(error))
            if len(self._unusable) < UNUSABLE_LIMIT:
                self._unusable.add(run_id)
        if len(self._avoided) < UNUSABLE_LIMIT:
            self._avoided.add(run_id)
        await self._lifecycle.until_drained(
            self._membership.leave(f"cannot work on run {run_id}: {error.reason}")
        )
        if self._config.run_id:
            raise error
        await self._pause()

    def _run_over(self, run_id: str, why: str) -> None:
        _log.info("run over", run=run_id, why=why)
        self._close_session(why, run_over=True, run_id=run_id)
        self._over = bool(self._config.run_id)

    def _close_session(self, why: str, *, run_over: bool = False, run_id: str = "") -> None:
        """Forgets the run, but for what ``Sessions.close`` keeps; ``run_id`` is the one that is over."""
        session, self._session = self._session, None
        if session is not None:
            self._sessions.close(session, why, over=run_over)
        elif run_over and run_id:
            self._sessions.run_over(run_id)

    # --- work ------------------------------------------------------------------------------------

    async def _compute(self, session: Session, assignment: Assignment) -> InnerUpdate | None:
        """The update, or ``None`` when it diverged.

        Raises:
            ProblemError, ConfigurationError, PayloadError: it cannot be computed here, or diverged too often.
        """
        reserve = session.trainer.commit

        def interrupted() -> bool:
            return session.ended or self._clock() + reserve.bound >= self._lifecycle.drain_deadline

        began = self._clock()
        try:
            work = self._thread.run(lambda: session.trainer.update(assignment, interrupted))
            update = await self._lifecycle.until_drained(work)
        except (DivergenceError, NonFiniteError) as error:
            self._metrics.diverged()
            session.trainer.forget()
            self._count_failure(session, error)
            _log.warning(
                "update diverged; committing a skip and starting afresh",
                run=session.run_id,
                version=assignment.version,
                problem=str(error),
            )
            return None
        finally:
            self._account.spent("compute", self._clock() - began)
        self._metrics.updated(self._clock() - began, work=update.work)
        _log.debug(
            "computed", run=session.run_id, version=assignment.version, work=update.work, **update.diagnostics
        )
        return update

    async def _commit(self, session: Session, base: int, update: InnerUpdate | None) -> None:
        try:
            outcome = await self._lifecycle.until_drained(self._committer.commit(session, base, update))
        except IncarnationSupersededError as error:
            self._superseded(error, session.incarnation)
            return
        except RunNotActiveError as error:
            self._run_over(session.run_id, str(error))
            return
        except RunNotFoundError as error:
            self._close_session(str(error))
            return
        except (PayloadError, RefusalError) as error:
            await self._refused(session, error)
            return
        if update is not None and outcome is not None:
            session.failures = 0
        self._pauses.reset()
        if outcome is not None and outcome.status != ACTIVE:
            self._run_over(session.run_id, f"it is {outcome.status}")

    async def _refused(self, session: Session, error: ChronosError) -> None:
        """An update that the coordinator will never take, or does not take from this worker."""
        if isinstance(error, ChainBrokenError | WorkerUnknownError):
            self._close_session(str(error))
            return
        session.forget_values()
        try:
            self._count_failure(session, error)
        except ChronosError:
            await self._give_up(session.run_id, error)
            return
        await self._pause()

    def _count_failure(self, session: Session, error: ChronosError) -> None:
        session.failures += 1
        if session.failures >= self._config.max_failures:
            raise error

    async def _pause(self) -> None:
        await self._lifecycle.unless_stopping(self._pauses.pause())
