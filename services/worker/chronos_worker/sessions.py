"""Opening the session of a run from what is kept on disk, and closing it so that nothing goes without a word.

With a state directory, what a session owes is durable before each of its commits leaves, and the next session of the
run, in this process or in its successor, goes on from there. Without one, or with a file that cannot be used, the next
session declares the loss with its first commits.

When the directory fails in mid-run, the run goes on as if there were none: the file, which is older than the commit
that is about to leave, is removed first, so that no successor takes it for the truth. Where not even that can be done,
the worker stops.
"""

from __future__ import annotations

from typing import Final

from chronos_common.compression import Ledger
from chronos_common.engine import ACTIVE, RunView
from chronos_common.errors import ChronosError, CorruptStateError, ProblemError, StateDirectoryError
from chronos_common.hypergradient import Carry
from chronos_common.metrics import WorkerMetrics
from chronos_common.runtime import get_logger
from chronos_common.wire import CheckoutResult
from chronos_worker.client import Client
from chronos_worker.compute_thread import ComputeThread
from chronos_worker.lifecycle import Clock
from chronos_worker.session import Session, SessionState
from chronos_worker.state_directory import PARTS, Part, StateDirectory
from chronos_worker.state_file import (
    ForeignStateError,
    Identity,
    pack_outbox,
    pack_theta,
    unpack_outbox,
    unpack_theta,
)
from chronos_worker.trainer import Trainer

THETA_SHARE: Final = 20
"""Theta is not written again before this many times as long as writing it took."""

THETA_PAUSE_SECONDS: Final = 60.0
"""Nor before this long after it could not be written, or had to make room for what is owed."""

_log = get_logger(__name__)


class Sessions:
    """Makes sessions, keeps what they owe, and knows what was lost with those that are closed.

    Args:
        directory: where state is kept, open; ``None`` for nowhere.
        thread: where theta is in use, and so where it is written.
        metrics: what is reported.
        clock: monotonic seconds.
        theta_seconds: theta is written at most this often.
    """

    def __init__(
        self,
        directory: StateDirectory | None,
        *,
        thread: ComputeThread,
        metrics: WorkerMetrics,
        clock: Clock,
        theta_seconds: float,
    ) -> None:
        self._directory = directory
        self._thread = thread
        self._metrics = metrics
        self._clock = clock
        self._theta_seconds = theta_seconds
        self._theta_due = 0.0
        self._theta_kept = False
        self._on_disk = False
        self._failing = False
        self._incarnations: set[int] = set()
        self._identity = Identity(worker_id="", run_id="", definition="")
        self._before = Ledger()
        self._lost: set[str] = set()
        """Runs to which this process owed something that is gone."""

    # --- opening ---------------------------------------------------------------------------------

    async def open(
        self, view: RunView, checkout: CheckoutResult, trainer: Trainer, *, worker_id: str, incarnation: int
    ) -> Session:
        """The session of a run, from where the last one of this worker left it.

        Args:
            view: the run.
            checkout: made by this incarnation, so that what it tells of the chain is final for earlier ones.
            trainer: gets the warm start.
            worker_id: who.
            incarnation: which process of it.
        """
        run_id = view.run_id
        self._identity = Identity.of(worker_id, view)
        self._theta_due, self._theta_kept = self._clock(), False
        kept, damaged, carry = await self._thread.run(lambda: self._read(view, checkout))
        self._on_disk = kept is not None
        self._incarnations.add(incarnation)
        predecessor = checkout.last_applied > 0 and checkout.applied_by not in self._incarnations
        lost = damaged or (kept is None and (predecessor or run_id in self._lost))
        self._lost.discard(run_id)
        session = Session(
            run_id,
            view.config,
            worker_id=worker_id,
            incarnation=incarnation,
            last_applied=checkout.last_applied,
            applied_by=checkout.applied_by,
            version=checkout.version,
            trainer=trainer,
            restored=kept,
            declares=lost,
            before=self._before,
        )
        if carry is not None:
            trainer.resume(carry)
        if kept is not None:
            _log.info(
                "went on from kept state",
                run=run_id,
                worker=worker_id,
                left_by=kept.outbox.incarnation,
                unanswered=len(kept.outbox.unresolved),
                residual_norm=session.owed,
                warm_start=carry is not None,
            )
        if lost:
            _log.warning(
                "what this worker may have owed to the run is lost, which its commits will declare",
                run=run_id,
                worker=worker_id,
                advice="a --state-dir that outlives the process keeps it",
            )
        session.report(self._metrics)
        return session

    def _read(
        self, view: RunView, checkout: CheckoutResult
    ) -> tuple[SessionState | None, bool, Carry | None]:
        """What is kept of the run, whether something is that cannot be used, and theta."""
        directory, state, damaged, carry = self._directory, None, False, None
        if directory is None:
            return None, False, None
        try:
            content = directory.read(view.run_id, "outbox")
            if content is not None:
                state = self._current(unpack_outbox(content, self._identity, view.config.specs), checkout)
        except (CorruptStateError, OSError) as error:
            damaged = not isinstance(error, ForeignStateError)
            self._set_aside(directory, view.run_id, "outbox", error)
        try:
            content = directory.read(view.run_id, "theta")
            carry = None if content is None else unpack_theta(content, self._identity)
        except (CorruptStateError, OSError) as error:
            self._set_aside(directory, view.run_id, "theta", error)
        self._theta_kept = carry is not None
        return state, damaged, carry

    @staticmethod
    def _current(state: SessionState, checkout: CheckoutResult) -> SessionState:
        if not state.outbox.continues(checkout.last_applied, checkout.applied_by):
            raise CorruptStateError(
                f"it was written after commit {state.outbox.last_applied}; the coordinator's chain ends with commit "
                f"{checkout.last_applied} of incarnation {checkout.applied_by}, of which it knows nothing"
            )
        return state

    def _set_aside(self, directory: StateDirectory, run_id: str, part: Part, why: Exception) -> None:
        self._metrics.state_failed("read")
        try:
            where = str(directory.set_aside(run_id, part))
        except OSError as error:
            where = f"nowhere: {error}"
        _log.warning("kept state cannot be used", run=run_id, part=part, problem=str(why), moved_to=where)

    # --- keeping ---------------------------------------------------------------------------------

    async def save(self, session: Session) -> None:
        """Makes durable what must survive this process; to be awaited before a commit leaves.

        Raises:
            StateDirectoryError: it cannot be written, nor the file that is there be removed.
        """
        directory = self._directory
        if directory is not None:
            state, carry = session.state(), session.trainer.carry
            due = self._clock() >= self._theta_due
            await self._thread.run(lambda: self._save(directory, session.run_id, state, carry, due=due))

    def _save(
        self, directory: StateDirectory, run_id: str, state: SessionState, carry: Carry | None, *, due: bool
    ) -> None:
        try:
            self._write_or_make_room(directory, run_id, state, carry, due=due)
        except OSError as error:
            self._metrics.state_failed("write")
            self._disown(directory, run_id, error)

    def _write_or_make_room(
        self, directory: StateDirectory, run_id: str, state: SessionState, carry: Carry | None, *, due: bool
    ) -> None:
        """On a full disk, the warm start goes before what is owed does."""
        try:
            self._write(directory, run_id, state, carry, due=due)
        except OSError:
            if not self._theta_kept:
                raise
            self._metrics.state_failed("write")
            self._drop_theta(directory, run_id)
            self._theta_due = self._clock() + THETA_PAUSE_SECONDS
            self._write(directory, run_id, state, carry, due=False)

    def _write(
        self, directory: StateDirectory, run_id: str, state: SessionState, carry: Carry | None, *, due: bool
    ) -> None:
        began = self._clock()
        directory.write(run_id, "outbox", pack_outbox(self._identity, state))
        if self._failing:
            _log.info("state is kept again", run=run_id)
        self._on_disk, self._failing = True, False
        if carry is None:
            self._drop_theta(directory, run_id)
        elif due:
            self._write_theta(directory, run_id, carry)
        self._metrics.state_written(self._clock() - began)

    def _disown(self, directory: StateDirectory, run_id: str, why: OSError) -> None:
        """No file is better than one that the next commit makes untrue."""
        try:
            directory.remove(run_id, "outbox")
        except OSError as error:
            raise StateDirectoryError(
                f"the state directory {directory.path} can be neither written ({why.strerror or why}) nor cleared "
                f"({error.strerror or error}); nothing was sent that it does not hold: repair it and start the worker "
                "again"
            ) from why
        log = _log.debug if self._failing else _log.error
        self._on_disk, self._failing = False, True
        log(
            "state cannot be kept; going on without, and a crash would lose what is owed",
            run=run_id,
            problem=str(why),
        )

    def _write_theta(self, directory: StateDirectory, run_id: str, carry: Carry) -> None:
        began, pause = self._clock(), self._theta_seconds
        try:
            directory.write(run_id, "theta", pack_theta(self._identity, carry))
            self._theta_kept = True
        except (ProblemError, OSError) as error:  # a warm start: the next process only has to train longer
            pause = max(pause, THETA_PAUSE_SECONDS)
            self._metrics.state_failed("write")
            _log.warning("the inner state could not be kept", run=run_id, problem=str(error))
        now = self._clock()
        self._theta_due = now + max(pause, THETA_SHARE * (now - began))

    def _drop_theta(self, directory: StateDirectory, run_id: str) -> None:
        """Training begins afresh: the next process must not go on from what diverged."""
        if self._theta_kept:
            try:
                directory.remove(run_id, "theta")
                self._theta_kept = False
            except OSError as error:
                self._metrics.state_failed("write")
                _log.warning("an outdated inner state could not be removed", run=run_id, problem=str(error))

    # --- closing ---------------------------------------------------------------------------------

    def close(self, session: Session, why: str, *, over: bool) -> None:
        """Ends a session: what it owes stays on disk for the next one, or is lost, which is said.

        Args:
            session: no commit of it is under way.
            why: for the log.
            over: the run has ended, so that nobody needs what it was owed.
        """
        owed, unresolved = session.owed, len(session.outbox.unresolved)
        if over:
            self.run_over(session.run_id)
        elif self._kept(session):
            if owed or unresolved:
                _log.info("left with updates that wait on disk", run=session.run_id, why=why)
            self._metrics.ledger(self._before, residual=0.0, pending=0.0)
            return
        if session.owes and not over:
            self._lost.add(session.run_id)
        session.close()
        self._before = self._before + session.ledger
        self._metrics.ledger(self._before, residual=0.0, pending=0.0)
        if owed or unresolved:
            say = _log.info if over else _log.warning
            say(
                "left with updates that were not applied",
                run=session.run_id,
                residual_norm=owed,
                unresolved=unresolved,
                why=why,
            )

    def _kept(self, session: Session) -> bool:
        """Whether what the session owes is on disk for the next one.

        The file from before its last commit is as good as a new one, which only saves asking what became of that.
        """
        directory = self._directory
        if directory is not None and not self._thread.busy:  # else an abandoned job may still be writing
            try:
                self._write(directory, session.run_id, session.state(), session.trainer.carry, due=True)
            except OSError as error:
                self._metrics.state_failed("write")
                _log.warning("the last state could not be kept", run=session.run_id, problem=str(error))
        return self._on_disk

    def run_over(self, run_id: str) -> None:
        """Removes the state of a run that has ended."""
        if self._directory is None:
            return
        try:
            for part in PARTS:
                self._directory.remove(run_id, part)
        except OSError as error:
            _log.warning("the state of an ended run could not be removed", run=run_id, problem=str(error))

    async def tidy(self, client: Client) -> None:
        """Removes the state of runs that ended while this worker was away; what cannot be asked now stays.

        So does what is owed to a run of the same name on another coordinator.
        """
        directory = self._directory
        for kept in [] if directory is None else await self._thread.run(directory.kept):
            try:
                view = await client.get_run(kept.run_id)
            except ChronosError as error:
                _log.debug(
                    "kept state of a run that cannot be asked for", run=kept.run_id, problem=str(error)
                )
                continue
            if view.status != ACTIVE and kept == Identity.of(kept.worker_id, view):
                self.run_over(kept.run_id)
