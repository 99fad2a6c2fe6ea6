"""What the worker asks of a coordinator; ``chronos_common.wire.CoordinatorClient`` is one that answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, Self

from chronos_common.engine import RunView
from chronos_common.prediction.machine import Machine
from chronos_common.wire import CheckoutResult, CommitResult, RegisterResult


class Client(Protocol):
    """The calls of a worker; each raises a typed ``ChronosError``, ``UnavailableError`` when it got lost."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exception: Any) -> None: ...

    async def register(
        self, worker_id: str, instance_id: str, *, device: str, machine: Machine | None = None
    ) -> RegisterResult:
        """Announces this process."""
        ...

    async def heartbeat(
        self, worker_id: str, incarnation: int, *, holding: Iterable[tuple[str, int]]
    ) -> tuple[str, ...]:
        """Proves that it lives; the runs among those held that have ended."""
        ...

    async def deregister(self, worker_id: str, incarnation: int, *, reason: str) -> None:
        """Says goodbye and returns the lease."""
        ...

    async def checkout(
        self,
        run_id: str,
        *,
        worker_id: str,
        incarnation: int,
        known: int | None,
        wait_seconds: float,
        except_runs: Sequence[str],
    ) -> CheckoutResult:
        """Takes a version out under a lease."""
        ...

    async def commit(
        self,
        run_id: str,
        *,
        worker_id: str,
        incarnation: int,
        seq: int,
        prev_applied: int,
        base: int,
        payload: bytes | None,
        kind: str,
        work: float,
        samples: int,
        tasks: int,
        metrics: Mapping[str, float],
        timing: Mapping[str, float],
        residual_lost: bool,
    ) -> CommitResult:
        """Commits an update; the answer means that it is durable."""
        ...

    async def get_run(self, run_id: str) -> RunView:
        """A run with its definition."""
        ...
