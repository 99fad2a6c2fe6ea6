"""What a worker keeps about the run it works on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chronos_common.codec import decode, encode
from chronos_common.engine import CompressionConfig, RunConfig
from chronos_common.errors import DigestMismatchError
from chronos_common.hypergradient import InnerUpdate
from chronos_common.tensors import Array, Arrays, digest, l2_norm
from chronos_common.versions import Commit, Outbox
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
    ) -> None:
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
        )
        self.failures = 0
        """Consecutive updates that diverged or can never be accepted."""
        self.ended = False
        """The coordinator said that the run is over."""
        self._compression: CompressionConfig = config.compression
        self._version: int | None = None
        self._digest = ""
        self._stored: dict[str, Array] = {}

    @property
    def known(self) -> int | None:
        """The version whose values are here, or ``None``."""
        return self._version

    def forget_values(self) -> None:
        """The next checkout fetches everything."""
        self._version, self._digest, self._stored = None, "", {}

    def take(self, checkout: CheckoutResult) -> Arrays:
        """The values of a checkout, in stored coordinates.

        Raises:
            PayloadError: they are damaged, or not the ones that the coordinator announced; nothing is kept
                then, so that the next checkout fetches them whole.
        """
        held, self._version = self._version, None
        if checkout.payload is not None:
            self._stored = decode(checkout.payload)
            self._digest = digest(self._stored)
        elif held != checkout.version:
            self._digest = ""
        if self._digest != checkout.digest:
            self.forget_values()
            raise DigestMismatchError(
                f"the values of version {checkout.version} of run {self.run_id!r} do not have its digest; they "
                "will be fetched again",
                version=checkout.version,
            )
        self._version = checkout.version
        self.outbox.resume(checkout.last_applied)
        return self._stored

    def prepare(self, base: int, update: InnerUpdate | None) -> Work:
        """The next commit; ``None`` makes a skip."""
        if update is None:
            return Work(commit=self.outbox.prepare(None, base), payload=None, samples=0, tasks=0, metrics={})
        commit = self.outbox.prepare(update.gradient, base, work=min(1.0, update.work))
        finite = {name: value for name, value in update.metrics.items() if math.isfinite(value)}
        return Work(
            commit=commit,
            payload=None if commit.update is None else encode(self._compression.up, commit.update),
            samples=update.samples,
            tasks=update.tasks,
            metrics=dict(list(finite.items())[:MAX_METRICS]),
        )

    @property
    def owed(self) -> float:
        """Norm of what was produced and neither applied nor discarded: the residual."""
        return l2_norm(self.outbox.residual) if self.outbox.residual else 0.0
