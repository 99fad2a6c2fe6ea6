"""What a worker keeps about the run it works on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from chronos_common.compression import (
    Book,
    Ledger,
    Pipeline,
    SignificanceFilter,
    SignificanceState,
    compressor,
    mass,
)
from chronos_common.engine import DIVERGED, Replica, RunConfig
from chronos_common.errors import ChronosError
from chronos_common.hypergradient import InnerUpdate
from chronos_common.metrics import WorkerMetrics
from chronos_common.tensors import Arrays, l2_norm
from chronos_common.versions import PARAMETER_DELTA, Commit, Outbox, OutboxState, Resolution
from chronos_common.wire import CheckoutResult
from chronos_worker.trainer import Trainer

MAX_METRICS = 1000


@dataclass(frozen=True, kw_only=True)
class Work:
    """A commit and all that is sent with it; the payload is encoded once, whatever is sent again."""

    commit: Commit[Arrays]
    payload: bytes | None
    samples: int
    tasks: int
    metrics: dict[str, float]
    residual_lost: bool = False


@dataclass(frozen=True, kw_only=True)
class SessionState:
    """What a session must not forget when its process dies; written before a commit leaves, it allows every answer.

    Attributes:
        outbox: the residual, and the commits without an answer.
        filter: what the significance filter remembers.
        ledger: of this worker in this run, through all of its processes.
        declares: an earlier residual is lost, and no commit that says so is known to be applied.
    """

    outbox: OutboxState
    filter: SignificanceState
    ledger: Ledger
    declares: bool


class Session:
    """One run: its values as checked out, its commit chain, its trainer, and what went wrong in a row.

    Args:
        run_id: the run.
        config: its definition.
        worker_id: who.
        incarnation: which process of it.
        last_applied: where the chain stands.
        trainer: computes the updates.
        applied_by: incarnation that sent the last applied commit.
        version: the newest one; by it, what an earlier process sent and what was never applied is late or not.
        restored: what an earlier process or session left; it continues the chain that ends with ``last_applied``.
        declares: what an earlier one owed is lost, which the commits say until one of them is applied.
        before: the ledger of the worker's sessions that are over.
    """

    def __init__(
        self,
        run_id: str,
        config: RunConfig,
        *,
        worker_id: str,
        incarnation: int,
        last_applied: int,
        trainer: Trainer,
        applied_by: int = 0,
        version: int = 0,
        restored: SessionState | None = None,
        declares: bool = False,
        before: Ledger | None = None,
    ) -> None:
        self._before = Ledger() if before is None else before
        self._book = Book()
        self.run_id = run_id
        self.kind = config.work.kind
        self.incarnation = incarnation
        self.trainer = trainer
        self.declares = declares
        """Whether the commits say that what was owed before is lost."""
        self.failures = 0
        """Consecutive updates that diverged or can never be accepted."""
        self.ended = False
        """The coordinator said that the run is over."""
        self._replica = Replica(config.parameters)
        self._filter = SignificanceFilter(config.compression.significance)
        self._filtered = self._filter.start()
        self._stored: Arrays = {}
        rules: dict[str, Any] = {
            "kind": config.work.kind,
            "decay": config.rounds.decay,
            "compress": compressor(Pipeline(config.compression.up)),
            "observe": self._book.record,
        }
        if restored is None:
            self.outbox = Outbox(worker_id, incarnation, last_applied=last_applied, **rules)
            return
        self._book.ledger, self._filtered = restored.ledger, restored.filter
        self.declares = self.declares or restored.declares

        def keep(base: int) -> float:
            """As of a commit that is refused now; within the bound it would be no refusal, and nothing is lost."""
            staleness = version - base
            late = staleness > config.rounds.max_staleness
            return config.rounds.staleness_weight(staleness) if late else 1.0

        rules |= {"last_applied": last_applied, "applied_by": applied_by, "keep": keep}
        self.outbox, resolution = Outbox.restored(worker_id, incarnation, restored.outbox, **rules)
        self._told(resolution)

    @property
    def known(self) -> int | None:
        """The version whose values are here, or ``None``."""
        return self._replica.version

    def forget_values(self) -> None:
        """The next checkout fetches everything."""
        self._replica.forget()

    def take(self, checkout: CheckoutResult) -> Arrays:
        """The values of a checkout, in stored coordinates.

        Raises:
            PayloadError: they are damaged, or not the ones that the coordinator announced; nothing is kept
                then, so that the next checkout fetches them whole.
        """
        stored = self._replica.take(checkout.version, checkout.digest, checkout.parts)
        self._stored = stored
        self._told(self.outbox.resume(checkout.last_applied))
        return stored

    def prepare(self, base: int, update: InnerUpdate | None) -> Work:
        """The next commit; ``None`` makes a skip, and so does an update that is not worth a message yet.

        Raises:
            PayloadError: the update cannot be encoded; it was never part of anything.
        """
        if update is None:
            self._filtered = self._filter.waited(self._filtered)
            skip = self.outbox.prepare(None, base)
            return Work(
                commit=skip,
                payload=None,
                samples=0,
                tasks=0,
                metrics={DIVERGED: 1.0},
                residual_lost=self.declares,
            )
        work = min(1.0, update.work)
        if self._significant(update.gradient):
            commit = self.outbox.prepare(update.gradient, base, work=work)
        else:
            self.outbox.hold(update.gradient)
            commit = self.outbox.prepare(None, base, work=work)
        finite = {name: value for name, value in update.metrics.items() if math.isfinite(value)}
        return Work(
            commit=commit,
            payload=self.outbox.payload(commit.seq),
            samples=update.samples,
            tasks=update.tasks,
            metrics=dict(list(finite.items())[:MAX_METRICS]),
            residual_lost=self.declares,
        )

    def accepted(self, seq: int) -> Resolution:
        """The coordinator applied a commit."""
        return self._told(self.outbox.accepted(seq))

    def refused(self, seq: int, error: ChronosError) -> Resolution:
        """The coordinator refused a commit, or something failed on the way."""
        return self._told(self.outbox.refused(seq, error))

    def _told(self, resolution: Resolution) -> Resolution:
        if resolution.applied:
            self.declares = False  # every commit since the loss has said it
        return resolution

    def _significant(self, update: Arrays) -> bool:
        if not self._filter.config.enabled:
            return True
        parameters = self._stored if self.kind == PARAMETER_DELTA else None
        verdict = self._filter.judge(self._filtered, self.outbox.with_residual(update), parameters=parameters)
        self._filtered = verdict.state
        return verdict.send

    @property
    def owed(self) -> float:
        """Norm of the residual: what was produced and is neither applied, nor discarded, nor under way."""
        return l2_norm(self.outbox.residual) if self.outbox.residual else 0.0

    @property
    def residual_mass(self) -> float:
        """The residual's term of the ledger."""
        return mass(self.outbox.residual) if self.outbox.residual else 0.0

    @property
    def pending_mass(self) -> float:
        """The ledger's term of what has no definitive answer."""
        return sum(mass(each.update) for each in self.outbox.unresolved if each.update is not None)

    @property
    def ledger(self) -> Ledger:
        """What became of everything that this worker produced for the run."""
        return self._book.ledger

    @property
    def owes(self) -> bool:
        """Whether anything would be lost with this session."""
        return bool(self.outbox.residual or self.outbox.unresolved or self.declares)

    def state(self) -> SessionState:
        """What is to be durable before the newest commit leaves; arrays in it are never written to."""
        return SessionState(
            outbox=self.outbox.state(),
            filter=self._filtered,
            ledger=self._book.ledger,
            declares=self.declares,
        )

    def report(self, metrics: WorkerMetrics) -> None:
        """Says what is owed, and how the ledger stands."""
        metrics.residual(self.owed)
        ledger = self._before + self._book.ledger
        metrics.ledger(ledger, residual=self.residual_mass, pending=self.pending_mass)

    def close(self) -> None:
        """Declares lost what the session still owes: its successor starts with nothing.

        Of a commit without an answer nobody here can tell; it counts as lost, though it may have been applied.
        """
        if self.outbox.residual:
            self._book.record("lost", self.outbox.residual)
        for each in self.outbox.unresolved:
            if each.update is not None:
                self._book.record("lost", each.update)
