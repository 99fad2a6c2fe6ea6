"""What a worker keeps about the run it works on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chronos_common.compression import Book, Pipeline, SignificanceFilter, compressor, mass
from chronos_common.engine import Replica, RunConfig
from chronos_common.hypergradient import InnerUpdate
from chronos_common.metrics import WorkerMetrics
from chronos_common.tensors import Arrays, l2_norm
from chronos_common.versions import PARAMETER_DELTA, Commit, Outbox
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


class Session:
    """One run: its values as checked out, its commit chain, its trainer, and what went wrong in a row.

    Args:
        run_id: the run.
        config: its definition.
        worker_id: who.
        incarnation: which process of it.
        last_applied: where the chain stands.
        trainer: computes the updates.
        book: keeps the ledger, of this session and of those before it.
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
        book: Book | None = None,
    ) -> None:
        self._book = Book() if book is None else book
        self.run_id = run_id
        self.kind = config.work.kind
        self.incarnation = incarnation
        self.trainer = trainer
        self.outbox = Outbox(
            worker_id,
            incarnation,
            last_applied=last_applied,
            kind=config.work.kind,
            decay=config.rounds.decay,
            compress=compressor(Pipeline(config.compression.up)),
            observe=self._book.record,
        )
        self.failures = 0
        """Consecutive updates that diverged or can never be accepted."""
        self.ended = False
        """The coordinator said that the run is over."""
        self._replica = Replica(config.parameters)
        self._filter = SignificanceFilter(config.compression.significance)
        self._filtered = self._filter.start()
        self._stored: Arrays = {}

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
        self.outbox.resume(checkout.last_applied)
        self._stored = stored
        return stored

    def prepare(self, base: int, update: InnerUpdate | None) -> Work:
        """The next commit; ``None`` makes a skip, and so does an update that is not worth a message yet.

        Raises:
            PayloadError: the update cannot be encoded; it was never part of anything.
        """
        if update is None:
            self._filtered = self._filter.waited(self._filtered)
            return Work(commit=self.outbox.prepare(None, base), payload=None, samples=0, tasks=0, metrics={})
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
        )

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

    def report(self, metrics: WorkerMetrics) -> None:
        """Says what is owed, and how the ledger stands."""
        metrics.residual(self.owed)
        metrics.ledger(self._book.ledger, residual=self.residual_mass, pending=self.pending_mass)

    def close(self) -> None:
        """Declares lost what the session still owes: its successor starts with nothing.

        Of a commit without an answer nobody here can tell; it counts as lost, though it may have been applied.
        """
        if self.outbox.residual:
            self._book.record("lost", self.outbox.residual)
        for each in self.outbox.unresolved:
            if each.update is not None:
                self._book.record("lost", each.update)
